//! One group's log: its state, its index, and the steps that change both. Owns the order of the steps and what happens
//! when the journal refuses one; where entries come from when they are read is `read`'s.
//!
//! Locks, in the order in which they may be taken together: `writing`, `view`, then a lock of the cache or the watch.
//! `writing` is held while a step is checked and appended, which may wait for room in the journal's queue; `view` for a
//! look or a change in memory only, and never while anything is read or written.
//!
//! A step changes the view as soon as the journal took it, before it is stored. If the journal refuses it later (no space),
//! everything behind it is refused too, and the journal's epoch grows. Whoever next looks or writes sees that, and undoes
//! what is not stored, latest first, before anything else happens: see [`Group::settle`].

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use bytes::Bytes;
use duramen_journal::{Batch, Error as WalError, Sequence};

use crate::GroupId;
use crate::cache::{Cache, Kept};
use crate::core::{Core, Scratch, Step};
use crate::error::Error;
use crate::format::{Kind, LEADER_BYTES_MAX};
use crate::index::{Index, Removed, Run};
use crate::loss::holes;
use crate::read::is_damage;
use crate::receipt::Receipt;
use crate::record::{Record, decode_id, encode_leader};
use crate::state::{RaftLogState, Refusal};
use crate::types::{Entry, Stored, Types};
use crate::wal::{Wal, WalTicket};
use crate::{lock, read, write};

/// What a reader sees.
#[derive(Debug)]
pub(crate) struct View<T: Types> {
    pub state: RaftLogState<T>,
    pub index: Index,
    /// Ranges of indexes, half-open, whose entries were lost with damaged data.
    pub lost: Vec<(u64, u64)>,
}

impl<T: Types> View<T> {
    /// Whether a lost entry can have been this one: its leader fits between those around it.
    fn check_lost(&self, id: &T::LogId) -> Result<(), Error<T>> {
        let index = T::index(id);
        let Some(&(first, behind)) = self.lost.iter().find(|(first, behind)| (*first..*behind).contains(&index)) else {
            // It was put back, or given up, meanwhile.
            return Err(Error::NotYet { index, next: self.next_index() });
        };
        let stored = |at: u64| self.index.get(at).map(|(_, leader)| T::Leader::decode(leader.clone())).transpose();
        let purged = self.state.purged.as_ref().filter(|purged| T::index(purged) + 1 == first).map(T::leader);
        let before = first.checked_sub(1).map(stored).transpose().map_err(Error::Unstorable)?.flatten().or(purged);
        let behind = stored(behind).map_err(Error::Unstorable)?;
        let leader = T::leader(id);
        if before.as_ref().is_some_and(|before| leader < *before)
            || behind.as_ref().is_some_and(|behind| leader > *behind)
        {
            return Err(Refusal::OutOfOrder { before, behind, attempted: id.clone() }.into());
        }
        Ok(())
    }

    /// After a change of the index.
    fn look_for_holes(&mut self) {
        self.lost = holes(&self.index, self.state.purged.as_ref().map(|id| T::index(id)));
    }

    /// Refuses an id that names an entry of another leader's.
    fn check_id(&self, id: &T::LogId) -> Result<(), Error<T>> {
        let current = match self.index.get(T::index(id)) {
            Some((_, leader)) => decode_id::<T>(T::index(id), leader.clone()).map_err(Error::Unstorable)?,
            None => match &self.state.purged {
                Some(purged) if T::index(purged) == T::index(id) => purged.clone(),
                _ => return Ok(()),
            },
        };
        if current == *id { Ok(()) } else { Err(Refusal::Mismatch { current, attempted: id.clone() }.into()) }
    }
}

/// Where the newest copies of a state's parts lie; 0: there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Anchors {
    pub vote: Sequence,
    pub committed: Sequence,
    pub purged: Sequence,
    pub user_data: Sequence,
}

impl Anchors {
    pub fn all(&self) -> [Sequence; 4] {
        [self.vote, self.committed, self.purged, self.user_data]
    }

    /// Whether a release would drop a newest copy.
    pub fn is_below(&self, sequence: Sequence) -> bool {
        self.all().into_iter().any(|anchor| anchor != 0 && anchor < sequence)
    }
}

/// A step that may not be stored yet, and how to take it back.
#[derive(Debug)]
struct Pending<T: Types> {
    last: Sequence,
    /// How many records of the group there are with it.
    ordinal: u64,
    state: RaftLogState<T>,
    anchors: Anchors,
    removed: Option<Removed>,
    /// Entries from this index on came with it.
    added_from: Option<u64>,
}

