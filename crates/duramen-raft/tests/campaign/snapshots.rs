//! Snapshots under every crash: a published one is there and whole, the log and the newest one together cover everything
//! that was acknowledged, and a group is removed with its snapshots or not at all.

use duramen_journal::World;
use duramen_journal::disk::sim::{History, Scenario};
use duramen_raft::format::RawId;
use duramen_raft::format::snapshot::{End, Head, digest};
use duramen_raft::{Config, Error, Plain, PurgeOnSnapshot, RaftLog, RaftLogState, RaftLogs, TermIndex};

use crate::model::entry;
use crate::script::small;

const CHUNK_BYTES: u32 = 4096;
const ENTRY_BYTES: usize = 40;

/// What the outside world was told.
#[derive(Clone, Copy, Debug, Hash)]
pub enum Event {
    /// Entries up to here are durable.
    Appended(u64),
    /// A snapshot up to here was asked for.
    Begun(u64),
    /// It is durable.
    Published(u64),
    RemovalBegun,
    Removed,
}

/// The workload.
#[derive(Clone, Debug)]
pub struct Snapshots {
    pub name: String,
    pub config: Config,
    /// A fault at every call of the disk, in turn.
    pub sweep: bool,
    /// Receives and removes; else only saves.
    pub receives: bool,
}

pub fn all() -> Vec<Snapshots> {
    let config = Config { snapshot_chunk_bytes: CHUNK_BYTES, ..small() };
    let newest = Config { purge_on_snapshot: PurgeOnSnapshot::ToNewest, snapshots_kept: 1, ..config.clone() };
    let new = |name: &str, config: &Config, receives, sweep| {
        let (name, config) = (format!("snapshots-{name}"), config.clone());
        Snapshots { name, config, sweep, receives }
    };
    vec![
        new("saved", &config, false, false),
        new("newest", &newest, false, false),
        new("received", &config, true, false),
        new("saved-faults", &config, false, true),
        new("received-faults", &config, true, true),
    ]
}

/// The state machine up to an index.
fn content(index: u64) -> Vec<u8> {
    (0..3000 + index * 250).map(|at| ((at * 7 + index) ^ (at >> 8)) as u8).collect()
}

fn id(index: u64) -> TermIndex {
    TermIndex::new(1, index)
}

/// What a leader would send.
fn offer(index: u64) -> Vec<u8> {
    let (snapshot, content) = ([index as u8; 16], content(index));
    let leader = 1u64.to_le_bytes();
    let last = RawId { index, leader: &leader };
    let head = Head { id: snapshot, group: 1, chunk_bytes: CHUNK_BYTES, last, meta: b"members" }.encode();
    let chunks = content.chunks(CHUNK_BYTES as usize).zip(0u32..);
    let digests = chunks.map(|(chunk, number)| digest(&snapshot, number, chunk)).collect();
    let end = End { bytes: content.len() as u64, digests }.encode(&head);
    [head, end].concat()
}

impl Snapshots {
    fn append(log: &RaftLog<Plain>, upto: u64, tell: &dyn Fn(Event)) -> Result<(), Error<Plain>> {
        let first = log.reader().next_index().unwrap_or(1);
        let entries = (first..=upto).map(|index| entry(1, index, ENTRY_BYTES)).collect();
        log.writer().append(entries)?.wait_durable()?;
        tell(Event::Appended(upto));
        Ok(())
    }

    fn save(log: &RaftLog<Plain>, index: u64, tell: &dyn Fn(Event)) -> Result<(), Error<Plain>> {
        let mut writer = log.snapshots()?.begin(&id(index), b"members")?;
        tell(Event::Begun(index));
        content(index).chunks(1000).try_for_each(|part| writer.write(part))?;
        writer.finish()?;
        tell(Event::Published(index));
        Ok(())
    }

    fn receive(log: &RaftLog<Plain>, index: u64, tell: &dyn Fn(Event)) -> Result<(), Error<Plain>> {
        let (offer, content) = (offer(index), content(index));
        tell(Event::Begun(index));
        for numbers in [&[2, 0][..], &[1]] {
            let mut receiver = log.snapshots()?.receive(&offer)?;
            for &number in numbers {
                let from = number as usize * CHUNK_BYTES as usize;
                receiver.put(number, &content[from..content.len().min(from + CHUNK_BYTES as usize)])?;
            }
            if receiver.missing().next().is_none() {
                receiver.finish()?;
                tell(Event::Published(index));
            }
        }
        Ok(())
    }

