//! Good records out of a damaged journal.
use std::path::{Path, PathBuf};

use crate::disk::{Disk, World};
use crate::error::Error;
use crate::gather::Gathered;
use crate::options::Options;

/// Where a journal is rebuilt before it takes its place.
pub(crate) const REBUILT: &str = "rebuilt.tmp";

pub(crate) fn finish_setting_aside(_disk: &dyn Disk, _path: &Path) -> Result<(), Error> {
    Ok(())
}

pub(crate) fn set_aside(_world: &World, path: &Path, _options: &Options, _gathered: &Gathered) -> Result<PathBuf, Error> {
    Err(Error::Missing { path: path.to_path_buf() })
}
