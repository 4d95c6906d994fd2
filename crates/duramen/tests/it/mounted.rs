//! A file system of a test's own, in an image file behind a loop device: made, mounted, cut off, mounted again. Needs root,
//! the `mkfs` of its kind and a kernel that can mount it; says which is missing.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Folder, is_root, stderr};

/// Room for the segments of 16 MiB that `--edge` prepares, and more; `mkfs.xfs` makes none below 300 MB. The image is sparse.
const IMAGE_BYTES: u64 = 512 << 20;

/// How long a file system may stay busy after all who worked on it have been waited for.
const BUSY_MAX: Duration = Duration::from_secs(10);

/// Runs a system tool; its words on failure.
fn tool(program: &str, words: &[&Path]) -> Result<(), String> {
    let output = Command::new(program).args(words).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {}", stderr(&output).trim())) }
}

/// A file system in an image file. Unmounted and removed when dropped, also by a failing test.
pub struct FileSystem {
    mounted: bool,
    /// Where it is mounted.
    pub place: PathBuf,
    image: PathBuf,
    _folder: Folder,
}

impl FileSystem {
    /// Makes and mounts one of this kind: `ext4`, `xfs`, `btrfs`.
    pub fn new(kind: &str) -> Result<FileSystem, String> {
        if !is_root() {
            return Err("mounting needs root".to_owned());
        }
        let folder = Folder::new();
        let (image, place) = (folder.join("image"), folder.join("mounted"));
        fs::create_dir(&place).expect("the temporary folder can be written");
        File::create(&image).and_then(|file| file.set_len(IMAGE_BYTES)).expect("a sparse file");
        let force = if kind == "ext4" { "-F" } else { "-f" };
        tool(&format!("mkfs.{kind}"), &[Path::new("-q"), Path::new(force), &image])?;
        let mut made = FileSystem { mounted: false, place, image, _folder: folder };
        made.mount()?;
        Ok(made)
    }

    /// Mounting replays the file system's own journal, as after a power cut.
    pub fn mount(&mut self) -> Result<(), String> {
        tool("mount", &[Path::new("-o"), Path::new("loop"), &self.image, &self.place])?;
        self.mounted = true;
        Ok(())
    }

    /// Everyone who worked on it must have been waited for. Still it can be busy for a moment: the folder that
    /// [`FileSystem::cut`] opens and the canary close on exec, but a process that another test's thread is just starting has a
    /// copy of them until then. (Of 400 unmounts behind an open folder none failed while nothing was started, and 6 while
    /// two threads started processes.) And somebody else on this machine may be looking around.
    pub fn unmount(&mut self) -> Result<(), String> {
        let begin = Instant::now();
        while let Err(why) = tool("umount", &[&self.place]) {
            let users = self.users();
            if begin.elapsed() > BUSY_MAX {
                return Err(format!("{why}; in use by {users:?}"));
            }
            println!("{why}; in use by {users:?}, trying again");
            std::thread::sleep(Duration::from_millis(10));
        }
        self.mounted = false;
        Ok(())
    }

    /// The processes that hold something open here, or stand here.
    fn users(&self) -> Vec<String> {
        let inside = |link: &Path| fs::read_link(link).is_ok_and(|target| target.starts_with(&self.place));
        let uses = |process: &Path| {
            let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
            open.map(|entry| entry.path()).chain([process.join("cwd"), process.join("root")]).any(|link| inside(&link))
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
        let name = |process: PathBuf| {
            let command = fs::read_to_string(process.join("comm")).unwrap_or_default();
            format!("{} {}", process.display(), command.trim())
        };
        processes.filter(|process| uses(process)).map(name).collect()
    }

    /// Cuts the power on ext4 or xfs: nothing reaches the image from here on, and the file system answers with errors.
    #[allow(unsafe_code, reason = "the kernel offers the power cut as an ioctl only")]
    pub fn cut(&self) {
        /// `EXT4_IOC_SHUTDOWN`, in the kernel's fs/ext4/ext4.h, which took it over from xfs (`XFS_IOC_GOINGDOWN`).
        const SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587d;
        /// Does not write the log out first, as `EXT4_GOING_FLAGS_LOGFLUSH` would.
        const NO_LOG_FLUSH: u32 = 2;
        let root = File::open(&self.place).expect("the file system is mounted");
        // SAFETY: the operation reads one u32 through the pointer, and a `Setter` of a u32 gives it just that.
        let setter = unsafe { rustix::ioctl::Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH) };
        // SAFETY: as above; the descriptor is open, and the call changes no memory of this process.
        unsafe { rustix::ioctl::ioctl(&root, setter) }.expect("ext4 and xfs can be shut down by root");
    }

    /// Writes a file without a sync, which a true power cut loses. It shows that the cut is one.
    pub fn release_canary(&self) {
        let mut file = File::create(self.place.join("canary")).expect("there is room");
        file.write_all(&[b'x'; 8192]).expect("there is room");
    }

    pub fn canary_lives(&self) -> bool {
        let path = self.place.join("canary");
        let lives = fs::read(&path).is_ok_and(|bytes| bytes == [b'x'; 8192]);
        let _ = fs::remove_file(path);
        lives
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        // Lazily, because a failing test may still hold files open there; the loop device goes with the mount.
        if self.mounted {
            let _ = tool("umount", &[Path::new("-l"), &self.place]);
        }
    }
}

/// A disk in memory that is soon full. Unmounted and removed when dropped, also by a failing test.
pub struct SmallDisk {
    /// Where it is mounted.
    pub place: PathBuf,
    _folder: Folder,
}

impl SmallDisk {
    /// One of so many bytes; says so where this machine, or this user, may not mount.
    pub fn new(bytes: u64) -> Option<SmallDisk> {
        let folder = Folder::new();
        let place = folder.join("mounted");
        fs::create_dir(&place).expect("the temporary folder can be written");
        let size = format!("size={bytes}");
        let words = ["-t", "tmpfs", "-o", &size, "tmpfs"].map(Path::new);
        match tool("mount", &[&words[..], &[&place]].concat()) {
            Ok(()) => Some(SmallDisk { place, _folder: folder }),
            Err(why) => {
                println!("skipped: {why}");
                None
            }
        }
    }

    /// Takes its space, but for so many bytes.
    pub fn fill(&self, left: u64) {
        let stat = rustix::fs::statvfs(&self.place).expect("it is mounted");
        let bytes = (stat.f_bavail * stat.f_frsize).saturating_sub(left);
        let file = File::create(self.place.join("filler")).expect("a file has room");
        if bytes > 0 {
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).expect("there is so much room");
        }
    }

    /// Gives it back.
    pub fn free(&self) {
        fs::remove_file(self.place.join("filler")).expect("it was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = tool("umount", &[Path::new("-l"), &self.place]);
    }
}
