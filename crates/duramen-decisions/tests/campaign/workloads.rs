//! The workloads of the campaign. Owns the list; each is a script of a few lines.

use std::time::Duration;

use duramen_decisions::{CompressionOptions, PersistentLogConfig, Retention, SyncPolicy};
use duramen_journal::disk::sim::Generator;

use crate::script::{Action, Script, Then, small, times};

use Action::*;

/// A second.
const SECOND: Duration = Duration::from_secs(1);
/// All chunks.
const ALL: usize = usize::MAX;

fn policy(sync_policy: SyncPolicy) -> PersistentLogConfig {
    PersistentLogConfig { sync_policy, ..small() }
}

/// One checkpoint is kept, and the log is compacted to it.
fn frugal() -> PersistentLogConfig {
    PersistentLogConfig { retention: Retention { checkpoints: 1, ..Retention::default() }, ..small() }
}

/// All of them.
pub fn all() -> Vec<Script> {
    let mut all = vec![
        Script::new("one-by-one", small(), times(8, &[Decide(1, 300)])),
        Script::new("one-by-one-large", small(), times(4, &[Decide(1, 5_000), Decide(1, 9_000)])),
        Script::new("whole", small(), times(6, &[Whole(1, 200)])),
        Script::new("whole-large", small(), times(3, &[Whole(1, 6_000), Many(5, 900)])),
        Script::new("whole-held", small(), times(6, &[Whole(1, 200), Many(3, 90)])).holding(),
        Script::new("order", small(), times(3, &[Decide(1, 90), Ahead(2), Ahead(1), Fill, Again, Fill, Other, Fill])),
        Script::new("order-held", small(), times(3, &[Ahead(2), Again, Decide(1, 50), Fill, Fill])).holding(),
        Script::new("safety", small(), times(5, &[Safety, Message(60), Proof, Recovery(2), Member, Decide(1, 80)])),
        Script::new("undecided", small(), times(4, &[Message(40), Message(50), Safety, Decide(1, 100), Proof])),
        Script::new("taken-back", small(), times(3, &[Whole(3, 400), Invalidate(1), Truncate(1), Fill, Whole(1, 90)])),
        Script::new("taken-back-held", small(), times(3, &[Many(4, 60), Truncate(2), Invalidate(0), Whole(1, 90)]))
            .holding(),
    ];
    policies(&mut all);
    compactions(&mut all);
    checkpoints(&mut all);
    transfers(&mut all);
    full(&mut all);
    all.extend((1..=RANDOM).map(random));
    all
}

/// Each way to sync, and each way to compress.
fn policies(all: &mut Vec<Script>) {
    let mixed = times(3, &[Decide(2, 120), Whole(1, 90), Message(30), Member, Invalidate(1), Pass(SECOND * 2), Again]);
    all.push(Script::new("never", policy(SyncPolicy::Never), mixed.clone()));
    all.push(Script::new("interval", policy(SyncPolicy::Interval(SECOND)), mixed.clone()).holding());
    let batch = SyncPolicy::Batch { records: 4, interval: SECOND };
    all.push(Script::new("batch", policy(batch), mixed.clone()).holding());
    let steps = vec![Decide(1, 90), Many(4, 3_000), Checkpoint(0, 9_000), Compact(1), Whole(1, 5_000), Message(900)];
    for (name, compression) in [("lz4", CompressionOptions::Lz4), ("zstd", CompressionOptions::Zstd(3))] {
        let config = PersistentLogConfig { compression, ..small() };
        all.push(Script::new(name, config, times(3, &steps)));
    }
    let reopened = times(3, &[Whole(1, 900), Checkpoint(0, 5_000), Reopen { close: true }, Truncate(0), Many(2, 90)]);
    all.push(Script::new("reopened", small(), reopened));
    let open = times(3, &[Many(2, 300), Message(50), Reopen { close: false }, Invalidate(1), Fill]);
    all.push(Script::new("reopened-open", policy(SyncPolicy::Never), open).holding());
}

