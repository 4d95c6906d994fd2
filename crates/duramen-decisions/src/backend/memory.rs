//! A log in memory, for tests: gone with its process, and never called anything else. Owns a map.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::backend::kv::{Kv, KvOp};
use crate::error::Error;
use crate::lock;

/// Keys and values in memory. Clones share them, so that a log can be opened on them again.
#[derive(Clone, Debug, Default)]
pub struct MemoryKv {
    values: Arc<Mutex<BTreeMap<Vec<u8>, Bytes>>>,
}

impl MemoryKv {
    /// An independent copy of what is there now.
    pub fn copy(&self) -> MemoryKv {
        MemoryKv { values: Arc::new(Mutex::new(lock(&self.values).clone())) }
    }

    /// Every key and value, for tests that damage some.
    pub fn edit(&self, edit: impl FnOnce(&mut BTreeMap<Vec<u8>, Bytes>)) {
        edit(&mut lock(&self.values));
    }
}

impl Kv for MemoryKv {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn apply(&self, ops: Vec<KvOp>) -> Result<(), Error> {
        let mut values = lock(&self.values);
        for op in ops {
            match op {
                KvOp::Put(key, value) => _ = values.insert(key, value.into()),
                KvOp::Remove(key) => _ = values.remove(&key),
            }
        }
        Ok(())
    }

    fn persist(&self) -> Result<(), Error> {
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(lock(&self.values).get(key).cloned())
    }

    fn keys(&self, from: &[u8], to: &[u8], max: usize) -> Result<Vec<Vec<u8>>, Error> {
        let range = (Bound::Included(from), Bound::Included(to));
        if from > to {
            return Ok(Vec::new());
        }
        Ok(lock(&self.values).range::<[u8], _>(range).take(max).map(|(key, _)| key.clone()).collect())
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let range = (Bound::Included(from), Bound::Included(to));
        if from > to {
            return Ok(None);
        }
        Ok(lock(&self.values).range::<[u8], _>(range).next_back().map(|(key, _)| key.clone()))
    }

    fn stored_bytes(&self) -> u64 {
        lock(&self.values).iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}
