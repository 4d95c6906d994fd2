//! openraft's own storage suites, both lines, on the real disk, and what they do not ask: completions when the journal is
//! gone.

mod line_09;
mod line_10;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use duramen_raft::{Config, Strategy};

/// A folder of its own for each store; removed when it is dropped.
pub struct Folder(PathBuf);

impl Folder {
    /// A folder that does not exist yet.
    pub fn fresh() -> Folder {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let base = std::env::var("CARGO_TARGET_TMPDIR").map_or_else(|_| std::env::temp_dir(), PathBuf::from);
        Folder(base.join(format!("duramen-raft-openraft-{}-{number}", std::process::id())))
    }

    /// Small segments and no file made ahead: the suites open many stores.
    pub fn config(&self, strategy: Strategy) -> Config {
        let mut config = Config { chunk_max_size: 64 << 10, strategy, ..Config::new(&self.0) };
        config.journal.spares_max = 0;
        config.journal.sync_method = Some(duramen_journal::disk::SyncMethod::DataSync);
        config
    }
}

impl Drop for Folder {
    #[allow(clippy::disallowed_methods, reason = "a test clears its folder away")]
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
