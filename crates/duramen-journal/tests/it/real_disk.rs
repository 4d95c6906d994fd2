//! The real disk against the real kernel: on the default folder for temporary files, on tmpfs,
//! on file systems made in a file where root and tools allow, on a full one and on a read-only one. What this machine
//! does not allow is skipped with a printed word.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test of the real disk looks at it from outside, starts processes, threads and mounts, and may fail"
)]

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use duramen_journal::disk::real::{Modes, RealDisk, RealEnvironment, world};
use duramen_journal::disk::{Access, Disk, DiskFile, SyncMethod, out_of_space, read_full_at, write_all_at};
use duramen_journal::probe::{FILE_NAME, probe};

const PAGE_BYTES: usize = 4096;
/// Tells the re-executed test binary what to play.
const ROLE: &str = "DURAMEN_TEST_ROLE";
/// The file that a role works on.
const ROLE_PATH: &str = "DURAMEN_TEST_PATH";

/// Memory as direct writes need it.
#[repr(C, align(4096))]
struct Page([u8; PAGE_BYTES]);

/// A folder of this test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(within: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = within.join(format!("duramen-real-disk-{}-{count}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn temporary() -> Self {
        Folder::new(&std::env::temp_dir())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A mounted file system, unmounted before its folder is removed.
struct Mount {
    point: PathBuf,
    _folder: Folder,
}

impl Mount {
    /// Nothing, and a word, where this machine does not let us.
    fn new(source: Option<&Path>, options: &[&str], folder: Folder) -> Option<Mount> {
        let point = folder.0.join("point");
        fs::create_dir(&point).unwrap();
        let source = source.unwrap_or(Path::new("none"));
        match Command::new("mount").args(options).arg(source).arg(&point).stderr(Stdio::null()).status() {
            Ok(status) if status.success() => Some(Mount { point, _folder: folder }),
            _ => {
                eprintln!("skipped: this machine does not let us mount with {options:?}");
                None
            }
        }
    }

    fn tmpfs(size: &str) -> Option<Mount> {
        Mount::new(None, &["-t", "tmpfs", "-o", &format!("size={size}")], Folder::temporary())
    }

    /// A file system in a sparse file of this length.
    fn in_file(make: &[&str], bytes: u64) -> Option<Mount> {
        let folder = Folder::temporary();
        let image = folder.0.join("image");
        fs::File::create(&image).unwrap().set_len(bytes).unwrap();
        let made =
            Command::new(make[0]).args(&make[1..]).arg(&image).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("skipped: this machine has no {}", make[0]);
            return None;
        }
        Mount::new(Some(&image), &["-o", "loop"], folder)
    }

    fn ext4() -> Option<Mount> {
        Mount::in_file(&["mkfs.ext4", "-q", "-F"], 16 << 20)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = |options: &[&str]| {
            let status = Command::new("umount").args(options).arg(&self.point).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        // Busy while a child that another test is starting shares our files, for a moment, or while this failed test
        // itself holds some: then the mount goes when they do.
        if !(0..50).any(|_| unmounted(&[])) {
            unmounted(&["-l"]);
        }
    }
}

/// Everything that holds on each file system that can be written.
fn behaves(place: &Path) {
    let folder = Folder::new(place);
    names(&folder.0);
    contents(&folder.0);
    sync_methods(&folder.0);
    locks(&folder.0);
    let world = world();
    let probed = probe(&*world.disk, &*world.environment, &folder.0).unwrap();
    println!("{}: {:?}, {probed:?}", place.display(), world.disk.file_system(&folder.0).unwrap());
    let measured = probed.medians.iter().find(|(method, _)| *method == probed.method).unwrap().1.is_some();
    assert!(measured || probed.method == SyncMethod::DataSync);
    assert!(!folder.0.join(FILE_NAME).exists(), "the probe removes its file");
}