/// Segments are switched, released, and what is small is carried forward.
fn compactions(all: &mut Vec<Script>) {
    let small_ones = [Safety, Member, Recovery(1), Early(40), Early(50), Whole(1, 100)];
    let mut released = small_ones.to_vec();
    released.extend(times(5, &[Many(3, 6_000), Checkpoint(0, 3_000), Compact(0)]));
    all.push(Script::new("released", small(), released.clone()));
    all.push(Script::new("released-held", small(), released.clone()).holding());
    all.push(Script::new("released-never", policy(SyncPolicy::Never), released));
    let mut late = small_ones.to_vec();
    late.extend(times(5, &[Many(2, 9_000), Proof]));
    late.extend([Ahead(2), Message(90)]);
    let steps = vec![Checkpoint(3, 4_000), Compact(0), Safety, Checkpoint(0, 4_000), Compact(2), Whole(1, 90)];
    all.push(Script::new("carried", small(), steps).after(late));
    // What a sealed segment did to values of an earlier one: its summary has to tell.
    let seal = times(4, &[Many(2, 9_000)]);
    let mut sealed = vec![Invalidate(2), Truncate(1), Message(30), Safety, Fill];
    sealed.extend(&seal);
    sealed.extend([Reopen { close: true }, Checkpoint(0, 3_000), Compact(4), Reopen { close: true }, Decide(1, 40)]);
    let mut before = vec![Whole(4, 500), Member];
    before.extend(&seal);
    all.push(Script::new("sealed-removals", small(), sealed.clone()).after(before.clone()));
    before.extend(sealed);
    all.push(Script::new("sealed-whole", small(), before));
    let kept = Retention { checkpoints: 2, decisions: Some(3), ..Retention::default() };
    let config = PersistentLogConfig { retention: kept, ..small() };
    all.push(Script::new("kept", config, times(4, &[Many(3, 4_000), Whole(1, 90), Checkpoint(1, 3_000)])));
}

/// Chunks, manifests, what is published, forgotten, written again.
fn checkpoints(all: &mut Vec<Script>) {
    all.push(Script::new("checkpoints", small(), times(4, &[Whole(1, 60), Checkpoint(0, 12_000)])));
    all.push(Script::new("checkpoints-held", small(), times(4, &[Many(3, 60), Checkpoint(1, 9_000)])).holding());
    all.push(Script::new("checkpoints-frugal", frugal(), times(4, &[Whole(2, 60), Checkpoint(0, 12_000)])));
    // Packs of an earlier process are rewritten when most of them is dead.
    let rewritten = [Whole(1, 60), Checkpoint(0, 16_000), Reopen { close: true }, Decide(1, 90)];
    all.push(Script::new("packs", frugal(), times(4, &rewritten)));
    let rewritten = [Whole(1, 60), Checkpoint(0, 14_000), Decide(1, 60), Checkpoint(0, 14_000), Reopen { close: true }];
    all.push(Script::new("packs-moved", frugal(), times(3, &rewritten)));
    let rewritten = [Whole(2, 60), Checkpoint(0, 6_000), Reopen { close: false }];
    all.push(Script::new("packs-late", frugal(), times(2, &rewritten)).after(times(2, &rewritten)));
    all.push(Script::new("packs-large", frugal(), times(3, &[Many(4, 60), Checkpoint(0, 90_000)])));
    let jumps = [Decide(2, 60), Ahead(2), Jump(3, 5_000), Whole(1, 60), Install(60, 1, Then::Leave), Ahead(1)];
    all.push(Script::new("jumps", small(), times(3, &jumps)));
    all.push(Script::new("jumps-frugal", frugal(), times(3, &jumps)).holding());
    // A state that was there before is there again.
    let again = [Many(4, 60), Checkpoint(0, 8_000), Truncate(0), Checkpoint(0, 8_000), Checkpoint(0, 9_000)];
    all.push(Script::new("checkpoint-again", small(), times(2, &again)));
}

/// Another replica's checkpoint comes over.
fn transfers(all: &mut Vec<Script>) {
    let install = |seq_no, count, then| Install(seq_no, count, then);
    let mut gap = vec![Whole(2, 60), install(9, 2, Then::Leave), Whole(1, 90), GoOn, Whole(1, 60)];
    gap.extend([install(30, ALL, Then::Finish), Decide(2, 80), Checkpoint(0, 14_000)]);
    all.push(Script::new("transfer", small(), gap.clone()));
    all.push(Script::new("transfer-held", small(), gap).holding());
    // No gap: the decisions are there already; and one that comes while far later ones are here.
    let steps =
        vec![install(9, ALL, Then::Finish), Whole(1, 60), Truncate(1), Ahead(30), install(30, ALL, Then::Finish)];
    all.push(Script::new("transfer-late", small(), steps).after(vec![Decide(12, 40)]));
    let steps = vec![Ahead(40), Ahead(0), install(30, ALL, Then::Finish), Fill, Whole(1, 50)];
    all.push(Script::new("transfer-behind", small(), steps));
    let steps = vec![
        Whole(1, 60),
        Checkpoint(0, 14_000),
        install(30, 3, Then::Abandon),
        install(30, 1, Then::Leave),
        Reopen { close: true },
        install(60, ALL, Then::Leave),
        Decide(1, 60),
        Checkpoint(0, 9_000),
        GoOn,
        Decide(1, 60),
        Checkpoint(0, 14_000),
    ];
    all.push(Script::new("transfer-interrupted", frugal(), steps));
}