    fn work(&self, world: &World, tell: &dyn Fn(Event)) -> Result<(), Error<Plain>> {
        let (logs, _) = RaftLogs::<Plain>::open_with(self.config.clone(), world.clone())?;
        let log = logs.group(1)?;
        Self::append(&log, 6, tell)?;
        log.writer().commit(&id(6))?.wait_durable()?;
        Self::save(&log, 4, tell)?;
        Self::append(&log, 10, tell)?;
        Self::save(&log, 8, tell)?;
        drop(log.snapshots()?.begin(&id(9), b"given up")?);
        if self.receives {
            Self::receive(&log, 30, tell)?;
            Self::append(&log, 32, tell)?;
            tell(Event::RemovalBegun);
            log.writer().remove()?.wait_durable()?;
            tell(Event::Removed);
        } else {
            Self::save(&log, 10, tell)?;
            Self::append(&log, 12, tell)?;
        }
        logs.close()
    }

    fn check(&self, world: &World, events: &[Event]) -> Result<(), String> {
        let told = |error: Error<Plain>| format!("recovery: {error}");
        let (logs, opened) = RaftLogs::<Plain>::open_with(self.config.clone(), world.clone()).map_err(told)?;
        if !opened.losses.is_empty() || !opened.damaged_snapshots.is_empty() || !opened.uncovered.is_empty() {
            return Err(format!("after a crash something is lost: {opened:?}"));
        }
        let log = logs.group(1).map_err(told)?;
        let snapshots = log.snapshots().map_err(told)?;
        let list = snapshots.list().map_err(told)?;
        let state = log.state();
        let is_gone = state == RaftLogState::default() && list.is_empty();
        let removal = events.iter().any(|event| matches!(event, Event::RemovalBegun));
        if events.iter().any(|event| matches!(event, Event::Removed)) || (removal && is_gone) {
            return if is_gone { Ok(()) } else { Err(format!("was removed: {state:?}, {list:?}")) };
        }
        let most = |of: fn(&Event) -> Option<u64>| events.iter().filter_map(of).max().unwrap_or(0);
        let appended = most(|event| if let Event::Appended(upto) = event { Some(*upto) } else { None });
        let begun = most(|event| if let Event::Begun(upto) = event { Some(*upto) } else { None });
        let published = most(|event| if let Event::Published(upto) = event { Some(*upto) } else { None });
        let newest = list.first().map_or(0, |meta| meta.last.index);
        if newest < published || newest > begun || list.len() > self.config.snapshots_kept {
            return Err(format!("{published} is published, {begun} was begun; there are {list:?}"));
        }
        for meta in &list {
            let snapshot = snapshots.open(meta.last.index).map_err(told)?;
            let chunks: Result<Vec<_>, _> = snapshot.chunks().collect();
            if chunks.map_err(told)?.concat() != content(meta.last.index) || meta.meta != "members" {
                return Err(format!("{meta:?} holds something else"));
            }
        }
        let purged = state.purged.map_or(0, |id| id.index);
        let last = state.last.map_or(0, |id| id.index);
        if purged > newest || last < newest.max(appended) {
            return Err(format!(
                "{purged} is purged, {last} the last, {newest} the newest snapshot, {appended} appended"
            ));
        }
        for index in purged + 1..=last {
            let read = log.reader().entry(index).map_err(told)?;
            if read != entry(1, index, ENTRY_BYTES) {
                return Err(format!("entry {index} is another"));
            }
        }
        logs.close().map_err(told)
    }
}

impl Scenario for Snapshots {
    type Event = Event;

    fn run(&self, world: &World, history: &History<Event>) {
        let result = self.work(world, &|event| history.push(event));
        assert!(result.is_ok() || self.sweep, "{result:?}");
    }

    fn recover(&self, world: &World, history: &History<Event>) -> Result<(), String> {
        let mut events = Vec::new();
        history.for_each(|event| events.push(*event));
        self.check(world, &events)
    }
}