fn names(folder: &Path) {
    let disk = RealDisk::new();
    let inner = folder.join("names");
    disk.create_dir(&inner).unwrap();
    assert_eq!(disk.create_dir(&inner).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(disk.create_dir(&inner.join("no/parent")).unwrap_err().kind(), ErrorKind::NotFound);
    for name in ["b", "a", "10", "9"] {
        let file = disk.open(&inner.join(name), Access::Create).unwrap();
        write_all_at(&*file, name.as_bytes(), 0).unwrap();
    }
    disk.create_dir(&inner.join("c")).unwrap();
    let listed: Vec<_> =
        disk.list(&inner).unwrap().into_iter().map(|entry| (entry.name, entry.directory, entry.bytes)).collect();
    let expected = [("10", false, 2), ("9", false, 1), ("a", false, 1), ("b", false, 1), ("c", true, 0)];
    assert_eq!(listed, expected.map(|(name, directory, bytes)| (name.to_owned(), directory, bytes)));

    // A rename replaces, and who holds the replaced file open keeps reading it.
    let replaced = disk.open(&inner.join("a"), Access::Read).unwrap();
    disk.rename(&inner.join("b"), &inner.join("a")).unwrap();
    disk.sync_dir(&inner).unwrap();
    assert_eq!(read_all(&*disk.open(&inner.join("a"), Access::Read).unwrap()), b"b");
    assert_eq!(read_all(&*replaced), b"a");
    assert_eq!(disk.open(&inner.join("b"), Access::Read).unwrap_err().kind(), ErrorKind::NotFound);
    disk.rename(&inner.join("c"), &inner.join("d")).unwrap();

    let removed = disk.open(&inner.join("9"), Access::Read).unwrap();
    disk.remove(&inner.join("9")).unwrap();
    assert_eq!(read_all(&*removed), b"9");
    assert_eq!(disk.remove(&inner.join("9")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(disk.sync_dir(&inner.join("9")).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(disk.sync_dir(&inner.join("a")).is_err(), "a file is no directory");
    let left: Vec<_> = disk.list(&inner).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(left, ["10", "a", "d"]);
}

fn read_all(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.bytes().unwrap()).unwrap()];
    let count = read_full_at(file, &mut bytes, 0).unwrap();
    assert_eq!(count, bytes.len());
    bytes
}

fn contents(folder: &Path) {
    let disk = RealDisk::new();
    let path = folder.join("contents");
    assert_eq!(disk.open(&path, Access::Read).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(disk.open(&path, Access::Write).unwrap_err().kind(), ErrorKind::NotFound);
    let file = disk.open(&path, Access::Create).unwrap();
    assert_eq!(disk.open(&path, Access::Create).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(file.bytes().unwrap(), 0);
    assert_eq!(file.read_at(&mut [0; 8], 0).unwrap(), 0);
    file.allocate(0).unwrap();
    file.allocate(100_000).unwrap();
    assert_eq!(file.bytes().unwrap(), 100_000);
    file.allocate(50_000).unwrap();
    assert_eq!(file.bytes().unwrap(), 100_000, "allocating never shortens");
    assert!(read_all(&*file).iter().all(|byte| *byte == 0));

    write_all_at(&*file, b"inside", 70_000).unwrap();
    write_all_at(&*file, b"beyond", 120_000).unwrap();
    file.sync_data().unwrap();
    file.drop_cache().unwrap();
    assert_eq!(file.bytes().unwrap(), 120_006);
    let bytes = read_all(&*file);
    assert_eq!((&bytes[70_000..70_006], &bytes[120_000..]), (&b"inside"[..], &b"beyond"[..]));
    assert!(bytes[100_000..120_000].iter().all(|byte| *byte == 0));
    assert_eq!(file.read_at(&mut [0; 8], 120_006).unwrap(), 0);
    assert_eq!(file.read_at(&mut [0; 8], 120_003).unwrap(), 3);

    let reader = disk.open(&path, Access::Read).unwrap();
    assert_eq!(reader.write_at(b"x", 0).unwrap_err().raw_os_error(), Some(9), "EBADF");
    assert_eq!(read_all(&*reader), bytes);
    let writer = disk.open(&path, Access::Write).unwrap();
    write_all_at(&*writer, b"again", 0).unwrap();
    assert_eq!(read_all(&*reader)[..5], *b"again");
}

/// Runs both other methods; returns those that work here.
fn sync_methods(folder: &Path) -> Vec<SyncMethod> {
    let disk = RealDisk::new();
    let path = folder.join("methods");
    let file = disk.open(&path, Access::Create).unwrap();
    write_all_at(&*file, &[1; 8 * PAGE_BYTES], 0).unwrap();
    let refused = file.write_sync(&[9], 0, SyncMethod::DataSync).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);

    // What is not aligned is refused with nothing written, whatever the kernel would have made of it.
    let page = Box::new(Page([9; PAGE_BYTES]));
    let pages = vec![9; 3 * PAGE_BYTES];
    let first = pages.as_ptr().align_offset(PAGE_BYTES);
    let shifted = &pages[first + 512..][..PAGE_BYTES];
    for (bytes, offset) in [(&page.0[..512], 0), (shifted, 0), (&page.0[..], 512)] {
        let refused = file.write_sync(bytes, offset, SyncMethod::Direct).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
    }
    assert_eq!(read_all(&*file), [1; 8 * PAGE_BYTES]);

    let mut working = Vec::new();
    for (index, method) in [SyncMethod::WriteSync, SyncMethod::Direct].into_iter().enumerate() {
        let marker = index as u8 + 2;
        let page = Box::new(Page([marker; PAGE_BYTES]));
        let offset = (index + 1) * 2 * PAGE_BYTES;
        let before = read_all(&*file);
        match file.write_sync(&page.0, offset as u64, method) {
            Ok(count) => {
                assert_eq!(count, PAGE_BYTES);
                let mut expected = before;
                expected[offset..offset + PAGE_BYTES].fill(marker);
                assert!(read_all(&*file) == expected, "{method:?} and cached reads agree");
                // Also through a second open file, and after the cache was dropped.
                file.drop_cache().unwrap();
                assert!(read_all(&*disk.open(&path, Access::Read).unwrap()) == expected);
                working.push(method);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{method:?}: {error}");
                assert!(read_all(&*file) == before, "nothing was written");
            }
        }
        // A descriptor for reading gains no right by being reopened.
        let reader = disk.open(&path, Access::Read).unwrap();
        assert_eq!(reader.write_sync(&page.0, 0, method).unwrap_err().raw_os_error(), Some(9), "EBADF");
        // -1 would mean "at the current position" to the kernel.
        let beyond = file.write_sync(&page.0, u64::MAX - 4095, method).unwrap_err();
        assert_eq!(beyond.kind(), ErrorKind::FileTooLarge);
        assert_eq!(read_all(&*file)[..PAGE_BYTES], [1; PAGE_BYTES]);
    }

    // The direct descriptor follows the inode, not the name: another file may have taken that.
    if working.contains(&SyncMethod::Direct) {
        let moved = disk.open(&path, Access::Write).unwrap();
        disk.rename(&path, &folder.join("moved")).unwrap();
        let impostor = disk.open(&path, Access::Create).unwrap();
        assert_eq!(moved.write_sync(&page.0, 0, SyncMethod::Direct).unwrap(), PAGE_BYTES);
        assert_eq!((read_all(&*moved)[..PAGE_BYTES].to_vec(), impostor.bytes().unwrap()), (page.0.to_vec(), 0));
    }
    working
}

fn locks(folder: &Path) {
    let disk = RealDisk::new();
    let path = folder.join("LOCK");
    let held = disk.lock(&path).unwrap();
    // By another open file of the same process, in this thread and another.
    assert_eq!(disk.lock(&path).unwrap_err().kind(), ErrorKind::WouldBlock);
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(disk.lock(&path).unwrap_err().kind(), ErrorKind::WouldBlock));
    });
    // A child that started meanwhile does not keep the lock, and got none of our descriptors.
    let file = disk.open(&folder.join("inherited"), Access::Create).unwrap();
    write_all_at(&*file, &[0; PAGE_BYTES], 0).unwrap();
    let _ = file.write_sync(&Page([0; PAGE_BYTES]).0, 0, SyncMethod::Direct);
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let descriptors = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
    for descriptor in descriptors {
        let target = fs::read_link(descriptor.unwrap().path()).unwrap_or_default();
        assert!(!target.starts_with(folder), "{} is inherited", target.display());
    }
    drop(held);
    let again = disk.lock(&path).unwrap();
    drop(child.stdin.take());
    child.wait().unwrap();
    drop(again);

    // Another process holds it; the lock dies with that.
    let mut holder = start_role("hold-lock", &path);
    assert_eq!(disk.lock(&path).unwrap_err().kind(), ErrorKind::WouldBlock);
    holder.kill().unwrap();
    holder.wait().unwrap();
    disk.lock(&path).unwrap();
    assert!(path.exists(), "the file stays: removing it would let two processes lock two files of one name");
}

