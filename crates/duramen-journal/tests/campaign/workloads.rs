//! The workloads of the campaign. Owns the list; each is a script of a few lines.

use std::sync::Arc;
use std::time::Duration;

use duramen_journal::disk::SyncMethod;
use duramen_journal::disk::sim::Generator;
use duramen_journal::{Class, Codec, FreshPages, Options, SyncPolicy};

use crate::script::{Counting, Script, Step, Then, append, append_as, batch, one, reserved, small, times};

use Then::{Call, Drop, Hold, Wait, WaitWritten};

const SECOND: Duration = Duration::from_secs(1);

/// All of them.
pub fn all() -> Vec<Script> {
    let mut all = Vec::new();
    sizes(&mut all);
    policies(&mut all);
    commits(&mut all);
    stored(&mut all);
    rotations(&mut all);
    releases(&mut all);
    reopened(&mut all);
    full(&mut all);
    swept(&mut all);
    // Whatever nobody thought of.
    all.extend((1..=RANDOM).map(random));
    all
}

/// Workloads that chance made.
pub const RANDOM: u64 = 26;

/// Options and steps by a seed: every kind of step, in any order that makes sense.
pub fn random(seed: u64) -> Script {
    let mut generator = Generator::new(seed);
    let mut below = |bound: u64| generator.below(bound);
    let policies = [
        SyncPolicy::Always,
        SyncPolicy::Never,
        SyncPolicy::Interval(SECOND),
        SyncPolicy::Batch { records: 5, interval: SECOND },
    ];
    let options = Options {
        policy: policies[below(4) as usize],
        codec: [Codec::None, Codec::None, Codec::Lz4][below(3) as usize],
        fresh_pages: [FreshPages::Never, FreshPages::Never, FreshPages::Always][below(3) as usize],
        sync_method: Some([SyncMethod::DataSync, SyncMethod::DataSync, SyncMethod::WriteSync][below(3) as usize]),
        spares_max: below(3) as u8,
        segment_records_max: [3, 7, 1 << 20][below(3) as usize],
        ..small()
    };
    let mut steps = Vec::new();
    for _ in 0..10 + below(8) {
        let bytes = [0, 30, 440, 700, 4_000, 9_000, 15_000][below(7) as usize] + below(60) as u32;
        let shape = if below(3) == 0 { batch(2 + below(2) as u32, bytes.min(4_000), 2) } else { one(bytes) };
        let then = [Wait, Drop, Drop, Hold, WaitWritten][below(5) as usize];
        let class =
            [Class::Policy, Class::Policy, Class::Now, Class::Within(SECOND), Class::OnFlush][below(5) as usize];
        steps.push(match below(16) {
            0..=7 => append_as(shape, class, then),
            8 => Step::Flush,
            9 => Step::Sync,
            10 => Step::WaitAll,
            11 => Step::ReleaseBut(below(4)),
            12 => Step::Pass(SECOND * (1 + below(12) as u32)),
            13 => Step::Policy(policies[below(4) as usize]),
            14 => Step::Flush,
            _ => [Step::Close, Step::Drop][below(2) as usize].clone(),
        });
        if matches!(steps.last(), Some(Step::Close | Step::Drop)) {
            steps.push(Step::Open(0));
        }
    }
    let mut script = Script::new(format!("random-{seed}"), options, steps);
    script.tear_pages = script.options[0].fresh_pages == FreshPages::Always;
    script
}

