//! The workloads of the campaign. Owns the list; each is a script of a few lines.

use std::time::Duration;

use duramen_journal::disk::SyncMethod;
use duramen_journal::disk::sim::Generator;
use duramen_journal::{Codec, FreshPages};
use duramen_raft::{Config, FlushPolicy, MemoryFull, Strategy};

use crate::script::{Action, Script, small, times};

use Action::*;

const LAZY: FlushPolicy = FlushPolicy::Batch { threshold: 1000, interval: Duration::from_secs(1) };

fn mem_first() -> Config {
    Config { strategy: Strategy::MemFirst, flush: LAZY, ..small() }
}

/// All of them.
pub fn all() -> Vec<Script> {
    let mut all = vec![
        Script::new("votes", small(), times(6, &[Vote(1), Vote(2)])),
        Script::new("appends", small(), times(8, &[Append(1, 2, 300)])),
        Script::new("appends-large", small(), times(4, &[Append(1, 1, 5_000), Append(2, 1, 9_000)])),
        Script::new("vote-then-append", small(), times(4, &[Vote(1), Append(1, 3, 100), CommitBut(1, 1)])).holding(),
        Script::new("truncations", small(), times(3, &[Append(1, 4, 600), Vote(1), Cut(1, 2), Append(1, 1, 900)])),
        Script::new("truncations-held", small(), times(3, &[Append(1, 4, 600), Cut(1, 3), Append(1, 1, 90)])).holding(),
        Script::new("purges", small(), times(4, &[Append(1, 3, 4_000), PurgeBut(1, 2)])),
        Script::new("purges-beyond", small(), times(3, &[Append(1, 2, 500), PurgeBeyond(1, 7), Append(1, 1, 50)])),
        Script::new("data", small(), times(4, &[Data(1), Append(1, 1, 90), CommitBut(1, 0), Data(2)])).holding(),
        Script::new(
            "removals",
            small(),
            times(2, &[Append(1, 2, 500), Vote(2), Append(2, 1, 90), Remove(1), Remove(2)]),
        ),
        Script::new("reopened", small(), times(3, &[Vote(1), Append(1, 1, 3_000), Reopen { close: true }, Cut(1, 1)])),
        Script::new("reopened-open", small(), times(3, &[Append(1, 2, 800), Reopen { close: false }, CommitBut(1, 1)]))
            .holding(),
    ];
    rotations(&mut all);
    in_memory(&mut all);
    full(&mut all);
    all.extend((1..=RANDOM).map(random));
    all
}

/// Segments are switched, released, carried forward.
fn rotations(all: &mut Vec<Script>) {
    let fill = times(3, &[Append(1, 1, 14_000), Append(2, 1, 200)]);
    let mut purged = vec![Vote(1), Data(1)];
    purged.extend(times(4, &[Append(1, 1, 18_000), PurgeBut(1, 1)]));
    all.push(Script::new("released", small(), purged.clone()));
    all.push(Script::new("released-held", small(), purged).holding());
    let mut lagging = vec![Append(2, 3, 200), Vote(2), Append(1, 1, 19_000), Append(1, 1, 19_000)];
    lagging.extend([Append(1, 1, 19_000), PurgeBut(1, 0), Collect, Relocate(2), Collect, Cut(2, 1), Append(2, 1, 90)]);
    all.push(Script::new("laggard", small(), lagging[4..].to_vec()).after(lagging[..4].to_vec()));
    all.push(Script::new("laggard-whole", small(), lagging));
    let twice = times(2, &[Append(1, 1, 19_000), Append(1, 1, 19_000), PurgeBut(1, 0), Relocate(2), Collect]);
    all.push(Script::new("laggard-twice", small(), twice).after(vec![Append(2, 2, 3_000), Vote(2), Append(2, 1, 90)]));
    all.push(
        Script::new("sealed-then-cut", small(), vec![Cut(1, 2), Cut(2, 1), Vote(1), Append(1, 1, 40)]).after(fill),
    );
    // What a sealed segment did to entries of an earlier one.
    let seal = times(4, &[Append(2, 1, 15_000)]);
    let mut sealed = vec![Cut(1, 2), PurgeBut(3, 1), Remove(4), Data(1), Vote(3)];
    sealed.extend(&seal);
    let mut before = vec![Append(1, 5, 600), Append(3, 4, 90), Append(4, 2, 90), Vote(4)];
    before.extend(&seal);
    all.push(Script::new("cut-then-sealed", small(), sealed).after(before));
    let many: Vec<Action> = (1..12).map(|group| Append(group, 1, 4_000)).collect();
    let mut many_purged = many.clone();
    many_purged.extend(many.iter().copied());
    many_purged.extend((1..12).map(|group| PurgeBut(group, 0)));
    many_purged.push(Collect);
    all.push(Script::new("many-groups", small(), many_purged[11..].to_vec()).after(many_purged[..11].to_vec()));
    let methods = Config {
        journal: duramen_journal::Options { sync_method: Some(SyncMethod::WriteSync), ..small().journal },
        ..small()
    };
    all.push(Script::new("write-sync", methods, times(4, &[Append(1, 2, 3_000), Vote(1), PurgeBut(1, 1)])));
    let edge = Config {
        journal: duramen_journal::Options { fresh_pages: FreshPages::Always, codec: Codec::Lz4, ..small().journal },
        ..small()
    };
    all.push(Script::new("edge", edge, times(4, &[Append(1, 3, 5_000), Cut(1, 1), Vote(1)])));
}