/// This test binary once more, playing a role.
fn role_command(role: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "real_disk::plays_its_role", "--nocapture"]).env(ROLE, role).env(ROLE_PATH, path);
    command
}

/// Starts a role and waits until it says that it is ready.
fn start_role(role: &str, path: &Path) -> Child {
    let mut child = role_command(role, path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(child.stdout.as_mut().unwrap())
        .lines()
        .map_while(Result::ok)
        .any(|line| line.ends_with("ready"));
    assert!(said, "the role {role} did not start");
    child
}

/// Not a test but what another process does for one; without a role it does nothing.
#[test]
fn plays_its_role() {
    let (Ok(role), Some(path)) = (std::env::var(ROLE), std::env::var_os(ROLE_PATH)) else {
        return;
    };
    let path = PathBuf::from(path);
    let disk = RealDisk::new();
    match role.as_str() {
        "hold-lock" => {
            let _held = disk.lock(&path).unwrap();
            println!("\nready");
            // Until killed, or until the parent is gone.
            let _ = io::stdin().read(&mut [0]);
        }
        "size-limit" => {
            let limit = rustix::process::Rlimit { current: Some(6000), maximum: Some(6000) };
            rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
            let file = disk.open(&path, Access::Create).unwrap();
            assert_eq!(file.write_at(&[7; 2 * PAGE_BYTES], 0).unwrap(), 6000, "a short write");
            let error = write_all_at(&*file, &[7; 2 * PAGE_BYTES], 0).unwrap_err();
            assert!(error.kind() == ErrorKind::FileTooLarge && out_of_space(&error));
            assert!(out_of_space(&file.allocate(100_000).unwrap_err()));
            assert_eq!(read_all(&*file), [7; 6000]);
        }
        "all-syncs" => {
            let file = disk.open(&path, Access::Create).unwrap();
            write_all_at(&*file, &[1; PAGE_BYTES], 0).unwrap();
            println!("sync {:?}", file.sync_data().map_err(|error| error.raw_os_error()));
            let page = Box::new(Page([2; PAGE_BYTES]));
            for method in [SyncMethod::WriteSync, SyncMethod::Direct] {
                println!("{method:?} {:?}", file.write_sync(&page.0, 0, method).map_err(|error| error.raw_os_error()));
            }
            println!("names {:?}", disk.sync_dir(path.parent().unwrap()).map_err(|error| error.raw_os_error()));
        }
        other => panic!("no such role: {other}"),
    }
}

#[test]
fn default_temporary_folder() {
    behaves(&std::env::temp_dir());
}

#[test]
fn memory_folder() {
    let place = Path::new("/dev/shm");
    if !place.is_dir() {
        eprintln!("skipped: this machine has no /dev/shm");
        return;
    }
    behaves(place);
    let nature = RealDisk::new().file_system(place).unwrap();
    assert!(nature.kind != "tmpfs" || nature.volatile);
}

#[test]
fn file_systems_in_a_file() {
    let makes: [(&str, &[&str], u64); 5] = [
        ("ext4", &["mkfs.ext4", "-q", "-F"], 16 << 20),
        ("xfs", &["mkfs.xfs", "-q", "-f"], 320 << 20),
        ("btrfs", &["mkfs.btrfs", "-q", "-f"], 160 << 20),
        ("f2fs", &["mkfs.f2fs", "-q", "-f"], 128 << 20),
        ("ext2", &["mkfs.ext2", "-q", "-F"], 16 << 20),
    ];
    for (kind, make, bytes) in makes {
        let Some(mount) = Mount::in_file(make, bytes) else {
            continue;
        };
        behaves(&mount.point);
        let nature = RealDisk::new().file_system(&mount.point).unwrap();
        assert_eq!(nature.kind, if kind == "ext2" { "ext4" } else { kind });
        assert_eq!((nature.copy_on_write, nature.volatile, nature.network), (kind == "btrfs", false, false));
        assert!(nature.free_bytes > 0 && nature.free_bytes < bytes);
        if kind == "ext4" {
            let folder = Folder::new(&mount.point);
            assert_eq!(sync_methods(&folder.0), [SyncMethod::WriteSync, SyncMethod::Direct], "ext4 knows both");
        }
    }
}

#[test]
fn full_tmpfs_writes_short_then_says_so_and_recovers() {
    let Some(mount) = Mount::tmpfs("64k") else { return };
    let disk = RealDisk::new();
    let nature = disk.file_system(&mount.point).unwrap();
    assert_eq!((nature.kind.as_str(), nature.volatile, nature.free_bytes), ("tmpfs", true, 64 << 10));
    let ballast = mount.point.join("ballast");
    fs::write(&ballast, [0; PAGE_BYTES]).unwrap();
    let file = disk.open(&mount.point.join("file"), Access::Create).unwrap();
    let error = file.allocate(1 << 20).unwrap_err();
    assert_eq!((error.kind(), file.bytes().unwrap()), (ErrorKind::StorageFull, 0));

    let count = file.write_at(&vec![5; 1 << 20], 0).unwrap();
    assert_eq!(count, 60 << 10, "a short write up to the end of the space");
    let error = file.write_at(&[6; 1], count as u64).unwrap_err();
    assert!(error.kind() == ErrorKind::StorageFull && out_of_space(&error) && error.raw_os_error() == Some(28));
    let error = write_all_at(&*file, &vec![5; 1 << 20], 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(disk.file_system(&mount.point).unwrap().free_bytes, 0);
    assert_eq!(read_all(&*file), vec![5; 60 << 10], "reads go on");

    // Emptied, not removed: a child process that another test is starting may share our open files for a moment.
    fs::write(&ballast, []).unwrap();
    write_all_at(&*file, &[6; PAGE_BYTES], count as u64).unwrap();
    assert_eq!(file.bytes().unwrap(), 64 << 10, "the same open file goes on when space returns");
}

#[test]
fn full_ext4_leaves_nothing_half_visible() {
    let Some(mount) = Mount::ext4() else { return };
    let disk = RealDisk::new();
    let free_bytes = || disk.file_system(&mount.point).unwrap().free_bytes;
    let file = disk.open(&mount.point.join("file"), Access::Create).unwrap();
    file.allocate(1 << 20).unwrap();
    let before = free_bytes();
    let error = file.allocate(1 << 30).unwrap_err();
    assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::StorageFull, Some(28)));
    assert_eq!(file.bytes().unwrap(), 1 << 20, "the file has its old length");
    assert!(free_bytes() + (64 << 10) >= before, "and the space is free again: {before}, now {}", free_bytes());
    file.allocate(2 << 20).unwrap();

    // The space that was reserved is there when nothing else is.
    let filler = disk.open(&mount.point.join("filler"), Access::Create).unwrap();
    let mut filled = 0;
    let error = loop {
        match filler.write_at(&[1; 64 << 10], filled) {
            Ok(count) => filled += count as u64,
            Err(error) => break error,
        }
    };
    assert!(out_of_space(&error));
    write_all_at(&*file, &vec![3; 2 << 20], 0).unwrap();
    file.sync_data().unwrap();

    // A probe on a full disk is an answer, not an error, and leaves nothing.
    let world = world();
    let probed = probe(&*world.disk, &*world.environment, &mount.point).unwrap();
    assert_eq!(probed.method, SyncMethod::DataSync);
    assert!(!mount.point.join(FILE_NAME).exists());
}

