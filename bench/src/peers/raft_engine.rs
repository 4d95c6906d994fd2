//! raft-engine 0.4.2: durable means `write(batch, true)`, which syncs before it returns.
//!
//! `Engine::sync()` is not used: it writes an empty batch, and an empty batch returns before any sync (PEERS.md). A
//! buffered run ends with one more record written with `sync`, which syncs the file, earlier writes included; files
//! before it were synced when they were closed. Callers each get a Raft group of their own, because entries of one group
//! must arrive in order. Compression is off: the records are random, so it could only cost.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use protobuf::{
    Clear, CodedInputStream, CodedOutputStream, Message, ProtobufResult, UnknownFields, reflect::MessageDescriptor,
};
use raft_engine::{Config, Engine as Inner, LogBatch, MessageExt, ReadableSize};

use crate::engine::{Ability, Acknowledgement, Engine, LANES, Outcome, Role, Setup, System, unsupported};
use crate::pool::Pool;

/// The group that takes the record which carries a lone sync; no caller uses it.
const SYNC_LANE: usize = LANES - 1;

/// Entries fetched at a time by a scan.
const SCAN_ENTRIES: u64 = 1024;

pub struct RaftEngineSystem;

impl System for RaftEngineSystem {
    fn name(&self) -> &str {
        "raft-engine 0.4.2"
    }

    fn role(&self) -> Role {
        Role::Peer
    }

    fn can(&self, ability: Ability) -> bool {
        match ability {
            Ability::Buffer | Ability::Read | Ability::Segments | Ability::ManyRecords | Ability::Groups => true,
            Ability::InFlight | Ability::Policies | Ability::Strategies => false,
        }
    }

    fn open(&self, folder: &Path, setup: &Setup) -> Outcome<Box<dyn Engine>> {
        let mut config = Config {
            dir: folder.to_string_lossy().into_owned(),
            batch_compression_threshold: ReadableSize(0),
            ..Config::default()
        };
        if let Some(bytes) = setup.segment_bytes {
            config.target_file_size = ReadableSize(u64::from(bytes));
        }
        let inner = Inner::open(config)?;
        let next = (0..LANES).map(|lane| AtomicU64::new(inner.last_index(group(lane)).map_or(1, |last| last + 1)));
        Ok(Box::new(RaftEngine { next: next.collect(), inner }))
    }
}

fn group(lane: usize) -> u64 {
    lane as u64 + 1
}

struct RaftEngine {
    inner: Inner,
    /// The next index of each lane's group.
    next: Vec<AtomicU64>,
}

impl Engine for RaftEngine {
    fn append(&self, lane: usize, records: &[&[u8]], acknowledgement: Acknowledgement) -> Outcome<()> {
        let first = self.next[lane].fetch_add(records.len() as u64, Ordering::Relaxed);
        let entries: Vec<Entry> = records
            .iter()
            .zip(first..)
            .map(|(record, index)| Entry { term: 1, index, data: record.to_vec(), ..Entry::default() })
            .collect();
        let mut batch = LogBatch::with_capacity(1);
        batch.add_entries::<Entries>(group(lane), &entries)?;
        self.inner.write(&mut batch, acknowledgement == Acknowledgement::Durable)?;
        Ok(())
    }

    fn append_to_all(&self, lanes: &[usize], record: &[u8]) -> Outcome<()> {
        let mut batch = LogBatch::with_capacity(lanes.len());
        for &lane in lanes {
            let index = self.next[lane].fetch_add(1, Ordering::Relaxed);
            let entry = Entry { term: 1, index, data: record.to_vec(), ..Entry::default() };
            batch.add_entries::<Entries>(group(lane), &[entry])?;
        }
        self.inner.write(&mut batch, true)?;
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        self.append(SYNC_LANE, &[b"sync"], Acknowledgement::Durable)
    }

    fn append_in_flight(&self, _window: usize, _pool: &Pool, _stop_at: Instant) -> Outcome<u64> {
        unsupported("keep appends in flight")
    }

