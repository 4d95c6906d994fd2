//! A folder of Raft logs: opening it, finding a group's log, and giving back the space that no group needs. Owns the
//! order of what a release needs: newest copies first, durable, then the release.
//!
//! Locks: `collecting`, then `groups`, then a group's own; none of them under a group's.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use duramen_journal::disk::Environment;
use duramen_journal::{Report, Sequence, World};

use crate::GroupId;
use crate::config::{Config, Strategy};
use crate::core::Core;
use crate::error::Error;
use crate::format::summary::{Change, GroupChange, OwnedId};
use crate::format::{Malformed, RawRecord};
use crate::group::{Anchors, Beginning, Group, View};
use crate::lock;
use crate::log::RaftLog;
use crate::loss::{Certainty, Left, Lost, holes};
use crate::receipt::After;
use crate::record::decode_id;
use crate::snapshot::{SnapshotError, Store};
use crate::state::RaftLogState;
use crate::stats::RaftStats;
use crate::tier::{self, Reaching};
use crate::types::{Stored, Types};
use crate::wal::{JournalWal, Wal, WalSegment};

/// Bytes of entries that are carried forward in one batch, at most; in small segments so many parts of one.
const CARRY_BYTES: usize = 1 << 20;
const CARRY_PARTS: usize = 16;

/// Entries that are lost with damaged data. See [`RaftLogWriter::refill`](crate::RaftLogWriter::refill) for those that another
/// node has.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss<T: Types> {
    /// The group.
    pub group: GroupId,
    /// The first index.
    pub first: u64,
    /// The last index; `None`: nobody knows.
    pub last: Option<u64>,
    /// The leader of the entry before them: theirs is the same or a later one.
    pub leader_from: Option<T::Leader>,
    /// The leader of the entry behind them: theirs is the same or an earlier one.
    pub leader_to: Option<T::Leader>,
    /// How sure that is.
    pub certainty: Certainty,
}

/// A group that keeps segments of the journal from being released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Laggard {
    /// The group.
    pub group: GroupId,
    /// Its first live entry's index.
    pub first_index: u64,
    /// The lowest sequence of the journal that one of its live entries lies at.
    pub sequence: Sequence,
    /// Whole segments that could go but for entries of this group, or of others that lag behind as far.
    pub segments: usize,
}

/// What opening found.
#[derive(Clone, Debug)]
pub struct Opened<T: Types> {
    /// What the journal found.
    pub journal: Report,
    /// Entries that are missing, or may be. Damage within sealed segments is met when an entry is read, or looked for by
    /// [`crate::inspect::verify`].
    pub losses: Vec<Loss<T>>,
    /// Groups that may have lost their vote with damaged data: see [`Error::VoteInDoubt`].
    pub votes_in_doubt: Vec<GroupId>,
    /// Snapshots that are not whole; their chunks were not looked at.
    pub damaged_snapshots: Vec<SnapshotError>,
    /// Entries that were purged, and that no good snapshot covers, of groups that have snapshots: fetch one from another node.
    pub uncovered: Vec<Loss<T>>,
}

/// The logs, what is lost, and the groups whose votes are in doubt.
type Started<T, W> = (RaftLogs<T, W>, Vec<Loss<T>>, Vec<GroupId>);
/// What a group begins with, and what of it is lost.
type Begun<T> = (Beginning<T>, Vec<Loss<T>>);

pub(crate) struct Logs<T: Types, W: Wal> {
    pub core: Arc<Core<W>>,
    pub snapshots: Option<Arc<Store>>,
    reaching: Option<Arc<Reaching>>,
    groups: Mutex<BTreeMap<GroupId, Arc<Group<T, W>>>>,
    /// Votes are in doubt unless they were stored from here on.
    doubt: Sequence,
    collecting: Mutex<()>,
    /// Where the release stopped that was tried last, and the segments that there were: trying again is no use before one
    /// of the two changes.
    blocker: AtomicU64,
    blocked_at: AtomicU64,
}