#[test]
fn read_only_file_system() {
    let Some(mount) = Mount::ext4() else { return };
    let disk = RealDisk::new();
    let path = mount.point.join("file");
    write_all_at(&*disk.open(&path, Access::Create).unwrap(), b"kept", 0).unwrap();
    // Refused as busy while a child process that another test is starting shares the file that was written, for a moment.
    let remounted = (0..200).any(|_| {
        let mut command = Command::new("mount");
        command.args(["-o", "remount,ro"]).arg(&mount.point).stderr(Stdio::null());
        command.status().unwrap().success()
    });
    assert!(remounted, "a mounted file system can be made read-only");
    let refused = [
        disk.open(&mount.point.join("new"), Access::Create).map(drop),
        disk.open(&path, Access::Write).map(drop),
        disk.create_dir(&mount.point.join("directory")),
        disk.rename(&path, &mount.point.join("other")),
        disk.remove(&path),
        disk.lock(&path).map(drop),
        disk.lock(&mount.point.join("LOCK")).map(drop),
        probe(&disk, &RealEnvironment, &mount.point).map(drop),
    ];
    for (index, result) in refused.into_iter().enumerate() {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem, "operation {index}");
    }
    assert_eq!(read_all(&*disk.open(&path, Access::Read).unwrap()), b"kept");
    assert_eq!(disk.list(&mount.point).unwrap().len(), 2, "the file, and lost+found");
}

