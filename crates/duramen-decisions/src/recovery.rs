//! What opening found, and how a replica is brought back from it. Owns the verdict about damage, which is pure, and the order of
//! recovery: state, membership, safety, decisions.

use std::fmt;
use std::ops::RangeInclusive;

use crate::SeqNo;
use crate::backend::file::survey::Survey;
use crate::backend::{Backend, Key, Opened, Space};
use crate::checkpoint::CheckpointInfo;
use crate::codec::{ConsensusLayer, State};
use crate::config::PersistentLogConfig;
use crate::digest::Digest;
use crate::error::{Certainty, Damage, Error, LostRange};
use crate::lock;
use crate::log::{Decisions, Log};

/// Missing ranges that are told one by one.
const HOLES_MAX: usize = 64;

/// What opening found.
#[derive(Clone, Debug)]
pub struct RecoveryInfo<D> {
    /// The backend's name.
    pub backend: &'static str,
    /// How the log had ended: `new`, `closed`, `idle`, `unmarked`, `torn`, `damaged`.
    pub end: String,
    /// What was cut off as unfinished, in words; nobody was told that it was durable.
    pub cut: Option<String>,
    /// Nothing is kept up to this one.
    pub base: Option<SeqNo>,
    /// The first decision that is stored.
    pub first_decision: Option<SeqNo>,
    /// Every decision is there up to this one, behind the base or the first one.
    pub last_contiguous: Option<SeqNo>,
    /// The highest decision that is stored.
    pub last_decision: Option<SeqNo>,
    /// What is missing between those two, 64 ranges at most: came out of order, or was lost.
    pub holes: Vec<RangeInclusive<SeqNo>>,
    /// The checkpoints that can be used, the oldest first.
    pub checkpoints: Vec<CheckpointInfo<D>>,
    /// From which decision on the newest membership holds.
    pub membership: Option<SeqNo>,
    /// Whether a safety record is stored.
    pub safety: bool,
    /// The checkpoint whose installation was begun and not finished.
    pub pending_install: Option<SeqNo>,
    /// What is, or may be, lost, as far as opening has to look: damage within sealed segments and within chunks shows when they are
    /// read ([`Error::is_damage`]), or when [`crate::inspect::verify`] looks.
    pub damage: Option<Damage>,
}

impl<D> Default for RecoveryInfo<D> {
    fn default() -> RecoveryInfo<D> {
        RecoveryInfo {
            backend: "",
            end: String::new(),
            cut: None,
            base: None,
            first_decision: None,
            last_contiguous: None,
            last_decision: None,
            holes: Vec::new(),
            checkpoints: Vec::new(),
            membership: None,
            safety: false,
            pending_install: None,
            damage: None,
        }
    }
}

/// The facts from which damage is told.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub opened: Opened,
    pub base: Option<SeqNo>,
    /// The first stored decision.
    pub first: Option<SeqNo>,
    pub frontier: Option<SeqNo>,
    pub last: Option<SeqNo>,
    pub holes: Vec<RangeInclusive<SeqNo>>,
    /// The last good checkpoint.
    pub checkpoint: Option<SeqNo>,
    pub broken: Vec<SeqNo>,
}