fn sizes(all: &mut Vec<Script>) {
    let sizes: [(&str, &[u32]); 8] = [
        ("empty-payloads", &[0, 0, 0, 1, 0]),
        ("one-byte", &[1, 1, 1, 1]),
        ("under-a-sector", &[511 - 84, 512 - 84, 513 - 84, 511]),
        ("a-sector-less-one", &[511, 511, 511]),
        ("to-the-page", &[4096 - 84, 4096 - 83, 4096 - 85]),
        ("a-page", &[4096, 4096, 1]),
        ("over-a-page", &[4097, 9000, 300]),
        ("half-a-segment", &[30_000, 10, 12_000]),
    ];
    for (name, bytes) in sizes {
        let steps = bytes.iter().map(|&bytes| append(one(bytes), Wait)).collect();
        all.push(Script::new(name, small(), steps));
    }
    all.push(Script::new("creation", small(), vec![Step::Open(0), append(one(100), Wait)]).without_setup().going_on());
    let steps = vec![Step::Open(0), append(one(100), Wait), Step::Close, Step::Open(0), append(one(9), Wait)];
    all.push(Script::new("creation-twice", small(), steps).without_setup());
}

fn policies(all: &mut Vec<Script>) {
    let never = Options { policy: SyncPolicy::Never, ..small() };
    let flushed = times(6, &[append(one(200), Drop), Step::Flush]);
    all.push(Script::new("never-flushed", never.clone(), flushed.clone()).going_on());
    all.push(Script::new("never-large", never.clone(), times(4, &[append(one(3_000), Drop), Step::Flush])));
    let mut synced = flushed;
    synced.extend([Step::Sync, append(one(20), Drop), Step::Flush, append(one(700), Hold), Step::Sync]);
    all.push(Script::new("never-then-sync", never.clone(), synced));
    let written = times(5, &[append(one(600), WaitWritten)]);
    all.push(Script::new("never-written", never.clone(), written));
    let mut asked = times(3, &[append(one(90), Hold)]);
    asked.extend([append_as(one(10), Class::Now, Wait), append(one(300), Hold), Step::Flush]);
    all.push(Script::new("never-asked-now", never, asked));
    let interval = Options { policy: SyncPolicy::Interval(SECOND), ..small() };
    let steps = times(3, &[append(one(400), Drop), Step::Flush, append(one(20), Drop), Step::Pass(2 * SECOND)]);
    all.push(Script::new("interval", interval.clone(), steps));
    let steps = vec![
        append_as(one(50), Class::Within(SECOND), Hold),
        append_as(one(60), Class::OnFlush, Hold),
        Step::Flush,
        Step::Pass(2 * SECOND),
        append_as(one(70), Class::OnFlush, Hold),
        append_as(one(80), Class::Now, Hold),
        Step::WaitAll,
    ];
    all.push(Script::new("classes", interval, steps));
    let batched = Options { policy: SyncPolicy::Batch { records: 4, interval: SECOND }, ..small() };
    let mut steps = times(10, &[append(one(130), Drop), Step::Flush]);
    steps.push(Step::Pass(2 * SECOND));
    all.push(Script::new("batch-policy", batched, steps));
    let steps = vec![
        append(one(10), Drop),
        Step::Flush,
        Step::Policy(SyncPolicy::Always),
        append(one(500), Wait),
        Step::Policy(SyncPolicy::Interval(SECOND)),
        append(one(600), Drop),
        Step::Flush,
        Step::Policy(SyncPolicy::Always),
    ];
    all.push(Script::new("policy-changed", Options { policy: SyncPolicy::Never, ..small() }, steps));
}

fn commits(all: &mut Vec<Script>) {
    let batches = [
        ("batch-of-two", batch(2, 100, 1)),
        ("batch-over-sectors", batch(3, 700, 2)),
        ("batch-of-many", batch(60, 30, 5)),
        ("batch-over-pages", batch(5, 3_000, 3)),
    ];
    for (name, shape) in batches {
        all.push(Script::new(name, small(), times(3, &[append(shape, Wait)])));
    }
    let never = Options { policy: SyncPolicy::Never, ..small() };
    all.push(Script::new("batches-unsynced", never, times(5, &[append(batch(3, 250, 3), Drop), Step::Flush])));
    let grouped =
        times(3, &[append(one(100), Hold), append(batch(2, 90, 2), Hold), append(one(800), Hold), Step::WaitAll]);
    all.push(Script::new("grouped", small(), grouped));
    let steps = times(4, &[append(one(100), Call), append(one(30), Call)]);
    all.push(Script::new("callbacks", small(), steps));
    all.push(Script::new("dropped-tickets", small(), times(6, &[append(one(333), Drop)])));
    all.push(Script::new("many-logs", small(), times(4, &[append(batch(12, 20, 12), Wait)])));
    all.push(Script::new("many-tiny-commits", small(), times(40, &[append(one(8), Wait)])));
    let mut steps = times(3, &[append(one(60), Wait), Step::Pass(11 * SECOND)]);
    steps.push(append(one(60), Wait));
    all.push(Script::new("idle-marks", small(), steps));
    for (name, method) in [("write-sync", SyncMethod::WriteSync), ("direct", SyncMethod::Direct)] {
        let options = Options { sync_method: Some(method), ..small() };
        let steps = times(3, &[append(one(100), Wait), append(one(3_000), Wait), append(batch(2, 900, 2), Wait)]);
        all.push(Script::new(name, options, steps));
    }
}

