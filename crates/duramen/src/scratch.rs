//! A private temporary folder that removes itself: for the tools `demo` and `bench`. Owns its making and its end;
//! journals inside it still go through the journal's own disk.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a tool's temporary folder is no data folder; the journal in it goes through `Disk`"
)]

use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use duramen_journal::disk::World;

/// The folder, and whether it stays.
#[derive(Debug)]
pub struct TemporaryFolder {
    path: PathBuf,
    /// Leave it when the value is dropped.
    pub keep: bool,
}

impl TemporaryFolder {
    /// Makes `PARENT/duramen-NAME-RANDOM`, for its owner only. `None`: the system's place for temporary files.
    ///
    /// # Errors
    /// The folder cannot be made, for example for want of permission.
    pub fn make(parent: Option<&Path>, name: &str, world: &World) -> anyhow::Result<TemporaryFolder> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let mut random = [0; 6];
        world.environment.entropy(&mut random).context("the system gives no random bytes")?;
        let mut file_name = format!("duramen-{name}-");
        for byte in random {
            let _ = write!(file_name, "{byte:02x}");
        }
        let path = parent.join(file_name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make a temporary folder in {}; name another place", parent.display()))?;
        Ok(TemporaryFolder { path, keep: false })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            eprintln!("duramen: cannot remove {}: {error}", self.path.display());
        }
    }
}