/// What is lost, from facts. `None`: nothing is.
pub(crate) fn verdict(facts: &Facts) -> Option<Damage> {
    let Facts { opened, base, first, frontier, last, holes, checkpoint, broken } = facts;
    if opened.places.is_empty() && opened.lost.is_empty() && broken.is_empty() && !opened.open_end {
        return None;
    }
    // What a good checkpoint has is not missed; what was compacted is, if none has it.
    let kept = |seq_no: SeqNo| checkpoint.is_none_or(|checkpoint| seq_no > checkpoint);
    let mut lost: Vec<SeqNo> =
        opened.lost.iter().filter(|key| key.space == Space::Decision).map(|key| key.number).collect();
    lost.retain(|seq_no| kept(*seq_no) && base.is_none_or(|base| *seq_no > base));
    lost.sort_unstable();
    lost.dedup();
    let mut decisions: Vec<LostRange> = Vec::new();
    if let Some(base) = base.filter(|base| kept(*base)) {
        let first = checkpoint.map_or(0, |checkpoint| checkpoint + 1);
        decisions.push(LostRange { first, last: Some(base), certainty: Certainty::Lost });
    }
    for seq_no in &lost {
        match decisions.last_mut() {
            Some(range) if range.last.and_then(|last| last.checked_add(1)) == Some(*seq_no) => {
                range.last = Some(*seq_no)
            }
            _ => decisions.push(LostRange { first: *seq_no, last: Some(*seq_no), certainty: Certainty::Lost }),
        }
    }
    if opened.open_end {
        // What is missing in between may never have been there.
        let possible = holes.iter().filter(|hole| kept(*hole.end()) && !lost.iter().any(|lost| hole.contains(lost)));
        decisions.extend(possible.map(|hole| LostRange {
            first: *hole.start(),
            last: Some(*hole.end()),
            certainty: Certainty::Possible,
        }));
        let behind = [*last, lost.last().copied(), *checkpoint, *base].into_iter().max().flatten();
        let first = behind.map_or(0, |behind| behind.saturating_add(1));
        decisions.push(LostRange { first, last: None, certainty: Certainty::Possible });
    }
    decisions.sort_by_key(|range| range.first);
    // A lost one before the first that is stored makes that no beginning.
    let whole = first.is_none_or(|first| lost.iter().all(|lost| *lost > first)) || base.is_some();
    let stored = frontier.filter(|_| whole);
    let of = |space: Space| opened.lost.iter().any(|key| key.space == space) || opened.open_end;
    let last_safe = match (base.filter(|base| kept(*base)), *checkpoint) {
        (Some(_), checkpoint) => checkpoint,
        (None, checkpoint) => checkpoint.max(stored.filter(|_| reaches(checkpoint, *base, *first))),
    };
    Some(Damage {
        decisions,
        last_safe,
        safety: of(Space::Safety),
        messages: of(Space::Message),
        membership: of(Space::Membership),
        checkpoints: broken.clone(),
        places: opened.places.clone(),
    })
}

/// Whether the stored decisions go on where a checkpoint, or the base, ends.
fn reaches(checkpoint: Option<SeqNo>, base: Option<SeqNo>, first: Option<SeqNo>) -> bool {
    match (checkpoint, first) {
        (Some(checkpoint), Some(first)) => {
            first <= checkpoint.saturating_add(1) || base.is_some_and(|base| base <= checkpoint)
        }
        _ => true,
    }
}

/// The damage of files that opening refuses, as far as reading them tells.
pub(crate) fn damage_of_files(config: &PersistentLogConfig) -> Result<Error, Error> {
    let facts = Survey::of(&config.log_dir, &config.world, true)?.facts(true)?;
    let damage = verdict(&facts).ok_or(Error::Closed)?;
    Ok(Error::Damaged(Box::new(damage)))
}

/// The ranges that are missing between stored numbers, behind one.
pub(crate) fn holes_between(
    after: Option<SeqNo>,
    mut keys: impl FnMut(SeqNo) -> Result<Vec<Key>, Error>,
) -> Result<Vec<RangeInclusive<SeqNo>>, Error> {
    let mut holes = Vec::new();
    let mut next = after.map_or(Some(0), |after| after.checked_add(1));
    while let Some(from) = next {
        let page = keys(from)?;
        let Some(last) = page.last().map(|key| key.number) else { break };
        let mut expected = from;
        for key in &page {
            if key.number > expected {
                holes.push(expected..=key.number - 1);
            }
            expected = key.number.saturating_add(1);
        }
        if holes.len() >= HOLES_MAX {
            holes.truncate(HOLES_MAX);
            break;
        }
        next = last.checked_add(1);
    }
    Ok(holes)
}