fn stored(all: &mut Vec<Script>) {
    for (name, codec) in [("lz4", Codec::Lz4), ("zstd", Codec::Zstd(1))] {
        let options = Options { codec, ..small() };
        let steps = times(2, &[append(one(20_000), Wait), append(batch(9, 1_500, 2), Wait), append(one(100), Wait)]);
        all.push(Script::new(name, options.clone(), steps));
        let options = Options { policy: SyncPolicy::Never, ..options };
        all.push(Script::new(
            format!("{name}-unsynced"),
            options,
            times(3, &[append(batch(9, 1_500, 2), Drop), Step::Flush]),
        ));
    }
    for (name, shape) in
        [("fresh-pages", one(300)), ("fresh-pages-large", one(5_000)), ("fresh-pages-batch", batch(3, 40, 2))]
    {
        let options = Options { fresh_pages: FreshPages::Always, ..small() };
        let mut script = Script::new(name, options, times(4, &[append(shape, Wait)]));
        script.tear_pages = true;
        all.push(script);
    }
    let options = Options { fresh_pages: FreshPages::Always, codec: Codec::Lz4, ..small() };
    let steps = times(6, &[append(one(9_000), Wait), append(one(10), Wait)]);
    let mut script = Script::new("edge", options, steps).after(times(3, &[append(one(9_000), Wait)]));
    script.tear_pages = true;
    all.push(script);
}

/// Fills most of the first segment.
fn nearly_full() -> Vec<Step> {
    let mut steps = vec![Step::Policy(SyncPolicy::Never)];
    steps.extend(times(4, &[append(one(8_500), Drop), Step::Flush]));
    steps.extend([Step::Sync, Step::Policy(SyncPolicy::Always)]);
    steps
}