#[derive(Debug)]
struct Writing<T: Types> {
    pending: VecDeque<Pending<T>>,
    /// Records of the group that were appended and not undone, counted as [`Wal::held`] does.
    appended: u64,
    anchors: Anchors,
    vote_in_doubt: bool,
}

/// What a step does to the index.
enum Change {
    Nothing,
    /// Entries from this index on, which [`Added`] puts in.
    Append(u64),
    TruncateFrom(u64),
    PurgeUpto(u64),
    /// As `Append`, in the place of what is there.
    Move(Index, Vec<(u64, Sequence)>),
    Clear,
}

/// A step that follows on the state.
struct Plan<T: Types> {
    state: RaftLogState<T>,
    change: Change,
    touched: fn(&mut Anchors, Sequence),
}

/// Puts the entries of a step whose first record has this sequence into the index and into memory.
type Added<'a> = dyn FnMut(&mut Index, Sequence) -> Option<Removed> + 'a;

/// For the steps that add none.
fn adds_nothing(_: &mut Index, _: Sequence) -> Option<Removed> {
    None
}

/// Decides what a step does, and may fill its batch. `None`: there is nothing to do.
type Planner<'a, T> = dyn FnMut(&View<T>, &Writing<T>, &mut Batch) -> Result<Option<Plan<T>>, Error<T>> + 'a;

fn touches_nothing(_: &mut Anchors, _: Sequence) {}

pub(crate) struct Group<T: Types, W: Wal> {
    pub number: GroupId,
    pub core: Arc<Core<W>>,
    pub cache: Arc<Cache<T::Payload>>,
    writing: Mutex<Writing<T>>,
    pub view: RwLock<View<T>>,
    /// The journal's epoch that the view belongs to.
    epoch: AtomicU64,
    /// Where the last read that missed ended.
    pub read_end: AtomicU64,
}

/// What a group begins with.
pub(crate) struct Beginning<T: Types> {
    pub view: View<T>,
    pub anchors: Anchors,
    pub vote_in_doubt: bool,
}

impl<T: Types, W: Wal> Group<T, W> {
    pub fn new(number: GroupId, core: Arc<Core<W>>, beginning: Beginning<T>) -> Group<T, W> {
        let writing = Writing {
            pending: VecDeque::new(),
            appended: core.wal.held(number),
            anchors: beginning.anchors,
            vote_in_doubt: beginning.vote_in_doubt,
        };
        Group {
            number,
            cache: Cache::new(core.budget.clone()),
            writing: Mutex::new(writing),
            view: RwLock::new(beginning.view),
            epoch: AtomicU64::new(core.wal.epoch()),
            read_end: AtomicU64::new(u64::MAX),
            core,
        }
    }

    /// Sees that the view says nothing of steps that were refused.
    pub fn refresh(&self) {
        if self.core.wal.epoch() != self.epoch.load(Ordering::SeqCst) {
            self.settle(&mut lock(&self.writing));
        }
    }

    /// Forgets how to undo what is stored; undoes what was refused. Returns the epoch that the view belongs to now.
    fn settle(&self, writing: &mut Writing<T>) -> u64 {
        let epoch = self.core.wal.epoch();
        if epoch == self.epoch.load(Ordering::SeqCst) {
            let written = self.core.wal.written();
            while writing.pending.front().is_some_and(|pending| pending.last <= written) {
                writing.pending.pop_front();
            }
            return epoch;
        }
        // Nothing of the group has been appended since the refusal, so what it holds now is what it held then.
        let held = self.core.wal.held(self.number);
        let mut view = write(&self.view);
        while writing.pending.back().is_some_and(|pending| pending.ordinal > held) {
            let Some(pending) = writing.pending.pop_back() else { break };
            if let Some(from) = pending.added_from {
                self.cache.truncate_from(from);
            }
            if let Some(removed) = pending.removed {
                view.index.put_back(removed);
            }
            view.state = pending.state;
            writing.anchors = pending.anchors;
        }
        view.look_for_holes();
        writing.pending.clear();
        writing.appended = writing.appended.min(held);
        self.epoch.store(epoch, Ordering::SeqCst);
        epoch
    }

