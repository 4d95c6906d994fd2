//! An object store as a tier (feature `object-store`): S3, Azure, Google Cloud, or whatever else the crate `object_store` speaks to.
//! Owns the step between its futures and the log's threads.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use duramen_journal::disk::DiskFile;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutPayload};

use super::{Tier, TierPlace, pieces};

/// Bytes of a part of an upload; stores want 5 MiB at least.
const PART_BYTES: usize = 8 << 20;

/// A future that somebody has to run.
pub type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A prefix of an object store.
pub struct ObjectTier {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    spawn: Box<dyn Fn(Job) + Send + Sync>,
}

impl fmt::Debug for ObjectTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectTier").field("store", &self.store).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl ObjectTier {
    /// The log calls from its own threads and waits; `spawn` hands the work to a runtime, on another thread than the one that
    /// waits: `move |job| drop(handle.spawn(job))` with a handle of tokio's.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        prefix: impl Into<Path>,
        spawn: impl Fn(Job) + Send + Sync + 'static,
    ) -> ObjectTier {
        ObjectTier { store, prefix: prefix.into(), spawn: Box::new(spawn) }
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    fn run<V: Send + 'static>(&self, work: impl Future<Output = Result<V, Error>> + Send + 'static) -> io::Result<V> {
        let (sender, receiver) = sync_channel(1);
        (self.spawn)(Box::pin(async move {
            let _ = sender.send(work.await);
        }));
        let gone = |_| io::Error::other("the runtime that spoke to the object store is gone");
        receiver.recv().map_err(gone)?.map_err(|error| match error {
            Error::NotFound { .. } => io::Error::new(io::ErrorKind::NotFound, error),
            error => io::Error::other(error),
        })
    }
}

impl Tier for ObjectTier {
    fn place(&self) -> TierPlace {
        TierPlace::Other(format!("{}, {}", self.store, self.prefix))
    }

    fn put(&self, name: &str, from: &dyn DiskFile, bytes: u64) -> io::Result<()> {
        let (store, path) = (self.store.clone(), self.path(name));
        let mut upload = Some(self.run(async move { store.put_multipart(&path).await })?);
        let mut part: Vec<u8> = Vec::new();
        let mut send = |part: Vec<u8>| {
            let Some(mut open) = upload.take() else { return Err(io::Error::other("an upload has failed")) };
            upload = Some(self.run(async move {
                open.put_part(PutPayload::from(part)).await?;
                Ok(open)
            })?);
            Ok(())
        };
        pieces(from, bytes, &mut |_, piece| {
            part.extend_from_slice(piece);
            if part.len() >= PART_BYTES { send(std::mem::take(&mut part)) } else { Ok(()) }
        })?;
        if !part.is_empty() {
            send(part)?;
        }
        let Some(mut open) = upload else { return Err(io::Error::other("an upload has failed")) };
        self.run(async move { open.complete().await })?;
        Ok(())
    }

    fn read_at(&self, name: &str, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (store, path) = (self.store.clone(), self.path(name));
        let wanted = buffer.len() as u64;
        let read = self.run(async move {
            let length = store.head(&path).await?.size;
            let range = offset.min(length)..length.min(offset.saturating_add(wanted));
            // An empty range is an error to some.
            if range.is_empty() { Ok(bytes::Bytes::new()) } else { store.get_range(&path, range).await }
        })?;
        buffer
            .get_mut(..read.len())
            .ok_or_else(|| io::Error::other("more came than was asked for"))?
            .copy_from_slice(&read);
        Ok(read.len())
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for (before, prefix) in [(String::new(), self.prefix.clone()), ("journal/".to_string(), self.path("journal"))] {
            let store = self.store.clone();
            let listed = self.run(async move { store.list_with_delimiter(Some(&prefix)).await })?;
            let named = listed
                .objects
                .into_iter()
                .filter_map(|object| Some((format!("{before}{}", object.location.filename()?), object.size)));
            files.extend(named);
        }
        Ok(files)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let (store, path) = (self.store.clone(), self.path(name));
        match self.run(async move { store.delete(&path).await }) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
