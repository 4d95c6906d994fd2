//! Four cores on a network that loses and reorders, with replicas that stop between any two effects, and one that loses its
//! memory: never two decisions of one number, and when the network is good again all decide all.

use std::time::Duration;

use super::*;

/// Numbers that a seed decides.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// What a replica's disk has.
#[derive(Clone, Default)]
struct Disk {
    safety: Option<Safety>,
    decisions: Vec<(Decision, Proof)>,
    kept: BTreeMap<SeqNo, Vec<Kept>>,
    basis: Option<NewView>,
}

impl Disk {
    fn memory(&self, new_group: bool) -> Memory {
        let decided = self.decisions.len() as u64;
        Memory {
            safety: self.safety.clone(),
            decided,
            last: self.decisions.last().map(|(decision, _)| decision.digest()),
            kept: self.kept.get(&(decided + 1)).cloned().unwrap_or_default(),
            basis: self.basis.clone(),
            new_group,
        }
    }
}

struct Group {
    cores: Vec<Core>,
    disks: Vec<Disk>,
    sent: Vec<(ReplicaId, ReplicaId, Wire)>,
    chance: Chance,
    now: Duration,
    /// Of a hundred messages, those that are lost.
    lost: u64,
    /// The one whose folder was deleted.
    forgot: Option<usize>,
}

impl Group {
    fn new(seed: u64) -> Group {
        let cores = (0..4).map(|me| Core::new(me, Memory::of_a_new_group())).collect();
        let disks = vec![Disk::default(); 4];
        Group { cores, disks, sent: Vec::new(), chance: Chance(seed), now: Duration::ZERO, lost: 5, forgot: None }
    }

    fn send(&mut self, from: ReplicaId, to: ReplicaId, message: Wire) {
        if from == to || self.chance.below(100) >= self.lost {
            self.sent.push((from, to, message));
        }
    }

    /// Does what a core wants, or stops halfway through.
    fn run(&mut self, me: usize) {
        for effect in self.cores[me].effects() {
            if self.lost > 0 && self.chance.below(600) == 0 {
                return self.restart(me);
            }
            let (id, disk) = (me as ReplicaId, &mut self.disks[me]);
            match effect {
                Effect::Keep { kept, safety, basis, say } => {
                    disk.safety = Some(safety);
                    disk.basis = basis.or(disk.basis.take());
                    if let Some((seq_no, kept)) = kept {
                        disk.kept.entry(seq_no).or_default().push(kept);
                    }
                    for to in say.iter().flat_map(|_| 0..4) {
                        say.iter().for_each(|say| self.send(id, to, say.clone()));
                    }
                }
                Effect::Say(Some(to), message) => self.send(id, to, message),
                Effect::Say(None, message) => {
                    (0..4).filter(|to| *to != id).for_each(|to| self.send(id, to, message.clone()))
                }
                Effect::Decide(seq_no, decision, proof, safety) => {
                    assert_eq!(seq_no, disk.decisions.len() as u64 + 1, "in order");
                    assert!(proof.shows(&decision), "{proof:?}");
                    disk.decisions.push((decision, proof));
                    disk.safety = Some(safety);
                    self.check(me);
                }
                Effect::Install(..) => unreachable!("nobody has a checkpoint"),
            }
        }
    }

    fn check(&self, me: usize) {
        let (at, own) = (self.disks[me].decisions.len() - 1, &self.disks[me].decisions);
        for other in &self.disks {
            let known = other.decisions.get(at);
            assert!(known.is_none_or(|known| known.0 == own[at].0), "two decisions of {}", at + 1);
        }
    }

    fn restart(&mut self, me: usize) {
        self.cores[me] = Core::new(me as ReplicaId, self.disks[me].memory(self.forgot != Some(me)));
        self.cores[me].tick(self.now);
    }

    /// The folder of one is deleted.
    fn forget(&mut self, me: usize) {
        self.disks[me] = Disk::default();
        self.forgot = Some(me);
        self.cores[me] = Core::new(me as ReplicaId, Memory::default());
        self.cores[me].tick(self.now);
        self.run(me);
    }

    fn deliver(&mut self) {
        let at = self.chance.below(self.sent.len() as u64) as usize;
        let (from, to, message) = self.sent.swap_remove(at);
        if let Wire::Fetch(after) = message {
            let own = &self.disks[to as usize].decisions;
            let found: Vec<_> =
                own.iter().enumerate().skip(after as usize).take(16).map(|(at, own)| (at, own.clone())).collect();
            for (at, (decision, proof)) in found {
                self.send(to, from, Wire::Decided(at as u64 + 1, decision, proof));
            }
            return;
        }
        self.cores[to as usize].receive(from, message);
        self.run(to as usize);
    }

    fn tick(&mut self) {
        self.now += Duration::from_millis(50);
        for me in 0..4 {
            let (view, active) = self.cores[me].view();
            let decided = self.disks[me].decisions.len() as u64;
            let status = Status { view, active, decided, base: 0, checkpoints: Vec::new() };
            (0..4).filter(|to| *to != me as u8).for_each(|to| self.send(me as u8, to, Wire::Status(status.clone())));
            self.cores[me].tick(self.now);
            self.run(me);
        }
    }

    /// A client's request reaches all.
    fn request(&mut self, number: u64) {
        for me in 0..4 {
            let client = number % 7;
            self.cores[me].request(Command { client, number, key: number.to_string(), value: String::new() });
            self.run(me);
        }
    }
}

fn run(seed: u64) -> (usize, View) {
    let mut group = Group::new(seed);
    (0..4).for_each(|me| group.run(me));
    for number in 1..=60 {
        group.request(number);
        for _ in 0..group.chance.below(120) {
            if !group.sent.is_empty() {
                group.deliver();
            }
        }
        if group.chance.below(3) == 0 {
            (0..group.chance.below(30)).for_each(|_| group.tick());
        }
        if group.chance.below(6) == 0 {
            let me = group.chance.below(4) as usize;
            group.restart(me);
        }
        if number == 30 && seed.is_multiple_of(2) {
            let me = group.chance.below(4) as usize;
            group.forget(me);
        }
    }
    group.lost = 0;
    for round in 0.. {
        group.request(1000 + round);
        group.tick();
        while !group.sent.is_empty() {
            group.deliver();
        }
        let lengths: Vec<usize> = group.disks.iter().map(|disk| disk.decisions.len()).collect();
        let last = group.disks[0].decisions.last().and_then(|(decision, _)| decision.commands.last());
        if round > 60 && lengths.iter().all(|own| *own == lengths[0]) && last.is_some_and(|own| own.number > 1000) {
            return (lengths[0], group.cores.iter().map(|core| core.view().0).max().unwrap_or(0));
        }
        let views: Vec<_> = group.cores.iter().map(|core| (core.view(), core.may_vote(), core.decided())).collect();
        assert!(round < 2000, "seed {seed}: nothing is decided any more: {lengths:?} {views:?}");
    }
    unreachable!("the loop ends by itself")
}

#[test]
fn replicas_agree_and_go_on_whatever_is_lost() {
    let (mut decisions, mut views) = (0, 0);
    for seed in 1..=300 {
        let (more, view) = run(seed);
        (decisions, views) = (decisions + more, views + view);
    }
    println!("{decisions} decisions in {views} views");
    assert!(views > 300, "the primary is changed: {views}");
}