    /// Appends a step's batch and changes the view, if the step follows on it. `None`: there is nothing to do.
    fn submit(
        &self,
        step: Step,
        batch: &mut Batch,
        plan: &mut Planner<'_, T>,
        added: &mut Added<'_>,
    ) -> Result<Option<W::Ticket>, Error<T>> {
        let mut writing = lock(&self.writing);
        loop {
            let epoch = self.settle(&mut writing);
            let Some(plan) = plan(&read(&self.view), &writing, batch)? else { return Ok(None) };
            let records = batch.len() as u64;
            let ticket = match self.core.wal.append_drain(batch, self.core.how(step, records, epoch)) {
                Ok(ticket) => ticket,
                // Something before it was refused meanwhile: it may not follow on what is left.
                Err(WalError::StaleEpoch { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            self.carry_out(&mut writing, plan, records, ticket.first(), ticket.last(), added);
            return Ok(Some(ticket));
        }
    }

    fn carry_out(
        &self,
        writing: &mut Writing<T>,
        plan: Plan<T>,
        records: u64,
        first: Sequence,
        last: Sequence,
        added: &mut Added<'_>,
    ) {
        let mut view = write(&self.view);
        let mut added_from = None;
        let removed = match plan.change {
            Change::Nothing => None,
            Change::Append(from) => {
                added_from = Some(from);
                added(&mut view.index, first)
            }
            Change::TruncateFrom(from) => {
                self.cache.truncate_from(from);
                Some(view.index.truncate_from(from))
            }
            Change::PurgeUpto(upto) => {
                self.cache.purge_upto(upto);
                Some(view.index.purge_upto(upto))
            }
            Change::Move(entries, from) => {
                let mut moved = Index::default();
                for run in entries.runs(..) {
                    moved.push_run(&Run { first_sequence: first + run.first_sequence, ..run });
                }
                for (place, (index, sequence)) in from.into_iter().enumerate() {
                    self.cache.moved(index, sequence, first + place as u64);
                }
                Some(view.index.overlay(&moved))
            }
            Change::Clear => {
                self.cache.truncate_from(0);
                Some(view.index.clear())
            }
        };
        let state = std::mem::replace(&mut view.state, plan.state);
        if !view.lost.is_empty() {
            view.look_for_holes();
        }
        drop(view);
        writing.appended += records;
        let anchors = writing.anchors;
        (plan.touched)(&mut writing.anchors, last);
        let ordinal = writing.appended;
        writing.pending.push_back(Pending { last, ordinal, state, anchors, removed, added_from });
    }

    fn receipt(&self, step: Step, ticket: Option<W::Ticket>) -> Receipt<T, W> {
        Receipt::new(ticket, self.core.acknowledges_buffered(step))
    }

    /// A batch of one record.
    fn lone(&self, record: &Record<T>) -> Result<Batch, Error<T>> {
        let mut batch = Batch::new();
        let mut result = Ok(record.kind());
        batch.push_with(self.number, record.kind() as u8, |out| result = record.encode(out));
        result.map_err(Error::Unstorable)?;
        Ok(batch)
    }

    pub fn append(&self, entries: Vec<Entry<T>>) -> Result<Receipt<T, W>, Error<T>> {
        let mut scratch = self.core.scratch();
        let receipt = self.append_with(entries, &mut scratch);
        self.core.put_back(scratch);
        receipt
    }

    fn append_with(&self, entries: Vec<Entry<T>>, scratch: &mut Scratch) -> Result<Receipt<T, W>, Error<T>> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(self.receipt(Step::Append, None));
        };
        let (first, last) = (first.id.clone(), last.id.clone());
        let leader = read(&self.view).index.last().map(|(_, leader)| leader.clone());
        encode_entries(self.number, &entries, leader, scratch)?;
        let Scratch { batch, sizes, runs } = scratch;
        self.core.wait_for_memory(batch.bytes())?;
        let mut plan = |view: &View<T>, _: &Writing<T>, _: &mut Batch| {
            let mut state = view.state.clone();
            state.append(&first)?;
            // The others follow on the first: that was looked at when they were encoded.
            state.last = Some(last.clone());
            Ok(Some(Plan { state, change: Change::Append(T::index(&first)), touched: touches_nothing }))
        };
        let mut entries = Some(entries);
        let mut added = |index: &mut Index, sequence: Sequence| {
            let mut whole = None;
            for run in &mut *runs {
                run.first_sequence += sequence;
                let removed = index.push_run(run);
                // Undoing the first undoes all.
                whole.get_or_insert(removed);
            }
            let entries = entries.take().unwrap_or_default().into_iter();
            let kept = |(place, (entry, &bytes)): (usize, (Entry<T>, &usize))| Kept {
                index: entry.index(),
                sequence: sequence + place as u64,
                bytes,
                payload: entry.payload,
            };
            self.cache.append(entries.zip(&*sizes).enumerate().map(kept));
            whole
        };
        let ticket = self.submit(Step::Append, batch, &mut plan, &mut added)?;
        self.core.shrink();
        Ok(self.receipt(Step::Append, ticket))
    }

    pub fn save_vote(&self, vote: &T::Vote) -> Result<Receipt<T, W>, Error<T>> {
        let mut batch = self.lone(&Record::SaveVote(vote.clone()))?;
        let mut plan = |view: &View<T>, writing: &Writing<T>, _: &mut Batch| {
            if writing.vote_in_doubt {
                return Err(Error::VoteInDoubt { group: self.number });
            }
            let mut state = view.state.clone();
            state.save_vote(vote)?;
            self.check_carried(&state)?;
            let touched = |anchors: &mut Anchors, sequence| anchors.vote = sequence;
            Ok(Some(Plan { state, change: Change::Nothing, touched }))
        };
        let ticket = self.submit(Step::Vote, &mut batch, &mut plan, &mut adds_nothing)?;
        Ok(self.receipt(Step::Vote, ticket))
    }

    /// A state that no record can hold could never be carried forward, and would keep its segment for ever.
    fn check_carried(&self, state: &RaftLogState<T>) -> Result<(), Error<T>> {
        let mut bytes = Vec::new();
        Record::State(state.clone()).encode(&mut bytes).map_err(Error::Unstorable)?;
        // Ids may grow to their bound.
        let (bytes, max) = (bytes.len() + 3 * LEADER_BYTES_MAX, self.core.wal.record_bytes_max());
        if bytes <= max {
            return Ok(());
        }
        Err(WalError::TooLarge { what: "state", bytes: bytes as u64, max: max as u64 }.into())
    }

    pub fn accept_lost_vote(&self) {
        lock(&self.writing).vote_in_doubt = false;
    }

    pub fn vote_in_doubt(&self) -> bool {
        lock(&self.writing).vote_in_doubt
    }

    pub fn commit(&self, id: &T::LogId) -> Result<Receipt<T, W>, Error<T>> {
        let mut batch = self.lone(&Record::Commit(id.clone()))?;
        let mut plan = |view: &View<T>, _: &Writing<T>, _: &mut Batch| {
            let mut state = view.state.clone();
            state.commit(id)?;
            view.check_id(id)?;
            if state.committed == view.state.committed {
                return Ok(None);
            }
            let touched = |anchors: &mut Anchors, sequence| anchors.committed = sequence;
            Ok(Some(Plan { state, change: Change::Nothing, touched }))
        };
        let ticket = self.submit(Step::Note, &mut batch, &mut plan, &mut adds_nothing)?;
        let receipt = self.receipt(Step::Note, ticket);
        if self.core.config.sync_on_commit {
            // The same commit once more may find the first one still on its way.
            if receipt.ticket.is_none() {
                self.core.wal.sync()?;
            }
            receipt.wait_durable()?;
            return Ok(self.receipt(Step::Note, None));
        }
        Ok(receipt)
    }

    pub fn save_user_data(&self, data: &T::UserData) -> Result<Receipt<T, W>, Error<T>> {
        let mut batch = self.lone(&Record::SaveUserData(data.clone()))?;
        let mut plan = |view: &View<T>, _: &Writing<T>, _: &mut Batch| {
            let state = RaftLogState { user_data: Some(data.clone()), ..view.state.clone() };
            self.check_carried(&state)?;
            let touched = |anchors: &mut Anchors, sequence| anchors.user_data = sequence;
            Ok(Some(Plan { state, change: Change::Nothing, touched }))
        };
        let ticket = self.submit(Step::Note, &mut batch, &mut plan, &mut adds_nothing)?;
        Ok(self.receipt(Step::Note, ticket))
    }

    pub fn truncate_after(&self, kept: Option<&T::LogId>) -> Result<Receipt<T, W>, Error<T>> {
        let mut batch = self.lone(&Record::TruncateAfter(kept.cloned()))?;
        let from = kept.map_or(0, |id| T::index(id).saturating_add(1));
        let mut plan = |view: &View<T>, _: &Writing<T>, _: &mut Batch| {
            let mut state = view.state.clone();
            state.truncate_after(kept)?;
            kept.map_or(Ok(()), |id| view.check_id(id))?;
            if state.last == view.state.last {
                return Ok(None);
            }
            Ok(Some(Plan { state, change: Change::TruncateFrom(from), touched: touches_nothing }))
        };
        let ticket = self.submit(Step::Cut, &mut batch, &mut plan, &mut adds_nothing)?;
        self.core.made_room();
        Ok(self.receipt(Step::Cut, ticket))
    }

    pub fn purge_upto(&self, id: &T::LogId) -> Result<Receipt<T, W>, Error<T>> {
        let mut batch = self.lone(&Record::PurgeUpto(id.clone()))?;
        let mut plan = |view: &View<T>, _: &Writing<T>, _: &mut Batch| {
            let mut state = view.state.clone();
            state.purge_upto(id)?;
            view.check_id(id)?;
            if state.purged == view.state.purged {
                return Ok(None);
            }
            let touched = |anchors: &mut Anchors, sequence| anchors.purged = sequence;
            Ok(Some(Plan { state, change: Change::PurgeUpto(T::index(id)), touched }))
        };
        let ticket = self.submit(Step::Cut, &mut batch, &mut plan, &mut adds_nothing)?;
        self.core.made_room();
        Ok(self.receipt(Step::Cut, ticket))
    }

    pub fn remove(&self) -> Result<Receipt<T, W>, Error<T>> {
        let mut batch = self.lone(&Record::RemoveGroup)?;
        let mut plan = |view: &View<T>, _: &Writing<T>, _: &mut Batch| {
            if view.state == RaftLogState::default() {
                return Ok(None);
            }
            let touched = |anchors: &mut Anchors, _| *anchors = Anchors::default();
            Ok(Some(Plan { state: RaftLogState::default(), change: Change::Clear, touched }))
        };
        let ticket = self.submit(Step::Cut, &mut batch, &mut plan, &mut adds_nothing)?;
        self.core.made_room();
        Ok(self.receipt(Step::Cut, ticket))
    }

    /// Writes the whole state again, so that older copies of its parts can go.
    pub fn carry_state(&self) -> Result<Receipt<T, W>, Error<T>> {
        let mut plan = |view: &View<T>, _: &Writing<T>, batch: &mut Batch| {
            *batch = self.lone(&Record::State(view.state.clone()))?;
            let touched = |anchors: &mut Anchors, sequence| {
                for anchor in [&mut anchors.vote, &mut anchors.committed, &mut anchors.purged, &mut anchors.user_data] {
                    // A part that there is not has no copy.
                    if *anchor != 0 {
                        *anchor = sequence;
                    }
                }
            };
            Ok(Some(Plan { state: view.state.clone(), change: Change::Nothing, touched }))
        };
        let ticket = self.submit(Step::Carry, &mut Batch::new(), &mut plan, &mut adds_nothing)?;
        Ok(self.receipt(Step::Carry, ticket))
    }

    /// Writes copies of entries, if they still lie where they were read. Each comes with its index, its sequence, and the
    /// payload of its record.
    pub fn carry_entries(&self, entries: &[(u64, Sequence, Bytes)]) -> Result<Receipt<T, W>, Error<T>> {
        let mut plan = |view: &View<T>, _: &Writing<T>, batch: &mut Batch| {
            batch.clear();
            let (mut moved, mut from) = (Index::default(), Vec::new());
            for (index, sequence, payload) in entries {
                let Some((_, leader)) = view.index.get(*index).filter(|(at, _)| at == sequence) else { continue };
                moved.push(*index, from.len() as u64, leader);
                from.push((*index, *sequence));
                batch.push(self.number, Kind::Relocate as u8, payload);
            }
            if from.is_empty() {
                return Ok(None);
            }
            let (state, change) = (view.state.clone(), Change::Move(moved, from));
            Ok(Some(Plan { state, change, touched: touches_nothing }))
        };
        let ticket = self.submit(Step::Carry, &mut Batch::new(), &mut plan, &mut adds_nothing)?;
        Ok(self.receipt(Step::Carry, ticket))
    }

    /// Puts entries back that are lost or cannot be read; those behind the last one are appended.
    pub fn refill(&self, entries: Vec<Entry<T>>) -> Result<Receipt<T, W>, Error<T>> {
        self.refresh();
        let next = read(&self.view).next_index().unwrap_or(0);
        let (entries, behind): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.index() < next);
        let receipt = self.put_back(entries)?;
        // The steps of a log are one stream: this one is durable after the other.
        if behind.is_empty() { Ok(receipt) } else { self.append(behind) }
    }