fn in_memory(all: &mut Vec<Script>) {
    let mixed = times(3, &[Append(1, 2, 300), CommitBut(1, 1), Vote(1), Append(1, 1, 50), Cut(1, 1)]);
    all.push(Script::new("mem-first", mem_first(), mixed.clone()).holding());
    let synced = Config { sync_on_commit: true, ..mem_first() };
    all.push(Script::new("sync-on-commit", synced, mixed).holding());
    let timed = times(3, &[Append(1, 1, 90), Append(2, 1, 90), Pass(Duration::from_secs(2)), Append(1, 1, 2_000)]);
    all.push(Script::new("mem-first-timed", mem_first(), timed).holding());
    let spill = Config { memory_max_bytes: 8 << 10, memory_full: MemoryFull::Spill, ..mem_first() };
    let spilled = times(4, &[Append(1, 2, 2_500), Sync, PurgeBut(1, 4)]);
    all.push(Script::new("mem-first-spilled", spill, spilled).holding());
    let adaptive = Config { flush: FlushPolicy::Adaptive, ..mem_first() };
    all.push(Script::new("adaptive", adaptive, times(4, &[Append(1, 1, 400), Vote(2), CommitBut(1, 0)])).holding());
}

/// Disks that fill up, and disks that fail.
fn full(all: &mut Vec<Script>) {
    let filling = [Append(1, 1, 12_000), Append(2, 1, 3_000), Append(1, 1, 12_000)];
    let mut steps = vec![Room(Some(0))];
    steps.extend(times(6, &filling));
    steps.extend([
        Vote(1),
        Cut(1, 1),
        PurgeBut(1, 1),
        Append(1, 1, 90),
        Room(None),
        Append(1, 1, 90),
        Append(2, 2, 50),
    ]);
    for (name, config, held) in
        [("full", small(), false), ("full-held", small(), true), ("full-in-memory", mem_first(), true)]
    {
        let mut script = Script::new(name, config, steps.clone()).after(vec![Append(1, 2, 500)]);
        (script.full, script.held) = (true, held);
        all.push(script);
    }
    let actions =
        vec![Vote(1), Append(1, 1, 18_000), Append(2, 1, 19_000), Cut(2, 1), Append(1, 1, 18_500), PurgeBut(1, 1)];
    for (name, config) in [("swept", small()), ("swept-in-memory", mem_first())] {
        let mut script = Script::new(name, config, actions.clone()).holding();
        script.sweep = true;
        all.push(script);
    }
}

/// Workloads that chance made.
pub const RANDOM: u64 = 16;

/// Settings and actions by a seed.
pub fn random(seed: u64) -> Script {
    let mut generator = Generator::new(seed);
    let mut below = |bound: u64| generator.below(bound);
    let mut config = [small(), small(), mem_first()][below(3) as usize].clone();
    config.chunk_max_records = [4, 9, 1 << 20][below(3) as usize];
    config.log_cache_max_items = [0, 3, 1 << 20][below(3) as usize];
    let mut actions = Vec::new();
    for _ in 0..14 + below(10) {
        let group = 1 + below(3) as u32;
        let bytes = [10, 400, 3_000, 12_000][below(4) as usize] + below(60) as usize;
        actions.push(match below(20) {
            0..=6 => Append(group, 1 + below(if bytes < 5_000 { 3 } else { 1 }), bytes),
            7 | 8 => Vote(group),
            9 => CommitBut(group, below(3)),
            10 | 11 => Cut(group, 1 + below(3)),
            12 | 13 => PurgeBut(group, below(3)),
            14 => Data(group),
            15 => Remove(group),
            16 => Relocate(group),
            17 => [WaitAll, Sync, Collect][below(3) as usize],
            18 => PurgeBeyond(group, 1 + below(5)),
            _ => Reopen { close: below(2) == 0 },
        });
    }
    let script = Script::new(format!("random-{seed}"), config, actions);
    if seed.is_multiple_of(2) { script.holding() } else { script }
}