/// All Raft logs of one folder, which share a journal and its syncs. Clones share it.
///
/// ```
/// # fn main() -> Result<(), duramen_raft::Error<duramen_raft::Plain>> {
/// # let folder = std::env::temp_dir().join(format!("duramen-raft-doc-{}", std::process::id()));
/// use duramen_raft::{Config, Entry, Plain, RaftLogs, TermIndex, TermVote};
///
/// let (logs, _) = RaftLogs::<Plain>::open(Config::new(&folder))?;
/// let log = logs.group(7)?;
/// log.writer().save_vote(&TermVote { term: 1, node: Some(3) })?; // durable when it returns
/// let entries = vec![Entry::new(TermIndex::new(1, 1), "x = 1".into()), Entry::new(TermIndex::new(1, 2), "x = 2".into())];
/// let receipt = log.writer().append(entries)?; // readable from here on
/// assert_eq!(log.reader().entry(2)?.payload, "x = 2");
/// receipt.wait()?; // durable from here on
/// log.writer().commit(&TermIndex::new(1, 2))?.wait()?;
/// log.writer().purge(&TermIndex::new(1, 1))?.wait()?;
/// logs.close()?;
/// # let _ = std::process::Command::new("rm").arg("-r").arg(&folder).status();
/// # Ok(())
/// # }
/// ```
pub struct RaftLogs<T: Types, W: Wal = JournalWal> {
    pub(crate) logs: Arc<Logs<T, W>>,
}

impl<T: Types, W: Wal> Clone for RaftLogs<T, W> {
    fn clone(&self) -> Self {
        RaftLogs { logs: self.logs.clone() }
    }
}

impl<T: Types, W: Wal> fmt::Debug for RaftLogs<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = lock(&self.logs.groups).len();
        f.debug_struct("RaftLogs").field("groups", &groups).field("wal", &self.logs.core.wal).finish_non_exhaustive()
    }
}

impl<T: Types> RaftLogs<T> {
    /// Opens, or creates, the logs in a folder of the real disk. Everything that is served then is durable.
    ///
    /// # Errors
    /// The journal's; [`Error::Foreign`]; [`Error::InvalidOption`].
    pub fn open(config: Config) -> Result<(RaftLogs<T>, Opened<T>), Error<T>> {
        RaftLogs::open_with(config, World::real())
    }

    /// Opens on any disk.
    ///
    /// # Errors
    /// As [`RaftLogs::open`].
    pub fn open_with(config: Config, world: World) -> Result<(RaftLogs<T>, Opened<T>), Error<T>> {
        config.check()?;
        let (world, reaching) = tier::through(&config.dir, &world, config.tier.clone())?;
        let (wal, report) = JournalWal::open(&config.dir, &config.options(), world.clone())?;
        let gaps: Vec<Range<Sequence>> = report.gaps.iter().map(|gap| gap.first..gap.end).collect();
        let store = Store::open(world.clone(), &config.dir, config.snapshots_kept, config.snapshot_chunk_bytes)?;
        let store = Arc::new(store);
        let (logs, losses, votes_in_doubt) =
            RaftLogs::start(config, wal, world.environment, &gaps, Some((store.clone(), reaching)))?;
        let (mut damaged_snapshots, mut uncovered) = (Vec::new(), Vec::new());
        for group in store.groups() {
            uncovered.extend(logs.match_snapshots(group, &store)?);
            damaged_snapshots.extend(store.bad(group));
        }
        Ok((logs, Opened { journal: report, losses, votes_in_doubt, damaged_snapshots, uncovered }))
    }

    /// Moves sealed segments to the tier of the settings, oldest first, but for the newest `segments_kept` of them. Each is
    /// copied, read back, compared, and only then given up here; reads reach through. Returns how many moved. Blocks while it
    /// copies; the log goes on meanwhile.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: there is no tier; [`Error::Wal`]: the tier is away, a copy differs: that segment is here as it
    /// was, those before it have moved.
    pub fn move_segments(&self, segments_kept: usize) -> Result<usize, Error<T>> {
        let (reaching, data) = self.reaching()?;
        let segments = self.logs.core.wal.journal().segments();
        Ok(tier::move_sealed(reaching, data, &segments, segments_kept)?)
    }