    fn put_back(&self, entries: Vec<Entry<T>>) -> Result<Receipt<T, W>, Error<T>> {
        let mut lost = Vec::new();
        for entry in entries {
            if self.cannot_be_had(&entry.id)? {
                lost.push(entry);
            }
        }
        let mut plan = |view: &View<T>, _: &Writing<T>, batch: &mut Batch| {
            batch.clear();
            let mut put_back = Index::default();
            let mut before: Option<&T::LogId> = None;
            for entry in &lost {
                match view.index.get(entry.index()) {
                    Some(_) => view.check_id(&entry.id)?,
                    None => view.check_lost(&entry.id)?,
                }
                if let Some(before) = before
                    .filter(|&before| T::index(before) >= entry.index() || T::leader(before) > T::leader(&entry.id))
                {
                    return Err(Refusal::LogIdReversal { current: before.clone(), attempted: entry.id.clone() }.into());
                }
                before = Some(&entry.id);
                let leader = encode_leader(&T::leader(&entry.id), None).map_err(Error::Unstorable)?;
                put_back.push(entry.index(), batch.len() as u64, &leader);
                let record = Record::<T>::Relocate(entry.id.clone(), entry.payload.clone());
                let mut encoded = Ok(Kind::Relocate);
                batch.push_with(self.number, Kind::Relocate as u8, |out| encoded = record.encode(out));
                encoded.map_err(Error::Unstorable)?;
            }
            if lost.is_empty() {
                return Ok(None);
            }
            let (state, change) = (view.state.clone(), Change::Move(put_back, Vec::new()));
            Ok(Some(Plan { state, change, touched: touches_nothing }))
        };
        let ticket = self.submit(Step::Carry, &mut Batch::new(), &mut plan, &mut adds_nothing)?;
        Ok(self.receipt(Step::Carry, ticket))
    }