    fn read(&self, index: u64, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let entry = self.inner.get_entry::<Entries>(group(0), index + 1)?.ok_or("there is no entry at this index")?;
        visit(&entry.data);
        Ok(())
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let end = self.next[0].load(Ordering::Relaxed);
        let mut entries = Vec::new();
        let mut begin = 1;
        while begin < end {
            let until = end.min(begin + SCAN_ENTRIES);
            entries.clear();
            self.inner.fetch_entries_to::<Entries>(group(0), begin, until, None, &mut entries)?;
            entries.iter().for_each(|entry| visit(&entry.data));
            begin = until;
        }
        Ok(())
    }

    fn release(&self) -> Outcome<()> {
        self.inner.compact_to(group(0), self.next[0].load(Ordering::Relaxed));
        self.inner.purge_expired_files()?;
        Ok(())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(())
    }
}

/// How raft-engine finds an entry's index.
#[derive(Clone)]
struct Entries;

impl MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

/// The fields of raft-rs's `eraftpb.Entry` that matter here, with its field numbers.
#[derive(Clone, Debug, Default, PartialEq)]
struct Entry {
    term: u64,
    index: u64,
    data: Vec<u8>,
    unknown_fields: UnknownFields,
}

const TERM_FIELD: u32 = 2;
const INDEX_FIELD: u32 = 3;
const DATA_FIELD: u32 = 4;

impl Clear for Entry {
    fn clear(&mut self) {
        *self = Entry::default();
    }
}

impl Message for Entry {
    fn descriptor(&self) -> &'static MessageDescriptor {
        unreachable!("raft-engine does not reflect on its entries")
    }

    fn is_initialized(&self) -> bool {
        true
    }

    fn merge_from(&mut self, stream: &mut CodedInputStream<'_>) -> ProtobufResult<()> {
        while !stream.eof()? {
            let (field, wire_type) = stream.read_tag_unpack()?;
            match field {
                TERM_FIELD => self.term = stream.read_uint64()?,
                INDEX_FIELD => self.index = stream.read_uint64()?,
                DATA_FIELD => self.data = stream.read_bytes()?,
                _ => stream.skip_field(wire_type)?,
            }
        }
        Ok(())
    }

    fn write_to_with_cached_sizes(&self, stream: &mut CodedOutputStream<'_>) -> ProtobufResult<()> {
        stream.write_uint64(TERM_FIELD, self.term)?;
        stream.write_uint64(INDEX_FIELD, self.index)?;
        stream.write_bytes(DATA_FIELD, &self.data)
    }

    fn compute_size(&self) -> u32 {
        let numbers = [self.term, self.index, self.data.len() as u64];
        // A tag of these small field numbers takes one byte.
        let heads: u32 = numbers.iter().map(|number| 1 + varint_bytes(*number)).sum();
        heads + self.data.len() as u32
    }

    fn get_cached_size(&self) -> u32 {
        self.compute_size()
    }

    fn get_unknown_fields(&self) -> &UnknownFields {
        &self.unknown_fields
    }

    fn mut_unknown_fields(&mut self) -> &mut UnknownFields {
        &mut self.unknown_fields
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn new() -> Entry {
        Entry::default()
    }

    fn default_instance() -> &'static Entry {
        static DEFAULT: std::sync::OnceLock<Entry> = std::sync::OnceLock::new();
        DEFAULT.get_or_init(Entry::default)
    }
}

fn varint_bytes(number: u64) -> u32 {
    let bits = 64 - (number | 1).leading_zeros();
    bits.div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hand_written_message_keeps_its_size_and_its_fields() {
        for index in [0, 1, 127, 128, u64::MAX] {
            let entry = Entry { term: 3, index, data: vec![7; 300], ..Entry::default() };
            let bytes = entry.write_to_bytes().unwrap();
            assert_eq!(bytes.len() as u32, entry.compute_size());
            assert_eq!(Entry::parse_from_bytes(&bytes).unwrap(), entry);
        }
    }
}
