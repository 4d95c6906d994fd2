//! Writing a snapshot, and receiving one. Owns the bounded buffer, the part file that survives a crash, and the removal of
//! what was not finished.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use duramen_journal::disk::{Access, DiskFile, read_full_at, write_all_at};

use super::SnapshotError;
use super::store::{Folder, Raw, Store, hex, read_ends};
use crate::GroupId;
use crate::format::snapshot::{End, Head, META_BYTES_MAX, digest};
use crate::format::{LEADER_BYTES_MAX, Malformed, RawId};

/// Written bytes are handed to the device so many at a time, so that the sync at the end finds little to do.
const WRITEBACK_BYTES: u64 = 8 << 20;

/// A snapshot that is being written.
#[derive(Debug)]
pub(crate) struct Writer {
    store: Arc<Store>,
    folder: Arc<Folder>,
    file: Box<dyn DiskFile>,
    path: PathBuf,
    head: Vec<u8>,
    id: [u8; 16],
    buffer: Vec<u8>,
    bytes: u64,
    digests: Vec<u64>,
    handed: u64,
    failed: Option<SnapshotError>,
    published: bool,
}

impl Writer {
    pub fn begin(store: &Arc<Store>, group: GroupId, last: RawId<'_>, meta: &[u8]) -> Result<Writer, SnapshotError> {
        let bound = |what, bytes: usize, max: usize| match bytes > max {
            true => Err(SnapshotError::TooLarge { what, bytes: bytes as u64, max: max as u64 }),
            false => Ok(()),
        };
        bound("a leader's id", last.leader.len(), LEADER_BYTES_MAX)?;
        bound("what goes beside a snapshot", meta.len(), META_BYTES_MAX)?;
        store.check_newer(group, last.index)?;
        let folder = store.made(group)?;
        let mut id = [0; 16];
        let entropy = store.world.environment.entropy(&mut id);
        entropy.map_err(|error| SnapshotError::io("draw entropy for", &folder.path, error))?;
        let head = Head { id, group, chunk_bytes: store.chunk_bytes, last, meta }.encode();
        let path = folder.path.join(format!("{}.new", hex(&id)));
        let file =
            store.disk().open(&path, Access::Create).map_err(|error| SnapshotError::io("create", &path, error))?;
        let mut writer = Writer {
            store: store.clone(),
            folder,
            file,
            path,
            head: Vec::new(),
            id,
            buffer: Vec::new(),
            bytes: 0,
            digests: Vec::new(),
            handed: 0,
            failed: None,
            published: false,
        };
        writer.put(&head, 0)?;
        writer.head = head;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8], at: u64) -> Result<(), SnapshotError> {
        let written =
            write_all_at(&*self.file, bytes, at).map_err(|error| SnapshotError::io("write", &self.path, error));
        if let Err(error) = &written {
            self.failed = Some(error.clone());
        }
        written
    }

    fn put_chunk(&mut self) -> Result<(), SnapshotError> {
        let chunk = std::mem::take(&mut self.buffer);
        let at = self.head.len() as u64 + self.bytes;
        self.put(&chunk, at)?;
        self.digests.push(digest(&self.id, self.digests.len() as u32, &chunk));
        self.bytes += chunk.len() as u64;
        if at - self.handed >= WRITEBACK_BYTES {
            self.file.start_writeback(self.handed, at - self.handed);
            self.handed = at;
        }
        self.buffer = chunk;
        self.buffer.clear();
        Ok(())
    }

    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), SnapshotError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let chunk_bytes = self.store.chunk_bytes as usize;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(chunk_bytes - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == chunk_bytes {
                if self.digests.len() as u64 >= u64::from(u32::MAX) {
                    let max = u64::from(u32::MAX) * u64::from(self.store.chunk_bytes);
                    return Err(SnapshotError::TooLarge { what: "a snapshot", bytes: self.bytes, max });
                }
                self.put_chunk()?;
            }
        }
        Ok(())
    }

    pub fn finish(mut self) -> Result<Arc<Raw>, SnapshotError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        if !self.buffer.is_empty() {
            self.put_chunk()?;
        }
        let end = End { bytes: self.bytes, digests: std::mem::take(&mut self.digests) }.encode(&self.head);
        self.put(&end, self.head.len() as u64 + self.bytes)?;
        self.file.sync_data().map_err(|error| SnapshotError::io("sync", &self.path, error))?;
        let raw = Raw::of(self.path.clone(), self.head.clone(), &end).expect("as it was just encoded");
        let raw = self.store.publish(&self.folder, &self.path, raw)?;
        self.published = true;
        Ok(raw)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.published {
            // If it cannot be removed now, it is when the folder is opened.
            let _ = self.store.disk().remove(&self.path);
        }
    }
}

/// A snapshot that is being received, in chunks of any order.
#[derive(Debug)]
pub(crate) struct Receiver {
    store: Arc<Store>,
    folder: Arc<Folder>,
    file: Box<dyn DiskFile>,
    raw: Raw,
    have: Vec<bool>,
    missing: u32,
}