#[test]
fn a_limit_on_the_file_size_is_a_short_write_then_an_error() {
    let folder = Folder::temporary();
    let role = role_command("size-limit", &folder.0.join("file"));
    // Without the trap the kernel's signal would end the process before it sees the error.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(role.get_program()).args(role.get_args());
    command.envs(role.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::metadata(folder.0.join("file")).unwrap().len(), 6000, "the role was played");
}

#[test]
fn modes_are_private_unless_widened() {
    let folder = Folder::temporary();
    let mode = |name: &str| fs::metadata(folder.0.join(name)).unwrap().mode() & 0o7777;
    let create_all = |disk: &RealDisk, prefix: &str| {
        let path = |name: &str| folder.0.join(format!("{prefix}-{name}"));
        disk.create_dir(&path("directory")).unwrap();
        disk.open(&path("file"), Access::Create).unwrap();
        disk.lock(&path("lock")).unwrap();
    };
    create_all(&RealDisk::new(), "private");
    let modes = ["private-directory", "private-file", "private-lock"].map(mode);
    assert_eq!(modes, [0o700, 0o600, 0o600]);
    // Group-writable on purpose: an umask of 022 would take just that away.
    create_all(&RealDisk::with_modes(Modes { directory: 0o2770, file: 0o664 }), "wide");
    assert_eq!(["wide-directory", "wide-file", "wide-lock"].map(mode), [0o2770, 0o664, 0o664]);
    // What exists keeps its mode when it is opened.
    fs::set_permissions(folder.0.join("private-file"), fs::Permissions::from_mode(0o640)).unwrap();
    RealDisk::with_modes(Modes { directory: 0o755, file: 0o666 })
        .open(&folder.0.join("private-file"), Access::Write)
        .unwrap();
    assert_eq!(mode("private-file"), 0o640);
}