    /// Brings all segments back that were moved. Returns how many there were.
    ///
    /// # Errors
    /// As [`RaftLogs::move_segments`]; a copy is damaged: that segment stays where it is.
    pub fn bring_back_segments(&self) -> Result<usize, Error<T>> {
        let (reaching, data) = self.reaching()?;
        Ok(tier::bring_all(reaching, data)?)
    }

    fn reaching(&self) -> Result<(&Reaching, &Path), Error<T>> {
        let none = Error::InvalidOption { option: "tier", reason: "must say where segments are to go" };
        Ok((self.logs.reaching.as_deref().ok_or(none)?, &self.logs.core.config.dir))
    }

    /// Goes on where a crash came between a step of the snapshots and the one of the log that belongs to it. Returns what
    /// neither covers.
    fn match_snapshots(&self, group: GroupId, store: &Store) -> Result<Option<Loss<T>>, Error<T>> {
        let is_known = lock(&self.logs.groups).contains_key(&group);
        if store.is_being_removed(group) {
            let is_there = is_known && self.group(group)?.state() != RaftLogState::default();
            if !is_there {
                store.clear(group)?;
                return Ok(None);
            }
            store.end_removal(group)?;
        }
        let newest = store.good(group)?.last().map(|raw| raw.index);
        if newest.is_none() && store.bad(group).is_empty() {
            return Ok(None);
        }
        let log = self.group(group)?;
        log.snapshots()?.reconcile()?;
        let purged = log.state().purged.map(|id| T::index(&id));
        let first = newest.map_or(0, |newest| newest + 1);
        let certainty = Certainty::Certain;
        let loss = |last| Loss { group, first, last: Some(last), leader_from: None, leader_to: None, certainty };
        Ok(purged.filter(|&purged| purged >= first).map(loss))
    }
}

impl<T: Types, W: Wal> RaftLogs<T, W> {
    /// Opens the logs on storage of the user's own. Of the settings only those count that are not the journal's.
    ///
    /// # Errors
    /// The storage's; [`Error::Foreign`]; [`Error::InvalidOption`].
    pub fn with_wal(
        config: Config,
        wal: W,
        environment: Arc<dyn Environment>,
    ) -> Result<(Self, Vec<Loss<T>>), Error<T>> {
        config.check()?;
        let (logs, losses, _) = RaftLogs::start(config, wal, environment, &[], None)?;
        Ok((logs, losses))
    }

    fn start(
        config: Config,
        wal: W,
        environment: Arc<dyn Environment>,
        gaps: &[Range<Sequence>],
        beside: Option<(Arc<Store>, Option<Arc<Reaching>>)>,
    ) -> Result<Started<T, W>, Error<T>> {
        let (snapshots, reaching) = beside.unzip();
        let doubt = gaps.last().map_or(0, |gap| gap.end);
        let mut all = Change::default();
        for segment in wal.segments()? {
            let change = match segment.change {
                Some(change) => change,
                None => scan_segment(&wal, &segment)?,
            };
            all.then(change);
        }
        let preload = config.strategy == Strategy::MemFirst;
        let core = Arc::new(Core::new(wal, config, environment));
        let mut groups = BTreeMap::new();
        let mut losses = Vec::new();
        let mut votes_in_doubt = Vec::new();
        for (number, change) in all.groups {
            let (beginning, lost) = beginning_of(number, change, gaps)?;
            losses.extend(lost);
            votes_in_doubt.extend(beginning.vote_in_doubt.then_some(number));
            let group = Arc::new(Group::new(number, core.clone(), beginning));
            if preload {
                let newest = snapshots.as_ref().map(|store| store.good(number)).transpose()?;
                let covered = newest.and_then(|good| good.last().map(|raw| raw.index.saturating_add(1)));
                group.preload(covered.unwrap_or(0))?;
            }
            groups.insert(number, group);
        }
        let logs = Logs {
            core,
            snapshots,
            reaching: reaching.flatten(),
            groups: Mutex::new(groups),
            doubt,
            collecting: Mutex::new(()),
            blocker: AtomicU64::new(0),
            blocked_at: AtomicU64::new(0),
        };
        Ok((RaftLogs { logs: Arc::new(logs) }, losses, votes_in_doubt))
    }

