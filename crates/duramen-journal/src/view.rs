//! A journal, open for reading only.
use std::ops::RangeBounds;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Sequence;
use crate::catalog::BlockCache;
use crate::disk::{World, real};
use crate::error::Error;
use crate::files;
use crate::gather::{How, gather};
use crate::journal::{Scan, SegmentInfo, segment_infos};
use crate::open::{catalog_of, report_of};
use crate::reader::ReadCore;
use crate::record::Record;
use crate::report::Report;

/// How a journal is read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// Bytes that a scan reads at once.
    pub read_buffer_bytes: usize,
    /// Bytes of indexes and decompressed blocks kept in memory.
    pub read_cache_bytes: usize,
}

impl Default for ReadOptions {
    fn default() -> ReadOptions {
        ReadOptions { read_buffer_bytes: 1 << 20, read_cache_bytes: 8 << 20 }
    }
}

/// A journal, open for reading only.
pub struct Reader {
    path: PathBuf,
    options: ReadOptions,
    world: World,
    core: Arc<ReadCore>,
    report: Report,
    last: Sequence,
}

impl Reader {
    /// Opens on the real disk.
    pub fn open(path: impl AsRef<Path>) -> Result<Reader, Error> {
        Reader::open_with(path, &ReadOptions::default(), real::world())
    }

    /// Opens on any disk.
    pub fn open_with(path: impl AsRef<Path>, options: &ReadOptions, world: World) -> Result<Reader, Error> {
        let path = path.as_ref();
        let how = How { writing: false, buffer_bytes: options.read_buffer_bytes, observer: None };
        let gathered =
            gather(&*world.disk, path, how)?.ok_or_else(|| Error::Missing { path: path.to_path_buf() })?;
        let report = report_of(&gathered);
        let core = Arc::new(ReadCore {
            disk: world.disk.clone(),
            catalog: catalog_of(&gathered, &files::journal_folder(path), 0),
            cache: BlockCache::new(options.read_cache_bytes),
            buffer_bytes: options.read_buffer_bytes,
        });
        let last = report.next - 1;
        Ok(Reader { path: path.to_path_buf(), options: options.clone(), world, core, report, last })
    }

    /// What opening found.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The first stored sequence.
    pub fn first(&self) -> Sequence {
        self.core.catalog.first()
    }

    /// The last readable sequence.
    pub fn last(&self) -> Sequence {
        self.last
    }

    /// Reads one record.
    pub fn read(&self, sequence: Sequence) -> Result<Record, Error> {
        self.core.read(sequence, self.last + 1)
    }

    /// Reads a range.
    pub fn scan(&self, range: impl RangeBounds<Sequence>) -> Scan {
        Scan::new(self.core.clone(), range, self.first(), self.last + 1)
    }

    /// The segments.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        segment_infos(&self.core)
    }

    /// Looks for what came since.
    pub fn refresh(&mut self) -> Result<bool, Error> {
        let fresh = Reader::open_with(&self.path, &self.options, self.world.clone())?;
        let moved = fresh.last != self.last;
        *self = fresh;
        Ok(moved)
    }
}