#[test]
fn only_regular_files_are_opened() {
    let folder = Folder::temporary();
    let disk = RealDisk::new();
    let (directory, fifo) = (folder.0.join("directory"), folder.0.join("fifo"));
    disk.create_dir(&directory).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    for access in [Access::Read, Access::Write] {
        assert_eq!(disk.open(&directory, access).unwrap_err().kind(), ErrorKind::IsADirectory);
        // None of these waits for someone at the other end.
        let error = disk.open(&fifo, access).unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("FIFO"), "{error}");
        let error = disk.open(Path::new("/dev/null"), access).unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("/dev/null"), "{error}");
    }
    assert!(disk.lock(&fifo).is_err() && disk.lock(&directory).is_err());
}

#[test]
fn lists_odd_names() {
    let folder = Folder::temporary();
    let disk = RealDisk::new();
    fs::write(folder.0.join(std::ffi::OsStr::from_bytes(b"odd-\xff")), b"12").unwrap();
    fs::write(folder.0.join("file"), b"123").unwrap();
    symlink("file", folder.0.join("link")).unwrap();
    symlink("nowhere", folder.0.join("loose")).unwrap();
    let listed = disk.list(&folder.0).unwrap();
    let names: Vec<_> = listed.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["file", "link", "loose", "odd-\u{fffd}"]);
    assert_eq!((listed[1].bytes, listed[3].bytes), (3, 2), "a link has the length of its file");
    assert_eq!(disk.list(&folder.0.join("file")).unwrap_err().kind(), ErrorKind::NotADirectory);
}