    /// Whether an entry is lost, or its record is damaged or unreadable.
    fn cannot_be_had(&self, id: &T::LogId) -> Result<bool, Error<T>> {
        match self.entry(T::index(id)) {
            Ok(entry) if entry.id == *id => Ok(false),
            Ok(entry) => Err(Refusal::Mismatch { current: entry.id, attempted: id.clone() }.into()),
            Err(error) if is_damage(&error) || matches!(error, Error::Lost { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Where the newest copies of the state's parts lie.
    pub fn anchors(&self) -> Anchors {
        let mut writing = lock(&self.writing);
        self.settle(&mut writing);
        writing.anchors
    }

    /// The lowest sequence that a live entry lies at.
    pub fn floor(&self) -> Option<Sequence> {
        self.refresh();
        read(&self.view).index.lowest_sequence()
    }
}

/// Encodes entries that follow on each other, and finds their runs, whose sequences count from 0, and the bytes of each
/// payload. `known` is the leader of the log's last entry as it is stored: most often it is theirs, and is shared then.
fn encode_entries<T: Types>(
    group: GroupId,
    entries: &[Entry<T>],
    known: Option<Bytes>,
    scratch: &mut Scratch,
) -> Result<(), Error<T>> {
    let Scratch { batch, sizes, runs } = scratch;
    let mut before: Option<(&T::LogId, T::Leader)> = None;
    for (place, entry) in entries.iter().enumerate() {
        let leader = T::leader(&entry.id);
        if let Some((last, led)) = &before {
            if T::index(last).checked_add(1) != Some(entry.index()) {
                let (current, attempted) = (Some((*last).clone()), entry.id.clone());
                return Err(Refusal::NonConsecutive { current, attempted }.into());
            }
            if leader < *led {
                return Err(Refusal::LogIdReversal { current: (*last).clone(), attempted: entry.id.clone() }.into());
            }
        }
        let same = before.as_ref().is_some_and(|(_, led)| *led == leader);
        match runs.last_mut().filter(|_| same) {
            Some(run) => run.count += 1,
            None => {
                let leader = encode_leader(&leader, known.as_ref()).map_err(Error::Unstorable)?;
                runs.push(Run { first_index: entry.index(), first_sequence: place as u64, count: 1, leader });
            }
        }
        let encoded = runs.last().map_or(&[][..], |run| &run.leader[..]);
        batch.push_with(group, Kind::Append as u8, |out| {
            crate::format::RawId { index: entry.index(), leader: encoded }.encode(out);
            let before = out.len();
            entry.payload.encode(out);
            sizes.push(out.len() - before);
        });
        before = Some((&entry.id, leader));
    }
    Ok(())
}