/// Disks that fill up, and disks that fail.
fn full(all: &mut Vec<Script>) {
    let setup = vec![Whole(2, 300), Member, Checkpoint(0, 9_000)];
    let filling = [Decide(1, 12_000), Safety, Checkpoint(0, 14_000), Many(3, 4_000), Message(900)];
    let mut steps = vec![Room(Some(30_000))];
    steps.extend(times(6, &filling));
    steps.extend([Compact(0), Truncate(1), Invalidate(0), Safety, Again, Install(60, ALL, Then::Finish), Room(None)]);
    steps.extend([Again, Whole(1, 90), Many(2, 900), Checkpoint(0, 9_000), Compact(0), Safety, Fill]);
    let never = policy(SyncPolicy::Never);
    for (name, config, held) in [
        ("full", small(), false),
        ("full-held", small(), true),
        ("full-never", never.clone(), true),
        ("full-frugal", frugal(), false),
    ] {
        let mut script = Script::new(name, config, steps.clone()).after(setup.clone());
        (script.full, script.held) = (true, held);
        all.push(script);
    }
    let mixed = vec![
        Whole(1, 300),
        Many(2, 9_500),
        Checkpoint(0, 9_000),
        Invalidate(0),
        Decide(3, 19_000),
        Checkpoint(0, 9_000),
        Message(90),
        Compact(0),
        Safety,
        Checkpoint(0, 9_000),
        Again,
    ];
    let twice = [Whole(1, 90), Checkpoint(0, 14_000), Whole(1, 90), Checkpoint(0, 14_000), Reopen { close: true }];
    let packs = times(3, &twice);
    let transfer = vec![
        Whole(1, 300),
        Install(30, 2, Then::Leave),
        GoOn,
        GoOn,
        Reopen { close: true },
        GoOn,
        Whole(1, 300),
        Install(60, ALL, Then::Finish),
        Safety,
    ];
    let swept = [
        ("swept", small(), mixed.clone()),
        ("swept-never", never, mixed),
        ("swept-packs", frugal(), packs),
        ("swept-transfer", frugal(), transfer),
    ];
    for (name, config, steps) in swept {
        let mut script = Script::new(name, config, steps);
        script.sweep = true;
        all.push(script);
    }
}

/// Workloads that chance made.
pub const RANDOM: u64 = 12;

/// Settings and actions by a seed.
pub fn random(seed: u64) -> Script {
    let mut generator = Generator::new(seed);
    let mut below = |bound: u64| generator.below(bound);
    let lazy = SyncPolicy::Interval(SECOND);
    let mut config = [small(), frugal(), policy(SyncPolicy::Never), policy(lazy)][below(4) as usize].clone();
    config.cache_size = [0, 600, 1 << 20][below(3) as usize];
    config.compression = [CompressionOptions::None, CompressionOptions::Lz4][below(2) as usize];
    let mut actions = Vec::new();
    for _ in 0..14 + below(12) {
        let bytes = [10, 400, 3_000, 12_000][below(4) as usize] + below(60) as usize;
        actions.push(match below(24) {
            0..=2 => Decide(1 + below(3), bytes),
            3 | 4 => Whole(1 + below(2), bytes),
            5 => Many(1 + below(4), bytes / 3),
            6 => [Ahead(1 + below(3)), Jump(below(4), 3_000)][below(2) as usize],
            7 | 8 => Fill,
            9 => [Again, Other][below(2) as usize],
            10 => [Message(bytes / 4), Early(40)][below(2) as usize],
            11 => Safety,
            12 => [Member, Recovery(below(3)), Proof][below(3) as usize],
            13 => Invalidate(below(3)),
            14 => Truncate(below(3)),
            15..=17 => Checkpoint(below(2), 2_000 + bytes),
            18 | 19 => Compact(below(3)),
            20 => Install([30, 60][below(2) as usize], 1 + below(4) as usize, Then::Leave),
            21 => [GoOn, Install(30, ALL, Then::Finish), Install(60, 2, Then::Abandon)][below(3) as usize],
            22 => [Sync, Pass(SECOND * 2)][below(2) as usize],
            _ => Reopen { close: below(2) == 0 },
        });
    }
    let script = Script::new(format!("random-{seed}"), config, actions);
    if seed.is_multiple_of(2) { script.holding() } else { script }
}