fn rotations(all: &mut Vec<Script>) {
    let steps = times(3, &[append(one(6_000), Wait)]);
    all.push(Script::new("rotation", small(), steps.clone()).after(nearly_full()));
    let never = Options { policy: SyncPolicy::Never, ..small() };
    let steps = times(5, &[append(one(4_000), Drop), Step::Flush]);
    all.push(Script::new("rotation-unsynced", never.clone(), steps).after(nearly_full()));
    let options = Options { segment_records_max: 4, ..small() };
    all.push(Script::new("rotation-by-records", options.clone(), times(9, &[append(one(50), Wait)])));
    let options = Options { policy: SyncPolicy::Never, ..options };
    all.push(Script::new("rotations-unsynced", options, times(14, &[append(one(50), Drop), Step::Flush])).going_on());
    // The switch is torn off, and what was written behind it is not: each commit has a page of its own.
    let options = Options { fresh_pages: FreshPages::Always, segment_records_max: 3, ..never };
    let mut setup = times(3, &[append(one(100), Drop), Step::Flush]);
    setup.push(Step::Sync);
    let steps = times(3, &[append(one(100), Drop), Step::Flush]);
    all.push(Script::new("rotation-ghosts", options, steps).after(setup).going_on());
    // The same behind a clean close: what was made ahead is taken over then.
    let options =
        Options { fresh_pages: FreshPages::Always, segment_records_max: 3, policy: SyncPolicy::Never, ..small() };
    for (name, setup) in
        [("closed-ghosts", Options::default().fresh_pages), ("closed-ghosts-paged", FreshPages::Always)]
    {
        let options = Options { fresh_pages: setup, ..options.clone() };
        let mut setup = times(3, &[append(one(100), Drop), Step::Flush]);
        setup.extend([Step::Close, Step::Open(0)]);
        let bytes = if options.fresh_pages == FreshPages::Always { 100 } else { 4_012 };
        let steps = times(3, &[append(one(bytes), Drop), Step::Flush]);
        all.push(Script::new(name, options, steps).after(setup).going_on());
    }
    all.push(Script::new("rotations", small(), times(14, &[append(one(14_000), Wait)])));
    for left in [0, 200, 4_000] {
        let mut steps = nearly_full();
        steps.extend([Step::Fill { left }, Step::WaitAll]);
        let tail = vec![append(one(0), Wait), append(one(900), Wait), append(one(5_000), Wait)];
        all.push(Script::new(format!("to-the-end-less-{left}"), small(), tail).after(steps));
    }
    let options = Options { codec: Codec::Lz4, ..small() };
    all.push(Script::new("rotation-lz4", options, times(8, &[append(batch(5, 5_500, 2), Wait)])));
    let options = Options { sync_method: Some(SyncMethod::WriteSync), ..small() };
    let steps = times(3, &[append(one(6_000), Wait)]);
    all.push(Script::new("rotation-write-sync", options, steps).after(nearly_full()));
    let options = Options { observer: Some(Arc::new(Counting)), summary_bytes_max: 64, ..small() };
    let steps = times(4, &[append(one(6_000), Wait)]);
    all.push(Script::new("checkpoints", options.clone(), steps).after(nearly_full()));
    let options = Options { segment_records_max: 3, ..options };
    all.push(Script::new("summaries", options, times(8, &[append(batch(2, 80, 2), Wait)])));
}

fn releases(all: &mut Vec<Script>) {
    for spares in [0, 1, 2] {
        let options = Options { spares_max: spares, segment_records_max: 3, ..small() };
        let mut steps = times(4, &[append(one(500), Wait)]);
        steps.push(Step::ReleaseBut(2));
        let steps = times(3, &steps);
        let setup = times(4, &[append(one(500), Wait)]);
        all.push(Script::new(format!("release-{spares}-spares"), options, steps).after(setup));
    }
    let steps = times(2, &[append(one(14_000), Wait), Step::ReleaseBut(1), append(one(9_000), Wait)]);
    let options = Options { spares_max: 1, ..small() };
    // The spare holds stale bytes all over.
    let mut setup = times(9, &[append(one(12_000), Wait)]);
    setup.extend([Step::ReleaseBut(1), append(one(100), Wait)]);
    all.push(Script::new("recycled", options.clone(), steps).after(setup.clone()));
    let steps = times(5, &[append(one(12_000), Drop), Step::Flush]);
    let never = Options { policy: SyncPolicy::Never, ..options.clone() };
    all.push(Script::new("recycled-unsynced", never, steps).after(setup));
    let options = Options { segment_records_max: 3, ..options };
    let steps = vec![
        Step::HoldReader,
        Step::ReleaseBut(1),
        append(one(700), Wait),
        append(one(700), Wait),
        append(one(700), Wait),
        Step::LetReaderGo,
        Step::Pass(SECOND),
        append(one(700), Wait),
    ];
    all.push(Script::new("release-beside-a-reader", options.clone(), steps).after(times(7, &[append(one(700), Wait)])));
    let steps = vec![Step::ReleaseBut(0), append(one(5), Wait), Step::ReleaseBut(0), Step::Close];
    all.push(Script::new("release-everything", options, steps).after(times(5, &[append(one(700), Wait)])));
}