impl<D: Digest, S, CL: ConsensusLayer, B: Backend> Log<D, S, CL, B> {
    /// Looks at what is there.
    pub(crate) fn look(&self) -> Result<RecoveryInfo<D>, Error> {
        let opened = self.backend.opened();
        let (base, frontier) = {
            let mut tip = lock(&self.tip);
            (tip.base, self.frontier(&mut tip)?)
        };
        let after = base.map_or(0, |base| base.saturating_add(1));
        let first = self.backend.keys(Space::Decision, after..=u64::MAX, 1)?.first().map(|key| key.number);
        let last = self.last_decision()?;
        let holes = holes_between(frontier, |from| self.backend.keys(Space::Decision, from..=u64::MAX, 1024))?;
        let holes = if first.is_some() { holes } else { Vec::new() };
        let (checkpoints, broken) = {
            let own = lock(&self.checkpoints);
            (own.infos(), own.broken.clone())
        };
        let checkpoint = checkpoints.last().map(|own| own.seq_no);
        let facts = Facts { opened, base, first, frontier, last, holes: holes.clone(), checkpoint, broken };
        let damage = verdict(&facts);
        Ok(RecoveryInfo {
            backend: self.backend.name(),
            end: facts.opened.end,
            cut: facts.opened.cut,
            base,
            first_decision: first,
            last_contiguous: frontier,
            last_decision: last,
            holes,
            checkpoints,
            membership: self.backend.last(Space::Membership, u64::MAX)?.map(|key| key.number),
            safety: self.backend.contains(Key::new(Space::Safety, 0))?,
            pending_install: self.pending_install()?.map(|manifest| manifest.seq_no()),
            damage,
        })
    }
}

/// How far a recovery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Decisions applied.
    pub done: u64,
    /// Decisions to apply in all.
    pub total: u64,
    /// The last one that was applied.
    pub seq_no: SeqNo,
}

/// What of a log is to be recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The last checkpoint that can be read, the membership, the safety record, and the decisions behind the checkpoint.
    Everything,
    /// Only decisions of a range, those that there are.
    Decisions(RangeInclusive<SeqNo>),
    /// Only the newest membership.
    Membership,
    /// Only the safety record.
    Safety,
}

/// A replica that is being recovered. What it does not want it leaves to the defaults. An error in words ends the recovery, which
/// can be begun again: nothing of the log is changed by it.
pub trait Replica<S, CL: ConsensusLayer> {
    /// Takes a checkpoint's state, which has every decision up to this one.
    ///
    /// # Errors
    /// It does not want it.
    fn install(&mut self, _seq_no: SeqNo, _state: S) -> Result<(), String> {
        Ok(())
    }
    /// Takes the newest membership, and the decision from which on it holds.
    ///
    /// # Errors
    /// It does not want it.
    fn membership(&mut self, _seq_no: SeqNo, _membership: CL::Membership) -> Result<(), String> {
        Ok(())
    }
    /// Takes the safety record.
    ///
    /// # Errors
    /// It does not want it.
    fn safety(&mut self, _safety: CL::Safety) -> Result<(), String> {
        Ok(())
    }
    /// Applies decisions, in order.
    ///
    /// # Errors
    /// It cannot.
    fn apply(&mut self, _decisions: Vec<(SeqNo, CL::Decision)>) -> Result<(), String> {
        Ok(())
    }
    /// Hears how far it is.
    fn progress(&mut self, _progress: Progress) {}
}

fn refused(reason: String) -> Error {
    Error::State { source: std::io::Error::other(reason).into() }
}

