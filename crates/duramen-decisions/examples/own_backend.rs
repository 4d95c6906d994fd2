//! A backend of one's own, whole: a file to which batches are appended, each with a checksum, and a map of what is in it. It passes
//! the suite (`tests/suite` runs it). What it lacks is what a real one is for: it never shrinks, and it holds everything in memory.
//!
//! `cargo run -p duramen-decisions --example own_backend`

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "an example of a user's program, which has files"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::sync::Mutex;

use bytes::Bytes;
use duramen_decisions::backend::kv::{Kv, KvBackend, KvOp};
use duramen_decisions::backend::witness::Witness;
use duramen_decisions::{Blake3, Digest as _, Error, Log, PersistentLog as _, PersistentLogConfig, RawLayer};

/// Keys and values in one file. A record: its length, the first bytes of its digest, and for each change its key, and 1 and the
/// value, or 0.
#[derive(Debug)]
pub struct LineLog(Mutex<(File, BTreeMap<Vec<u8>, Bytes>)>);

fn failed(error: std::io::Error) -> Error {
    Error::Backend { backend: "line log", reason: error.to_string() }
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (own, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(own)
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Makes the changes of a record.
fn replay(mut changes: &[u8], values: &mut BTreeMap<Vec<u8>, Bytes>) {
    while let Some(key) = take(&mut changes) {
        match take(&mut changes).and_then(<[u8]>::split_first) {
            Some((1, value)) => _ = values.insert(key.to_vec(), Bytes::copy_from_slice(value)),
            _ => _ = values.remove(key),
        }
    }
}

impl LineLog {
    /// Opens, or creates, the file.
    pub fn open(path: &std::path::Path) -> std::io::Result<LineLog> {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock()?;
        let (mut bytes, mut values) = (Vec::new(), BTreeMap::new());
        file.read_to_end(&mut bytes)?;
        let (mut rest, mut good) = (&bytes[..], 0);
        while let Some((digest, changes)) = take(&mut rest).and_then(<[u8]>::split_first_chunk::<8>)
            && Blake3::of(&[changes]).bytes()[..8] == digest[..]
        {
            replay(changes, &mut values);
            good = bytes.len() - rest.len();
        }
        // A torn tail, or damage: which one, the witness tells.
        file.set_len(good as u64)?;
        file.seek(std::io::SeekFrom::End(0))?;
        file.sync_all()?;
        Ok(LineLog(Mutex::new((file, values))))
    }
}

impl Kv for LineLog {
    fn name(&self) -> &'static str {
        "line log"
    }

    fn apply(&self, ops: Vec<KvOp>) -> Result<(), Error> {
        let mut changes = Vec::new();
        for op in &ops {
            let (key, value) = match op {
                KvOp::Put(key, value) => (key, [&[1], &value[..]].concat()),
                KvOp::Remove(key) => (key, vec![0]),
            };
            put(&mut changes, key);
            put(&mut changes, &value);
        }
        let mut record = Vec::new();
        put(&mut record, &[&Blake3::of(&[&changes]).bytes()[..8], &changes].concat());
        let (file, values) = &mut *self.0.lock().expect("no call panics");
        file.write_all(&record).map_err(failed)?;
        replay(&changes, values);
        Ok(())
    }

    fn persist(&self) -> Result<(), Error> {
        // Writing goes on while this file is synced.
        let file = self.0.lock().expect("no call panics").0.try_clone().map_err(failed)?;
        file.sync_data().map_err(failed)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.0.lock().expect("no call panics").1.get(key).cloned())
    }

    fn keys(&self, from: &[u8], to: &[u8], max: usize) -> Result<Vec<Vec<u8>>, Error> {
        let values = &self.0.lock().expect("no call panics").1;
        Ok(values.range(from.to_vec()..=to.to_vec()).take(max).map(|(key, _)| key.clone()).collect())
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let values = &self.0.lock().expect("no call panics").1;
        Ok(values.range(from.to_vec()..=to.to_vec()).next_back().map(|(key, _)| key.clone()))
    }
}

/// The backend in a folder.
pub fn open(config: &PersistentLogConfig) -> Result<KvBackend<LineLog>, Error> {
    std::fs::create_dir_all(&config.log_dir).map_err(failed)?;
    let kv = LineLog::open(&config.log_dir.join("lines")).map_err(failed)?;
    std::fs::File::open(&config.log_dir).and_then(|folder| folder.sync_all()).map_err(failed)?;
    KvBackend::witnessed(kv, Witness::open(&config.world.disk, &config.log_dir)?, config)
}

#[allow(dead_code, reason = "the suite's test takes the backend alone")]
fn main() -> Result<(), Error> {
    let folder = std::env::temp_dir().join(format!("duramen-own-backend-{}", std::process::id()));
    let config = PersistentLogConfig::new(&folder);
    let log = Log::<Blake3, Vec<u8>, RawLayer, _>::on(open(&config)?, config.clone())?;
    log.store_decision(1, &"add 3".into())?.wait()?;
    drop(log);
    let log = Log::<Blake3, Vec<u8>, RawLayer, _>::on(open(&config)?, config)?;
    println!("{}{:?}", log.recovery_information(), log.retrieve_decision(1)?);
    std::fs::remove_dir_all(folder).map_err(failed)
}