    /// The log of a group; an empty one if nothing was ever written to it.
    ///
    /// # Errors
    /// [`Error::InvalidGroup`] for 0, which is the journal's own.
    pub fn group(&self, number: GroupId) -> Result<RaftLog<T, W>, Error<T>> {
        if number == 0 {
            return Err(Error::InvalidGroup { group: number });
        }
        let mut groups = lock(&self.logs.groups);
        let group = groups.entry(number).or_insert_with(|| {
            let view = View { state: RaftLogState::default(), index: Default::default(), lost: Vec::new() };
            // Whatever a group had may lie in a gap.
            let vote_in_doubt = self.logs.doubt > 0;
            let beginning = Beginning { view, anchors: Anchors::default(), vote_in_doubt };
            Arc::new(Group::new(number, self.logs.core.clone(), beginning))
        });
        Ok(RaftLog { group: group.clone(), logs: self.logs.clone() })
    }

    /// The groups that have anything, in order.
    pub fn groups(&self) -> Vec<GroupId> {
        let groups: Vec<Arc<Group<T, W>>> = lock(&self.logs.groups).values().cloned().collect();
        let has_anything = |group: &&Arc<Group<T, W>>| {
            group.refresh();
            crate::read(&group.view).state != RaftLogState::default()
        };
        groups.iter().filter(has_anything).map(|group| group.number).collect()
    }

    /// The groups whose live entries keep whole segments, the one that keeps most first.
    pub fn laggards(&self) -> Vec<Laggard> {
        let starts = self.logs.core.wal.starts();
        let mut laggards: Vec<Laggard> = Vec::new();
        for group in self.logs.all() {
            let (Some(sequence), Some(first_index)) = (group.floor(), crate::read(&group.view).index.first_index())
            else {
                continue;
            };
            let segments = starts.iter().skip(1).filter(|&&start| start > sequence).count();
            if segments > 0 {
                laggards.push(Laggard { group: group.number, first_index, sequence, segments });
            }
        }
        laggards.sort_by_key(|laggard| (laggard.sequence, laggard.group));
        laggards
    }

    /// Writes the live entries of a group that lie in the oldest segments again, at the end, so that all segments but the
    /// newest `segments_kept` can go as far as this group is concerned. Returns how many were written; they are durable.
    ///
    /// A crash at any moment leaves each entry with its old copy, its new one, or both.
    ///
    /// # Errors
    /// The journal's. The log is as it was; copies that were written before it count.
    pub fn relocate(&self, group: GroupId, segments_kept: usize) -> Result<u64, Error<T>> {
        let log = self.group(group)?;
        let starts = self.logs.core.wal.starts();
        let Some(&below) = starts.len().checked_sub(segments_kept.max(1)).and_then(|at| starts.get(at)) else {
            return Ok(0);
        };
        relocate_below(&log.group, below)
    }

    /// Releases the segments that no group needs any more. Returns how many could go. Called after purges by itself, unless
    /// [`Config::collect_on_purge`] says otherwise.
    ///
    /// Parts of a group's state whose newest copy lies there are written again first, durably.
    ///
    /// # Errors
    /// The journal's; then nothing was released.
    pub fn collect(&self) -> Result<usize, Error<T>> {
        self.logs.collect()
    }

    /// Makes everything appended so far durable, whatever strategy and policy.
    ///
    /// # Errors
    /// The journal's.
    pub fn sync(&self) -> Result<(), Error<T>> {
        self.logs.core.wal.sync()?;
        Ok(())
    }

    /// All figures.
    pub fn stats(&self) -> RaftStats {
        RaftStats::of(&self.logs.core, &self.logs.all())
    }

    /// The storage below.
    pub fn wal(&self) -> &W {
        &self.logs.core.wal
    }

    /// Runs due work. Needed only in an environment without threads.
    pub fn tick(&self) {
        self.logs.core.wal.tick();
    }

