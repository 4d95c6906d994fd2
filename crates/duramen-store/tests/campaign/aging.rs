//! What becomes of samples later, in a workload: rules make series of them, or they are dropped when they are old. Owns when the
//! samples of a batch are, and what of all that may be there after a crash.
//!
//! Where rules are in force, the samples of batch `n` are all in the window of second `n`, and no clock of a workload is ahead of the
//! batches: so a window is made of one batch, as a whole, or not yet.

use std::collections::BTreeMap;
use std::time::Duration;

use duramen_store::{DOWNSAMPLE_LABEL, Downsampling, Matcher, Operator, Selector, SeriesSamples, Statistic};

use crate::script::Action::{self, Flush, Leave, Pass, Reopen, Wait};
use crate::script::{Script, samples};

const START: i64 = 1_700_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;
pub const DAY_MILLISECONDS: u64 = 86_400_000;
const DAY: i64 = DAY_MILLISECONDS as i64 * 1_000_000;
/// What is older is dropped.
const KEPT_DAYS: i64 = 50;
/// Samples that will be dropped are so much older than the others: not too old yet.
const OLDER: i64 = 45 * DAY;

/// What becomes of samples later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    /// Nothing.
    Stay,
    /// Series of seconds are made of them.
    Downsampled,
    /// Two series of three are dropped when the clock goes on by forty days.
    Dropped,
}

impl Later {
    /// The time of a batch's sample.
    pub fn time(self, batch: usize, at: usize) -> i64 {
        match self {
            Later::Downsampled => START + batch as i64 * SECOND + at as i64 + 1,
            Later::Dropped if !at.is_multiple_of(3) => START - OLDER + (batch * 1_000 + at) as i64,
            Later::Stay | Later::Dropped => START + (batch * 1_000 + at) as i64,
        }
    }

    pub fn rules(self) -> Vec<Downsampling> {
        let matchers = vec![Matcher::new("core", Operator::Matches, "0|1|2").expect("a matcher")];
        let (step, delay) = (Duration::from_secs(1), Duration::from_secs(1));
        let rule = Downsampling { selector: Selector { matchers }, step, delay, statistics: Statistic::ALL.to_vec() };
        if self == Later::Downsampled { vec![rule] } else { Vec::new() }
    }

    pub fn retention_age(self) -> Option<Duration> {
        (self == Later::Dropped).then_some(Duration::from_millis(KEPT_DAYS as u64 * DAY_MILLISECONDS))
    }
}

/// Windows are made beside appends, in memory and in tables; not more than a second passes for a batch.
pub const WINDOWS: [Action; 17] = [
    Wait(7),
    Leave(4),
    Pass(1_600),
    Wait(3),
    Pass(900),
    Flush,
    Leave(9),
    Wait(1),
    Pass(1_900),
    Reopen,
    Wait(6),
    Flush,
    Pass(900),
    Leave(2),
    Wait(5),
    Pass(1_900),
    Flush,
];

/// Samples of which many are dropped: the journal has given them up when the clock goes on.
pub fn dropped(many: &[Action]) -> Vec<Action> {
    let (first, rest) = (&many[..12], &many[..24]);
    let age = [Flush, Pass(40 * DAY_MILLISECONDS)];
    [first, &age, rest, &[Flush, Pass(1_000), Wait(3)]].concat()
}

/// Of what was told, what was dropped need not be there.
pub fn forget_dropped(told: &mut BTreeMap<String, BTreeMap<i64, u64>>, found: &BTreeMap<String, BTreeMap<i64, u64>>) {
    for (name, own) in told.iter_mut() {
        own.retain(|time, _| *time >= START - DAY || found.get(name).is_some_and(|found| found.contains_key(time)));
    }
    told.retain(|_, own| !own.is_empty());
}

/// What rules made is of batches that are there, each window as a whole, with the right values; and those up to a batch are made. Batches
/// are told with how many rows they have.
pub fn check_made(
    script: &Script,
    made: &[SeriesSamples],
    served: &[(usize, usize)],
    upto: usize,
) -> Result<(), String> {
    let mut expected: BTreeMap<(usize, String, String), f64> = BTreeMap::new();
    let mut found: BTreeMap<(usize, String, String), f64> = BTreeMap::new();
    for own in made {
        let label = |name| own.labels.get(name).unwrap_or("").to_string();
        for sample in &own.samples {
            let batch = (sample.time - START) / SECOND - 1;
            found.insert((batch as usize, label("core"), label(DOWNSAMPLE_LABEL)), sample.value);
        }
    }
    for &(batch, count) in served {
        let any = found.range((batch, String::new(), String::new())..).next().is_some_and(|(key, _)| key.0 == batch);
        if !any && batch > upto {
            continue;
        }
        for (core, statistic, value) in statistics(&samples(script, batch, count)) {
            expected.insert((batch, core.to_string(), statistic.word().to_string()), value);
        }
    }
    let bits = |all: &BTreeMap<(usize, String, String), f64>| -> Vec<_> {
        all.iter().map(|(key, value)| (key.clone(), value.to_bits())).collect()
    };
    if bits(&expected) == bits(&found) {
        return Ok(());
    }
    Err(format!("windows of batches {served:?}, made up to {upto}: found {found:?}, and should be {expected:?}"))
}

/// What a window of these samples comes to: series, statistic, value.
fn statistics(all: &[(usize, i64, f64)]) -> Vec<(usize, Statistic, f64)> {
    let mut told = Vec::new();
    for core in 0..3 {
        let values: Vec<f64> = all.iter().filter(|own| own.0 == core).map(|own| own.2).collect();
        let Some(&last) = values.last() else { continue };
        let sum: f64 = values.iter().sum();
        for statistic in Statistic::ALL {
            let value = match statistic {
                Statistic::Mean => sum / values.len() as f64,
                Statistic::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
                Statistic::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                Statistic::Last => last,
                Statistic::Count => values.len() as f64,
            };
            told.push((core, statistic, value));
        }
    }
    told
}