fn bad_offer(what: &'static str) -> SnapshotError {
    SnapshotError::BadOffer { what: Malformed::new(what) }
}

impl Receiver {
    pub fn begin(store: &Arc<Store>, group: GroupId, offer: &[u8]) -> Result<Receiver, SnapshotError> {
        let length = Head::length(offer).map_err(|_| bad_offer("its head is none"))?;
        let (head, end) = offer.split_at_checked(length).ok_or_else(|| bad_offer("it is cut off"))?;
        let raw =
            Raw::of(PathBuf::new(), head.to_vec(), end).map_err(|_| bad_offer("its check values do not match"))?;
        if raw.group != group {
            return Err(bad_offer("it is another group's"));
        }
        store.check_newer(group, raw.index)?;
        let folder = store.made(group)?;
        let path = folder.path.join(format!("{:016x}-{}.part", raw.index, hex(&raw.id)));
        let raw = Raw { path, ..raw };
        let have = vec![false; raw.chunks() as usize];
        let missing = raw.chunks();
        let disk = store.disk();
        let (file, begun) = match disk.open(&raw.path, Access::Write) {
            Ok(file) => {
                // The same offer, begun before a crash.
                let same =
                    read_ends(&raw.path, &*file).is_ok_and(|begun| begun.head == raw.head && begun.end == raw.end);
                (file, same)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let made = disk.open(&raw.path, Access::Create);
                (made.map_err(|error| SnapshotError::io("create", &raw.path, error))?, false)
            }
            Err(error) => return Err(SnapshotError::io("open", &raw.path, error)),
        };
        let mut receiver = Receiver { store: store.clone(), folder, file, raw, have, missing };
        if begun {
            receiver.find_what_is_there()?;
        } else if let Err(error) = receiver.lay_out(end) {
            let _ = store.disk().remove(&receiver.raw.path);
            return Err(error);
        }
        Ok(receiver)
    }

    /// Takes the room for all of it, so that a full disk is known now.
    fn lay_out(&self, end: &[u8]) -> Result<(), SnapshotError> {
        let raw = &self.raw;
        let allocated = self.file.allocate(raw.file_bytes());
        allocated.map_err(|error| SnapshotError::io("reserve space for", &raw.path, error))?;
        let written =
            write_all_at(&*self.file, &raw.head, 0).and_then(|()| write_all_at(&*self.file, end, raw.end_at()));
        written.map_err(|error| SnapshotError::io("write", &raw.path, error))
    }

    fn find_what_is_there(&mut self) -> Result<(), SnapshotError> {
        let mut buffer = vec![0; self.raw.chunk_bytes as usize];
        for number in 0..self.raw.chunks() {
            let Some((at, bytes)) = self.raw.place(number) else { break };
            let read = read_full_at(&*self.file, &mut buffer[..bytes], at);
            // What cannot be read is asked for again.
            let whole = read.is_ok_and(|read| read == bytes);
            if whole && digest(&self.raw.id, number, &buffer[..bytes]) == self.raw.end.digests[number as usize] {
                self.have[number as usize] = true;
                self.missing -= 1;
            }
        }
        Ok(())
    }

    pub fn raw(&self) -> &Raw {
        &self.raw
    }

    pub fn missing(&self) -> impl Iterator<Item = u32> + '_ {
        self.have.iter().enumerate().filter(|(_, have)| !**have).map(|(number, _)| number as u32)
    }

    pub fn put(&mut self, number: u32, chunk: &[u8]) -> Result<(), SnapshotError> {
        let wrong = |reason| Err(SnapshotError::WrongChunk { chunk: number, reason });
        let Some((at, bytes)) = self.raw.place(number) else { return wrong("there is no chunk of this number") };
        if chunk.len() != bytes {
            return wrong("it has another length");
        }
        if digest(&self.raw.id, number, chunk) != self.raw.end.digests[number as usize] {
            return wrong("its digest is another");
        }
        if self.have[number as usize] {
            return Ok(());
        }
        let written = write_all_at(&*self.file, chunk, at);
        written.map_err(|error| SnapshotError::io("write", &self.raw.path, error))?;
        self.have[number as usize] = true;
        self.missing -= 1;
        Ok(())
    }

    pub fn finish(self) -> Result<Arc<Raw>, SnapshotError> {
        if let Some(first) = self.missing().next() {
            return Err(SnapshotError::Incomplete { first, missing: self.missing });
        }
        let Receiver { store, folder, file, raw, .. } = self;
        file.sync_data().map_err(|error| SnapshotError::io("sync", &raw.path, error))?;
        let path = raw.path.clone();
        store.publish(&folder, &path, raw)
    }
}

/// What another node has to know before it asks for chunks.
pub(crate) fn offer(raw: &Raw) -> Bytes {
    let mut bytes = raw.head.clone();
    bytes.extend(raw.end.encode(&raw.head));
    Bytes::from(bytes)
}