    /// Closes: everything appended becomes durable. Later steps fail; reading goes on while handles live.
    ///
    /// # Errors
    /// The journal's.
    pub fn close(&self) -> Result<(), Error<T>> {
        self.logs.core.wal.close()?;
        Ok(())
    }
}

impl<T: Types, W: Wal> Logs<T, W> {
    pub fn all(&self) -> Vec<Arc<Group<T, W>>> {
        lock(&self.groups).values().cloned().collect()
    }

    /// What a purge does once it is durable.
    pub fn after_purge(self: &Arc<Self>) -> Option<After> {
        let weak: Weak<Self> = Arc::downgrade(self);
        self.core.config.collect_on_purge.then(|| {
            let after: After = Arc::new(move || {
                if let Some(logs) = weak.upgrade() {
                    logs.collect_if_due();
                }
            });
            after
        })
    }

    /// Collects, unless nothing has changed since that was no use. A failure is left to whoever collects next: the purge
    /// itself is done.
    fn collect_if_due(&self) {
        let starts = self.core.wal.starts().len() as u64;
        if starts < 2 {
            return;
        }
        if self.blocked_at.load(Ordering::Relaxed) == starts {
            let blocker = u32::try_from(self.blocker.load(Ordering::Relaxed)).unwrap_or(0);
            let group = lock(&self.groups).get(&blocker).cloned();
            let second = self.core.wal.starts().get(1).copied().unwrap_or(0);
            if group.and_then(|group| group.floor()).is_some_and(|floor| floor < second) {
                return;
            }
        }
        let _ = self.collect();
    }

    fn collect(&self) -> Result<usize, Error<T>> {
        let _alone = lock(&self.collecting);
        let wal = &self.core.wal;
        // What follows counts on steps that may not be stored yet; if one of them turns out to be refused, it is void.
        let epoch = wal.epoch();
        let groups = self.all();
        let starts = wal.starts();
        let lowest = groups.iter().filter_map(|group| Some((group.floor()?, group.number))).min();
        let floor = lowest.map_or(u64::MAX, |(floor, _)| floor);
        let free = starts.iter().skip(1).take_while(|&&start| start <= floor).count();
        self.blocker.store(lowest.map_or(0, |(_, group)| u64::from(group)), Ordering::Relaxed);
        self.blocked_at.store((starts.len() - free) as u64, Ordering::Relaxed);
        let Some(&below) = starts.get(free).filter(|_| free > 0) else { return Ok(0) };
        let mut receipts = Vec::new();
        for group in &groups {
            if group.anchors().is_below(below) {
                receipts.push(group.carry_state()?);
            }
        }
        for receipt in receipts {
            receipt.wait_durable()?;
        }
        wal.sync()?;
        if wal.epoch() != epoch {
            return Ok(0);
        }
        wal.release(below)?;
        Ok(free)
    }
}

