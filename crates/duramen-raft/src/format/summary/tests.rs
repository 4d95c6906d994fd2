use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Vote(u8),
    Append(u8),
    Commit(u64),
    Truncate(u64),
    Purge(u64),
    State,
    Data(u8),
    Relocate(u64),
    Remove,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => any::<u8>().prop_map(Step::Vote),
        8 => (0..3u8).prop_map(Step::Append),
        1 => (0..100u64).prop_map(Step::Commit),
        2 => (0..100u64).prop_map(Step::Truncate),
        1 => (0..130u64).prop_map(Step::Purge),
        1 => Just(Step::State),
        1 => any::<u8>().prop_map(Step::Data),
        2 => (0..100u64).prop_map(Step::Relocate),
        1 => Just(Step::Remove),
    ]
}

/// A record of one group, as it is put into a journal.
struct Written {
    group: GroupId,
    sequence: Sequence,
    bytes: Vec<u8>,
    kind: u8,
}

/// What a log is, entry by entry.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    entries: BTreeMap<u64, (Sequence, u8)>,
    last: u64,
    purged: u64,
    vote: Option<u8>,
    committed: Option<u64>,
    data: Option<u8>,
}

impl Model {
    fn share(&self, share: u64) -> u64 {
        self.purged + (self.last - self.purged) * share / 100
    }

    fn record(&mut self, step: &Step, sequence: Sequence) -> Option<(Vec<u8>, u8)> {
        let leader = [7u8];
        let id = |index: u64, leader: &'static [u8]| RawId { index, leader };
        let own: &'static [u8] = &[1];
        let record = match *step {
            Step::Vote(vote) => {
                self.vote = Some(vote);
                return Some((vec![vote], 1));
            }
            Step::Append(by) => {
                self.last += 1;
                self.entries.insert(self.last, (sequence, by));
                let mut out = Vec::new();
                let id = RawId { index: self.last, leader: &[by] };
                RawRecord::Append { id, payload: b"p" }.encode(&mut out);
                return Some((out, 2));
            }
            Step::Commit(share) => {
                self.committed = Some(self.share(share));
                RawRecord::Commit(id(self.share(share), own))
            }
            Step::Truncate(share) => {
                let kept = self.share(share);
                self.entries.split_off(&(kept + 1));
                self.last = kept;
                RawRecord::TruncateAfter(Some(id(kept, own)))
            }
            Step::Purge(share) => {
                self.purged = self.share(share);
                self.last = self.last.max(self.purged);
                self.entries = self.entries.split_off(&(self.purged + 1));
                RawRecord::PurgeUpto(id(self.purged, own))
            }
            Step::State => {
                let vote = self.vote.map(|vote| vec![vote]);
                let data = self.data.map(|data| vec![data]);
                let state = crate::format::RawState {
                    vote: vote.as_deref(),
                    last: Some(RawId { index: self.last, leader: &leader }),
                    committed: self.committed.map(|index| id(index, own)),
                    purged: (self.purged > 0).then(|| id(self.purged, own)),
                    user_data: data.as_deref(),
                };
                let mut out = Vec::new();
                RawRecord::State(state).encode(&mut out);
                return Some((out, 6));
            }
            Step::Data(data) => {
                self.data = Some(data);
                return Some((vec![data], 7));
            }
            Step::Relocate(share) => {
                let index = self.share(share);
                let entry = self.entries.get_mut(&index)?;
                entry.0 = sequence;
                let mut out = Vec::new();
                RawRecord::Relocate { id: RawId { index, leader: &[entry.1] }, payload: b"p" }.encode(&mut out);
                return Some((out, 8));
            }
            Step::Remove => {
                *self = Model::default();
                RawRecord::RemoveGroup
            }
        };
        let mut out = Vec::new();
        record.encode(&mut out);
        Some((out, record.kind() as u8))
    }

    fn check(&self, change: &GroupChange) {
        let mut change = change.clone();
        change.settle();
        let told: BTreeMap<u64, (Sequence, u8)> = change
            .entries
            .runs(..)
            .flat_map(|run| {
                (0..run.count).map(move |at| (run.first_index + at, (run.first_sequence + at, run.leader[0])))
            })
            .collect();
        assert_eq!(told, self.entries);
        assert_eq!(change.vote.map(|(_, vote)| vote[0]), self.vote);
        assert_eq!(change.user_data.map(|(_, data)| data[0]), self.data);
        assert_eq!(change.committed.map(|(_, id)| id.index), self.committed);
        assert_eq!(change.purged.map_or(0, |(_, id)| id.index), self.purged);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// However a journal is cut into segments, the summaries of the segments say what the records say.
    #[test]
    fn summaries_add_up(
        steps in proptest::collection::vec((1..3u32, step(), 0..3u64), 1..80),
        cuts in proptest::collection::vec(0..80usize, 0..6),
    ) {
        let mut models: BTreeMap<GroupId, Model> = BTreeMap::new();
        let mut written = Vec::new();
        let mut sequence = 1;
        for (group, step, gap) in &steps {
            sequence += gap;
            if let Some((bytes, kind)) = models.entry(*group).or_default().record(step, sequence) {
                written.push(Written { group: *group, sequence, bytes, kind });
                sequence += 1;
            }
        }
        let mut all = Change::default();
        let mut part = Change::default();
        for (place, Written { group, sequence, bytes, kind }) in written.iter().enumerate() {
            if cuts.contains(&place) {
                let summary = std::mem::take(&mut part).encode();
                all.then(Change::decode(&summary).expect("reads what was written"));
            }
            part.add(*sequence, *group, &RawRecord::decode(*kind, bytes).expect("reads what was written"));
        }
        all.then(Change::decode(&part.encode()).expect("reads what was written"));
        for (group, model) in &models {
            model.check(all.groups.get(group).unwrap_or(&GroupChange::default()));
        }
    }

    /// Nothing makes the decoder panic.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut versioned = vec![VERSION];
        versioned.extend_from_slice(&bytes);
        let _ = Change::decode(&bytes);
        let _ = Change::decode(&versioned);
    }
}