fn reopened(all: &mut Vec<Script>) {
    let cycle = [append(one(300), Wait), Step::Close, Step::Open(0)];
    all.push(Script::new("close-and-open", small(), times(4, &cycle)));
    let cycle = [append(one(300), Drop), Step::Flush, Step::Drop, Step::Open(0), append(one(20), Drop), Step::Flush];
    all.push(Script::new("dropped-and-opened", Options { policy: SyncPolicy::Never, ..small() }, times(3, &cycle)));
    let others = [
        Options { segment_bytes: 128 << 10, ..small() },
        Options { codec: Codec::Lz4, ..small() },
        Options { fresh_pages: FreshPages::Always, spares_max: 1, ..small() },
    ];
    for (place, other) in others.into_iter().enumerate() {
        let mut cycle = vec![append(one(5_000), Wait), Step::Close, Step::Open(1), append(one(5_000), Wait)];
        cycle.extend([append(one(50), Wait), Step::Close, Step::Open(0), append(one(6_000), Wait)]);
        let name = ["other-segment-bytes", "other-codec", "other-pages"][place];
        let mut script = Script::new(name, small(), times(3, &cycle));
        script.options.push(other);
        all.push(script);
    }
}

fn full(all: &mut Vec<Script>) {
    let mut steps = vec![Step::Room(Some(0))];
    steps.extend(times(12, &[append(one(9_000), Wait)]));
    steps.extend(times(3, &[reserved(one(50), Wait)]));
    steps.extend([Step::ReleaseBut(1), append(one(9_000), Wait), append(one(30), Wait), Step::Close]);
    all.push(Script::new("full-disk", small(), steps).after(times(4, &[append(one(9_000), Wait)])));
    let mut steps = vec![Step::Room(Some(0))];
    steps.extend(times(9, &[append(one(12_000), Wait)]));
    steps.extend([Step::Room(None), append(one(12_000), Wait), Step::Room(Some(70_000)), append(one(12_000), Wait)]);
    steps.extend([Step::Close, Step::Open(0), append(one(12_000), Wait)]);
    all.push(Script::new("full-and-again-not", small(), steps).after(times(2, &[append(one(9_000), Wait)])));
    let mut script = Script::new(
        "small-disk",
        small(),
        vec![Step::Open(0), append(one(100), Wait), append(one(9_000), Wait), Step::Close, Step::Open(0)],
    )
    .without_setup();
    script.capacity = Some(100 << 10);
    all.push(script);
}

fn swept(all: &mut Vec<Script>) {
    let sweep = |mut script: Script| {
        script.sweep = true;
        script
    };
    let steps = vec![
        append(one(300), Wait),
        append(one(500), Call),
        append(batch(2, 900, 2), Hold),
        append(one(5_000), Hold),
        Step::WaitAll,
        append(one(10), Wait),
        append(one(20), Wait),
    ];
    all.push(sweep(Script::new("faults", small(), steps.clone())));
    let options = Options { sync_method: Some(SyncMethod::WriteSync), ..small() };
    all.push(sweep(Script::new("faults-write-sync", options, steps.clone())));
    let never = Options { policy: SyncPolicy::Never, ..small() };
    let unsynced = times(4, &[append(one(700), Drop), Step::Flush, append(one(90), Drop), Step::Sync]);
    all.push(sweep(Script::new("faults-unsynced", never, unsynced)));
    let steps = times(4, &[append(one(6_000), Wait), append(one(600), Call)]);
    all.push(sweep(Script::new("faults-in-rotation", small(), steps).after(nearly_full())));
    let options = Options { spares_max: 1, segment_records_max: 3, ..small() };
    let steps = times(3, &[append(one(500), Wait), append(one(500), Call), Step::ReleaseBut(2)]);
    all.push(sweep(Script::new("faults-in-release", options, steps).after(times(4, &[append(one(500), Wait)]))));
    let steps = vec![Step::Open(0), append(one(10), Wait), Step::Close, Step::Open(0), append(one(20), Wait)];
    all.push(sweep(Script::new("faults-in-creation", small(), steps).without_setup()));
}