impl<D: Digest, S: State, CL: ConsensusLayer, B: Backend> Log<D, S, CL, B> {
    /// Brings a replica back; decisions come in batches of `batch`. Returns the last decision that it has. Where the last checkpoint
    /// turns out to be damaged, the one before it serves, if the decisions from there on are still here.
    ///
    /// # Errors
    /// [`Error::DamagedValue`], [`Error::Compacted`]: decisions are missing, and have to come from peers; what the replica said.
    pub fn recover(
        &self,
        what: &What,
        batch: usize,
        replica: &mut impl Replica<S, CL>,
    ) -> Result<Option<SeqNo>, Error> {
        match what {
            What::Membership => self.recover_membership(replica).map(|()| None),
            What::Safety => self.recover_safety(replica).map(|()| None),
            What::Decisions(range) => {
                let after = range.start().checked_sub(1);
                let after = if after.is_none() && self.base().is_none() { None } else { after.or(Some(0)) };
                let decisions = self.decisions_after(after)?;
                self.apply_all(decisions, *range.end(), batch, replica)
            }
            What::Everything => {
                let installed = self.install_last(replica)?;
                self.recover_membership(replica)?;
                self.recover_safety(replica)?;
                let decisions = self.decisions_after(installed)?;
                Ok(self.apply_all(decisions, u64::MAX, batch, replica)?.or(installed))
            }
        }
    }

    fn recover_membership(&self, replica: &mut impl Replica<S, CL>) -> Result<(), Error> {
        let Some((seq_no, membership)) = self.membership(u64::MAX)? else { return Ok(()) };
        replica.membership(seq_no, membership).map_err(refused)
    }

    fn recover_safety(&self, replica: &mut impl Replica<S, CL>) -> Result<(), Error> {
        self.safety()?.map_or(Ok(()), |safety| replica.safety(safety).map_err(refused))
    }

    fn install_last(&self, replica: &mut impl Replica<S, CL>) -> Result<Option<SeqNo>, Error> {
        let mut first_error = None;
        for info in self.checkpoints().into_iter().rev() {
            let state = self.checkpoint(info.seq_no).and_then(|checkpoint| checkpoint.state());
            match state {
                Ok(state) => {
                    replica.install(info.seq_no, state).map_err(refused)?;
                    return Ok(Some(info.seq_no));
                }
                Err(error @ (Error::DamagedValue { .. } | Error::WrongDigest { .. })) => {
                    _ = first_error.get_or_insert(error)
                }
                Err(error) => return Err(error),
            }
        }
        first_error.map_or(Ok(None), Err)
    }

    fn apply_all(
        &self,
        decisions: Decisions<'_, D, S, CL, B>,
        upto: SeqNo,
        batch: usize,
        replica: &mut impl Replica<S, CL>,
    ) -> Result<Option<SeqNo>, Error> {
        let mut total = None;
        let (mut done, mut last) = (0, None);
        let end = decisions.end().map(|last| last.min(upto));
        let mut taken = Vec::new();
        for own in decisions {
            let (seq_no, decision) = own?;
            if seq_no > upto {
                break;
            }
            let total = *total.get_or_insert(end.map_or(0, |end| (end - seq_no.min(end)).saturating_add(1)));
            taken.push((seq_no, decision));
            if taken.len() >= batch.max(1) || Some(seq_no) == end {
                done += taken.len() as u64;
                replica.apply(std::mem::take(&mut taken)).map_err(refused)?;
                last = Some(seq_no);
                replica.progress(Progress { done, total, seq_no });
            }
        }
        Ok(last)
    }
}