#[test]
fn offsets_beyond_32_bits() {
    let folder = Folder::temporary();
    let file = RealDisk::new().open(&folder.0.join("sparse"), Access::Create).unwrap();
    let offset = (5 << 30) + 7;
    write_all_at(&*file, b"far", offset).unwrap();
    assert_eq!(file.bytes().unwrap(), offset + 3);
    let mut bytes = [0; 8];
    assert_eq!(read_full_at(&*file, &mut bytes, offset).unwrap(), 3);
    assert_eq!(bytes[..3], *b"far");
    assert_eq!(read_full_at(&*file, &mut bytes, offset - (1 << 32)).unwrap(), 8);
    assert_eq!(bytes, [0; 8]);
}

/// Runs a role under strace; returns the system calls and what the role said, or nothing where strace cannot trace.
fn traced(role: &str, options: &[&str]) -> Option<(String, String)> {
    let folder = Folder::temporary();
    let works = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this machine has no working strace");
        return None;
    }
    let log = folder.0.join("calls");
    let role = role_command(role, &folder.0.join("file"));
    let mut command = Command::new("strace");
    command.args(["-f", "-o"]).arg(&log).args(options).arg(role.get_program()).args(role.get_args());
    command.envs(role.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.stderr(Stdio::null()).output().unwrap();
    assert!(output.status.success());
    Some((fs::read_to_string(log).unwrap(), String::from_utf8(output.stdout).unwrap()))
}

#[test]
fn system_calls_are_those_that_are_promised() {
    let Some((calls, said)) = traced("all-syncs", &["-e", "trace=?open,openat,fsync,fdatasync,?pwrite64,pwritev2"])
    else {
        return;
    };
    let lines = |word: &str| calls.lines().filter(|line| line.contains(word)).collect::<Vec<_>>();
    assert_eq!(lines("fdatasync(").len(), 1, "{calls}");
    assert_eq!(lines(" fsync(").len(), 1, "for the directory only: {calls}");
    assert!(lines("pwritev2(").iter().all(|line| line.contains("RWF_DSYNC")) && !lines("pwritev2(").is_empty());
    if said.contains("Direct Ok") {
        let direct = lines("O_DIRECT|");
        assert_eq!(direct.len(), 1, "{calls}");
        assert!(direct[0].contains("O_DSYNC") || direct[0].contains("O_SYNC"), "{}", direct[0]);
    }
    let created = lines("O_EXCL");
    assert!(created.iter().any(|line| line.contains("O_CLOEXEC") && line.contains("0600")), "{calls}");
}

#[test]
fn a_failed_sync_is_reported_with_its_code_and_never_repeated() {
    // EINTR too: the standard library would repeat that by itself, and a second fdatasync may hide the first one's error.
    for (name, code) in [("EIO", 5), ("EINTR", 4), ("ENOSPC", 28)] {
        let inject = format!("inject=fdatasync,fsync:error={name}");
        let Some((calls, said)) = traced("all-syncs", &["-e", "trace=fsync,fdatasync", "-e", &inject]) else {
            return;
        };
        assert!(said.contains(&format!("sync Err(Some({code}))")), "{said}");
        assert!(said.contains(&format!("names Err(Some({code}))")), "{said}");
        let count = calls.lines().filter(|line| line.contains("INJECTED")).count();
        assert_eq!(count, 2, "one of each: {calls}");
    }
}

#[test]
fn a_kernel_without_a_method_says_unsupported() {
    for (name, supported) in [("EINVAL", false), ("EOPNOTSUPP", false), ("EIO", true)] {
        let inject = format!("inject=pwritev2:error={name}");
        let Some((_, said)) = traced("all-syncs", &["-e", "trace=pwritev2", "-e", &inject]) else {
            return;
        };
        // An error made by this crate has no code of the system.
        let expected = if supported { "WriteSync Err(Some(5))" } else { "WriteSync Err(None)" };
        assert!(said.contains(expected), "{said}");
    }
}