fn relocate_below<T: Types, W: Wal>(group: &Arc<Group<T, W>>, below: Sequence) -> Result<u64, Error<T>> {
    let wal = &group.core.wal;
    group.refresh();
    let runs: Vec<crate::index::Run> =
        crate::read(&group.view).index.runs(..).filter(|run| run.first_sequence < below).collect();
    let bytes_max = CARRY_BYTES.min(group.core.config.chunk_max_size as usize / CARRY_PARTS);
    let mut moved = 0;
    let mut batch: Vec<(u64, Sequence, Bytes)> = Vec::new();
    let mut bytes = 0;
    for run in runs {
        for at in 0..run.count.min(below - run.first_sequence) {
            let sequence = run.first_sequence + at;
            let record = match wal.read(sequence) {
                Ok(record) => record,
                // It was purged, and collected, meanwhile.
                Err(duramen_journal::Error::Released { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            if bytes + record.payload.len() > bytes_max && !batch.is_empty() {
                moved += batch.len() as u64;
                group.carry_entries(&std::mem::take(&mut batch))?.wait_durable()?;
                bytes = 0;
            }
            bytes += record.payload.len();
            batch.push((run.first_index + at, sequence, record.payload));
        }
    }
    moved += batch.len() as u64;
    group.carry_entries(&batch)?.wait_durable()?;
    Ok(moved)
}

/// What a segment changed, from its records.
fn scan_segment<T: Types, W: Wal>(wal: &W, segment: &WalSegment) -> Result<Change, Error<T>> {
    let mut change = Change::default();
    let mut foreign = None;
    wal.scan(segment.first..segment.next, &mut |record| match RawRecord::decode(record.kind, record.payload) {
        Ok(raw) => {
            change.add(record.sequence, record.log, &raw);
            true
        }
        Err(what) => {
            foreign = Some(Error::Foreign { group: record.log, sequence: record.sequence, what });
            false
        }
    })?;
    foreign.map_or(Ok(change), Err)
}

/// What a group is, from all that the journal's segments changed in it, and what of it is lost in these gaps.
fn beginning_of<T: Types>(group: GroupId, change: GroupChange, gaps: &[Range<Sequence>]) -> Result<Begun<T>, Error<T>> {
    let mut change = change;
    change.settle();
    let foreign = |sequence| move |what: Malformed| Error::Foreign { group, sequence, what };
    let id = |at: &Option<(Sequence, OwnedId)>| {
        let decode = |(sequence, id): &(Sequence, OwnedId)| {
            decode_id::<T>(id.index, id.leader.clone()).map_err(foreign(*sequence))
        };
        at.as_ref().map(decode).transpose()
    };
    let purged = id(&change.purged)?;
    let committed = id(&change.committed)?;
    let vote =
        change.vote.as_ref().map(|(at, vote)| T::Vote::decode(vote.clone()).map_err(foreign(*at))).transpose()?;
    let data = change.user_data.as_ref();
    let user_data = data.map(|(at, data)| T::UserData::decode(data.clone()).map_err(foreign(*at))).transpose()?;
    let mut index = change.entries;
    if let Some(purged) = &purged {
        index.purge_upto(T::index(purged));
    }
    let pair = |at: &Option<(Sequence, OwnedId)>| at.as_ref().map(|(_, id)| (id.index, id.leader.clone()));
    let end = index.last().map(|(at, leader)| (at, leader.clone()));
    let last = match &end {
        Some((at, leader)) => {
            let sequence = index.get(*at).map_or(0, |(sequence, _)| sequence);
            Some(decode_id::<T>(*at, leader.clone()).map_err(foreign(sequence))?)
        }
        None => purged.clone(),
    };
    let (gone, noted) = (pair(&change.purged), pair(&change.committed));
    let left = Left { index: &index, last: end.or(gone.clone()), committed: noted, purged: gone };
    let losses: Result<Vec<Loss<T>>, Malformed> =
        left.lost(&[], gaps).into_iter().map(|lost| loss_of(group, lost)).collect();
    let lost = holes(&index, purged.as_ref().map(|id| T::index(id)));
    let at = |sequence: Option<Sequence>| sequence.unwrap_or(0);
    let anchors = Anchors {
        vote: at(change.vote.as_ref().map(|(at, _)| *at)),
        committed: at(change.committed.as_ref().map(|(at, _)| *at)),
        purged: at(change.purged.as_ref().map(|(at, _)| *at)),
        user_data: at(data.map(|(at, _)| *at)),
    };
    let state = RaftLogState { vote, last, committed, purged, user_data };
    let doubt = gaps.last().map_or(0, |gap| gap.end);
    let vote_in_doubt = doubt > 0 && anchors.vote < doubt;
    Ok((Beginning { view: View { state, index, lost }, vote_in_doubt, anchors }, losses.map_err(foreign(0))?))
}

fn loss_of<T: Types>(group: GroupId, lost: Lost) -> Result<Loss<T>, Malformed> {
    let leader = |bytes: Option<Bytes>| bytes.map(T::Leader::decode).transpose();
    let (leader_from, leader_to) = (leader(lost.leader_from)?, leader(lost.leader_to)?);
    Ok(Loss { group, first: lost.first, last: lost.last, leader_from, leader_to, certainty: lost.certainty })
}