impl<D: fmt::Display> fmt::Display for RecoveryInfo<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<SeqNo>| number.map_or("none".to_string(), |number| number.to_string());
        writeln!(f, "backend     {}", self.backend)?;
        writeln!(f, "end         {}", self.end)?;
        if let Some(cut) = &self.cut {
            writeln!(f, "cut         {cut}")?;
        }
        writeln!(f, "compacted   {}", self.base.map_or("nothing".into(), |base| format!("up to {base}")))?;
        match (self.first_decision, self.last_contiguous) {
            (Some(first), Some(last)) if first <= last => writeln!(f, "decisions   {first} to {last}")?,
            _ => writeln!(f, "decisions   none")?,
        }
        for hole in &self.holes {
            writeln!(f, "missing     {} to {}", hole.start(), hole.end())?;
        }
        if self.last_decision > self.last_contiguous {
            writeln!(f, "last        {}", number(self.last_decision))?;
        }
        for own in &self.checkpoints {
            writeln!(f, "checkpoint  {}: {} bytes in {} chunks, {}", own.seq_no, own.bytes, own.chunks, own.root)?;
        }
        writeln!(f, "membership  {}", self.membership.map_or("none".into(), |from| format!("from {from} on")))?;
        writeln!(f, "safety      {}", if self.safety { "stored" } else { "none" })?;
        if let Some(pending) = self.pending_install {
            writeln!(f, "installing  the checkpoint of {pending}")?;
        }
        self.damage.iter().try_for_each(|damage| writeln!(f, "damage      {damage}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts { first: Some(1), frontier: Some(9), last: Some(9), ..Facts::default() }
    }

    fn lost(numbers: &[SeqNo]) -> Opened {
        let lost = numbers.iter().map(|number| Key::new(Space::Decision, *number)).collect();
        Opened { lost, places: vec!["there".into()], ..Opened::default() }
    }

    #[test]
    fn nothing_is_told_of_a_whole_log() {
        assert_eq!(verdict(&facts()), None);
        assert_eq!(verdict(&Facts { holes: vec![5..=6], ..facts() }), None, "what never came is no damage");
    }

    #[test]
    fn what_is_lost_is_told_in_ranges_with_the_last_safe_one() {
        let damage = verdict(&Facts { frontier: Some(4), opened: lost(&[5, 6, 8]), ..facts() }).unwrap();
        let range = |first, last| LostRange { first, last: Some(last), certainty: Certainty::Lost };
        assert_eq!(damage.decisions, [range(5, 6), range(8, 8)]);
        assert_eq!((damage.last_safe, damage.safety, damage.membership), (Some(4), false, false));
        let text = damage.to_string();
        assert!(text.contains("decisions 5 to 6 are lost; decision 8 are lost; all is there up to 4"), "{text}");
    }

    #[test]
    fn a_good_checkpoint_makes_up_for_what_it_has() {
        let damage =
            verdict(&Facts { frontier: Some(4), opened: lost(&[5, 8]), checkpoint: Some(6), ..facts() }).unwrap();
        assert_eq!(damage.decisions.iter().map(|range| range.first).collect::<Vec<_>>(), [8]);
        assert_eq!(damage.last_safe, Some(6));
    }

    #[test]
    fn a_broken_checkpoint_below_which_the_log_was_compacted_loses_that() {
        let damage = verdict(&Facts { base: Some(6), broken: vec![6], first: Some(7), ..facts() }).unwrap();
        assert_eq!(damage.decisions, [LostRange { first: 0, last: Some(6), certainty: Certainty::Lost }]);
        assert_eq!((damage.last_safe, damage.checkpoints), (None, vec![6]));
        let older = Facts { base: Some(6), broken: vec![6], first: Some(7), checkpoint: Some(3), ..facts() };
        let damage = verdict(&older).unwrap();
        assert_eq!(damage.decisions, [LostRange { first: 4, last: Some(6), certainty: Certainty::Lost }]);
        assert_eq!(damage.last_safe, Some(3));
    }

    #[test]
    fn an_open_end_makes_doubtful_what_came_last() {
        let opened = Opened { open_end: true, places: vec!["there".into()], ..Opened::default() };
        let damage = verdict(&Facts { opened, ..facts() }).unwrap();
        assert_eq!(damage.decisions, [LostRange { first: 10, last: None, certainty: Certainty::Possible }]);
        assert!(damage.safety && damage.membership);
        assert_eq!(damage.last_safe, Some(9));
    }
}
