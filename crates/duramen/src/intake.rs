//! Samples of a body into the store: series by the bytes that name them, batches, one receipt for all. Owns the names that are
//! known; which language a body is in is [`crate::samples`]' business.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use duramen_store::{Batch, Durability, Error, Labels, Receipt, Store, Stream};

use crate::input::Now;
use crate::samples::{Label, Refused, Sample};

/// Samples that are appended together: enough for one sync's worth, few enough for half a segment.
const BATCH_SAMPLES: usize = 20_000;
/// Names that are known at the same time. Beyond that all are looked up again.
const NAMES_MAX: usize = 200_000;

/// Series by the bytes that named them in earlier bodies.
#[derive(Debug, Default)]
pub struct Names {
    known: RwLock<HashMap<Box<[u8]>, Stream>>,
}

impl Names {
    fn get(&self, key: &[u8]) -> Option<Stream> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn insert(&self, key: &[u8], stream: &Stream) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= NAMES_MAX {
            known.clear();
        }
        known.insert(key.into(), stream.clone());
    }
}

/// What becomes of a sample's own label if all samples get one of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clash {
    /// It stays, and the other is not given.
    Keep,
    /// It is called `exported_…`, as Prometheus does with what it scrapes.
    Export,
}

/// What takes the samples of one body.
pub struct Intake<'a> {
    store: &'a Store,
    names: &'a Names,
    how: Durability,
    now: Now,
    /// Labels that all of them get.
    more: &'a [(String, String)],
    clash: Clash,
    /// What stands before a key, so that bodies of other languages and options never share one.
    space: Vec<u8>,
    key: Vec<u8>,
    last: Option<Stream>,
    batch: Batch,
    receipt: Option<Receipt>,
    too_old: u64,
    /// Why the store takes no more.
    error: Option<Error>,
}

impl<'a> Intake<'a> {
    /// Begins a body; `space` tells its language and options. All samples get the labels of `more` that they have not themselves.
    pub fn new(
        store: &'a Store,
        names: &'a Names,
        space: &str,
        more: &'a [(String, String)],
        how: Durability,
    ) -> Intake<'a> {
        let mut space = [space.as_bytes(), &[0]].concat();
        for (name, value) in more {
            space.extend_from_slice(name.as_bytes());
            space.push(0);
            space.extend_from_slice(value.as_bytes());
            space.push(0);
        }
        let now = Now::of(store);
        let (key, batch, clash, too_old) = (Vec::new(), Batch::new(), Clash::Keep, 0);
        let (last, receipt, error) = (None, None, None);
        Intake { store, names, how, now, more, clash, space, key, last, batch, receipt, too_old, error }
    }

    /// All samples get the labels of `more`; their own ones of these names are called `exported_…`.
    pub fn exporting(mut self) -> Intake<'a> {
        self.clash = Clash::Export;
        self
    }

    /// Takes one sample.
    ///
    /// # Errors
    /// Its series is none, or one too many; or the store takes no more, which [`Intake::finish`] tells.
    pub fn take(&mut self, sample: &Sample<'_>) -> Result<(), Refused> {
        let stream = self.stream(sample)?;
        match sample.time {
            Some(time) => self.batch.push_sample(&stream, time, sample.value),
            None => self.batch.push_sample_at(self.now.base, &stream, self.now.time, sample.value),
        }
        self.last = Some(stream);
        if self.batch.samples() >= BATCH_SAMPLES {
            self.append().map_err(|error| {
                self.error = Some(error);
                Refused::Stop
            })?;
        }
        Ok(())
    }

    /// The series of the sample that was taken last.
    pub fn last(&self) -> Option<&Stream> {
        self.last.as_ref()
    }

    /// The series of a sample. Samples of one series mostly follow each other.
    fn stream(&mut self, sample: &Sample<'_>) -> Result<Stream, Refused> {
        let (head, field) = (sample.series.head(), sample.series.field());
        let space = self.space.len();
        let same = self.key.len() == space + head.len() + field.len() + 8
            && self.key[space..].starts_with(head)
            && self.key[space + head.len()..].starts_with(field)
            && self.key.ends_with(&(head.len() as u64).to_le_bytes());
        if let Some(last) = self.last.as_ref().filter(|_| same) {
            return Ok(last.clone());
        }
        self.key.clear();
        self.key.extend_from_slice(&self.space);
        self.key.extend_from_slice(head);
        self.key.extend_from_slice(field);
        // Where the head ends belongs to the key.
        self.key.extend_from_slice(&(head.len() as u64).to_le_bytes());
        if let Some(stream) = self.names.get(&self.key) {
            return Ok(stream);
        }
        let mut labels = sample.series.labels().map_err(Refused::Row)?;
        if self.clash == Clash::Export {
            export(&mut labels, self.more);
        }
        let mut pairs: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        for (name, value) in self.more {
            if !pairs.iter().any(|(known, _)| known == name) {
                pairs.push((name, value));
            }
        }
        let stream = Labels::new(pairs).and_then(|labels| self.store.stream(&labels));
        let stream = stream.map_err(|error| Refused::Row(error.to_string()))?;
        self.names.insert(&self.key, &stream);
        Ok(stream)
    }

    fn append(&mut self) -> Result<(), Error> {
        let receipt = self.store.append_drain(&mut self.batch, self.how)?;
        self.too_old += receipt.too_old().samples as u64;
        self.receipt = Some(receipt);
        Ok(())
    }

    /// Ends a body: what it had is in the store, and durable when the receipt says so.
    ///
    /// # Errors
    /// Why the store did not take all of it.
    pub fn finish(&mut self) -> Result<Option<Receipt>, Error> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if !self.batch.is_empty() {
            self.append()?;
        }
        Ok(self.receipt.take())
    }

    /// Samples that came and are not stored, as they are older than the retention keeps; all of them once the body is ended.
    pub fn too_old(&self) -> u64 {
        self.too_old
    }
}

/// Gives labels that are called as others another name that is free.
fn export(labels: &mut [Label<'_>], others: &[(String, String)]) {
    for (name, _) in others {
        let Some(at) = labels.iter().position(|(known, _)| known == name) else { continue };
        let mut free = format!("exported_{name}");
        while labels.iter().any(|(known, _)| *known == free) || others.iter().any(|(known, _)| *known == free) {
            free.insert_str(0, "exported_");
        }
        labels[at].0 = free.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_clash_get_another_name() {
        let pairs = |all: &[(&'static str, &'static str)]| -> Vec<Label<'static>> {
            all.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
        };
        let others = [("job".to_string(), "mine".to_string()), ("instance".to_string(), "i".to_string())];
        let mut labels = pairs(&[("__name__", "load"), ("job", "own"), ("exported_job", "older"), ("x", "y")]);
        export(&mut labels, &others);
        let expected =
            pairs(&[("__name__", "load"), ("exported_exported_job", "own"), ("exported_job", "older"), ("x", "y")]);
        assert_eq!(labels, expected);
    }
}
