//! The columns' encodings together: what goes in comes back, whatever it is; noise makes no panic; how short and how fast.

use proptest::prelude::*;

use super::summary::STALE;
use super::*;

const EFFORTS: [Effort; 2] = [Effort::Seal, Effort::Merge];

fn bits(all: &[f64]) -> Vec<u64> {
    all.iter().map(|value| value.to_bits()).collect()
}

/// Encodes and decodes with either effort; the shorter bytes.
fn there_and_back(all: &[f64]) -> Vec<u8> {
    let packed = EFFORTS.map(|effort| {
        let mut out = vec![0xaa];
        put_values(&mut out, all, effort);
        let packed = out.split_off(1);
        assert_eq!(out, [0xaa], "what stood there stays");
        put_values(&mut out, all, effort);
        assert!(out[1..] == packed, "the same bytes each time");
        let back = values(&packed, all.len()).map(|back| bits(&back));
        assert!(back == Some(bits(all)), "encoding {:?}", &packed[..packed.len().min(12)]);
        let counted = values(&packed, all.len() + 1).is_none_or(|back| back.len() == all.len() + 1);
        assert!(counted, "encoding {}", packed[0]);
        packed
    });
    packed.into_iter().min_by_key(Vec::len).unwrap()
}

fn times_there_and_back(all: &[i64]) -> Vec<u8> {
    let packed = EFFORTS.map(|effort| {
        let mut packed = Vec::new();
        put_times(&mut packed, all, effort);
        assert!(times(&packed, all.len()).as_deref() == Some(all), "encoding {:?}", &packed[..packed.len().min(12)]);
        packed
    });
    packed.into_iter().min_by_key(Vec::len).unwrap()
}

/// Noise that is the same on each run.
pub(super) struct Noise(pub(super) u64);

impl Noise {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 11) % bound as u64) as usize
    }

    /// In 0..1.
    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normally distributed (Box and Muller).
    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.part()).ln()).sqrt() * (std::f64::consts::TAU * self.part()).cos()
    }
}

/// The values that a codec is likely to lose.
const SPECIAL: [u64; 14] = [
    0,
    1 << 63,
    1,
    0x800f_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    STALE,
    0x7ff8_0000_0000_0001,
    0x7ff4_dead_beef_0000,
    0xffff_ffff_ffff_ffff,
    0x7fef_ffff_ffff_ffff,
    0xffef_ffff_ffff_ffff,
    0x43e0_0000_0000_0000,
    0x4340_0000_0000_0000,
];

/// Blocks of many shapes.
fn shapes() -> impl Strategy<Value = Vec<f64>> {
    let count = 0usize..700;
    let one = (0u8..12, any::<u64>(), count, 0u32..=15);
    one.prop_map(|(shape, seed, count, digits)| shape_of(shape, seed, count, digits))
}

fn shape_of(shape: u8, seed: u64, count: usize, digits: u32) -> Vec<f64> {
    let mut noise = Noise(seed | 1);
    let power = 10f64.powi(digits as i32);
    let start = noise.normal() * 1e3;
    let mut level = start;
    let each = |at: usize| -> f64 {
        let step = noise.normal();
        match shape {
            0 => start,
            1 => (start * power).round() / power + at as f64,
            2 => (noise.normal() * 100.0 * power).round() / power,
            3 | 4 => {
                level += step;
                if shape == 3 { (level * power).round() / power } else { level }
            }
            5 => f64::from_bits(noise.next()),
            6 => f64::from_bits(SPECIAL[noise.below(SPECIAL.len())]),
            7 if noise.below(10) == 0 => f64::from_bits(SPECIAL[noise.below(SPECIAL.len())]),
            7 | 8 => {
                level += if noise.below(8) == 0 { (step * 8.0).round() } else { 0.0 };
                level.round() * if shape == 7 { 1.0 } else { 4096.0 }
            }
            // What averages of decimals look like.
            9 => ((step * 1e3).round() / 1e3 + 41.0) / 3.0 * 3.0,
            10 => f64::from((level + step) as f32),
            _ => (noise.next() >> noise.below(64)) as f64 * if digits.is_multiple_of(2) { 1.0 } else { -1.0 },
        }
    };
    (0..count).map(each).collect()
}

fn time_shape(shape: u8, seed: u64, count: usize) -> Vec<i64> {
    let mut noise = Noise(seed | 1);
    let unit = [1, 1_000, 1_000_000, 1_000_000_000][noise.below(4)];
    let step = (1 + noise.below(100_000) as i64) * unit;
    let mut time = 1_700_000_000_000_000_000 / unit * unit;
    let each = |_: usize| {
        time = match shape {
            0 => time + step,
            1 if noise.below(50) == 0 => time + step * 7,
            1 => time + step,
            2 => time + step + noise.below(9) as i64 * unit,
            3 => noise.next() as i64,
            4 => [i64::MIN, i64::MAX, 0, -1, 1][noise.below(5)],
            _ => time.wrapping_add(noise.normal() as i64 * step),
        };
        time
    };
    (0..count).map(each).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_block_comes_back(all in shapes()) {
        there_and_back(&all);
    }

    #[test]
    fn any_times_come_back(shape in 0u8..6, seed: u64, count in 0usize..700) {
        times_there_and_back(&time_shape(shape, seed, count));
    }

    #[test]
    fn any_short_list_comes_back(all in prop::collection::vec(any::<u64>(), 0..6), numbers in prop::collection::vec(any::<i64>(), 0..6)) {
        there_and_back(&all.iter().map(|bits| f64::from_bits(*bits)).collect::<Vec<_>>());
        times_there_and_back(&numbers);
    }

    #[test]
    fn a_mixture_comes_back(parts in prop::collection::vec((0u8..12, any::<u64>(), 0usize..120, 0u32..7), 1..5)) {
        let all: Vec<f64> = parts.into_iter().flat_map(|(shape, seed, count, digits)| shape_of(shape, seed, count, digits)).collect();
        there_and_back(&all);
    }
}

#[test]
fn large_blocks_come_back() {
    for shape in 0..12 {
        there_and_back(&shape_of(shape, 7, 65_536, 2));
        times_there_and_back(&time_shape(shape % 6, 7, 65_536));
    }
}

#[test]
fn steady_columns_are_short() {
    assert_eq!(there_and_back(&[f64::from_bits(STALE); 4096]).len(), 9);
    let fixed: Vec<i64> = (0..4096).map(|at| 1_700_000_000_123_000_000 + at * 15_000_000_000).collect();
    assert!(times_there_and_back(&fixed).len() <= 16);
    let counter: Vec<f64> = (0..4096).map(|at| f64::from(at * 250)).collect();
    assert!(there_and_back(&counter).len() <= 10);
    let mut ended: Vec<f64> = (0..240).map(|at| f64::from(at % 16) / 4.0).collect();
    ended.push(f64::from_bits(STALE));
    assert!(there_and_back(&ended).len() <= 240 / 2 + 24, "a stale marker spoils no decimals");
    let seldom: Vec<f64> = (0..4096).map(|at| f64::from(at / 400) * 1.1).collect();
    assert!(there_and_back(&seldom).len() < 80);
}

/// FORMAT.md shows these bytes: whoever changes the layout, or takes a `pco` that writes other bytes, has to change the page.
#[test]
fn the_page_shows_these_bytes() {
    let page = include_str!("../../../FORMAT.md");
    let mut noise = Noise(1);
    let rough: Vec<f64> =
        (0..48).map(|_| f64::from(noise.below(4) as u8 * 50) + f64::from(noise.below(2) as u8)).collect();
    let runs = [[2.5; 20], [3.5; 20], [f64::from_bits(STALE); 20]].concat();
    let moved = [41.362, 41.361_999_999_999_995, f64::NEG_INFINITY, 44.508];
    let columns: [(&str, &[f64]); 4] =
        [("constant", &[0.5; 9]), ("runs", &runs), ("decimals", &moved), ("chunk", &rough)];
    let mut samples: Vec<(&str, Vec<u8>)> = Vec::new();
    for (name, all) in columns {
        let mut packed = Vec::new();
        put_values(&mut packed, all, Effort::Seal);
        assert_eq!(values(&packed, all.len()).map(|back| bits(&back)), Some(bits(all)));
        samples.push((name, packed));
    }
    let mut packed = Vec::new();
    let late: Vec<i64> =
        (0..100).map(|at| 1_700_000_000_000_000_000 + (at * 15 + at / 60 * 60) * 1_000_000_000).collect();
    put_times(&mut packed, &late, Effort::Seal);
    assert_eq!(times(&packed, late.len()), Some(late));
    samples.push(("times", packed));
    for (name, bytes) in samples {
        let line = |(number, bytes): (usize, &[u8])| {
            let words: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{:04x}: {}\n", number * 16, words.join(" "))
        };
        let drawn: String = bytes.chunks(16).enumerate().map(line).collect();
        let sample = format!("```hex {name} {}\n{drawn}```", bytes.len());
        assert!(page.contains(&sample), "FORMAT.md should show:\n{sample}");
    }
}

/// Each encoding of each shape, changed here and there: other values or none, and no panic. What comes back is as many values as
/// were asked for.
#[test]
fn noise_makes_no_panic() {
    let turns = std::env::var("DURAMEN_NOISE_TURNS").ok().and_then(|turns| turns.parse().ok()).unwrap_or(100_000);
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let mut seeds = Vec::new();
    for shape in 0..12 {
        for (count, effort) in [(40, Effort::Seal), (300, Effort::Merge), (600, Effort::Seal)] {
            let mut packed = Vec::new();
            put_values(&mut packed, &shape_of(shape, 3, count, 2), effort);
            seeds.push((false, count, packed));
            let mut packed = Vec::new();
            put_times(&mut packed, &time_shape(shape % 6, 3, count), effort);
            seeds.push((true, count, packed));
        }
    }
    let heads: [&[u8]; 8] =
        [&[4], &[3, 2, 0, 5, 0], &[3, 2, 0, 6, 0], &[3, 2, 0, 7, 0], &[3, 2, 0, 4, 0], &[5], &[2, 40, 9], &[]];
    for turn in 0..turns {
        let (of_times, count, seed) = &seeds[turn % seeds.len()];
        let mut input = seed.clone();
        if turn % 5 == 0 {
            input = heads[noise.below(heads.len())].to_vec();
            input.extend((0..noise.below(200)).map(|_| 0u8));
            let density = noise.below(4);
            input
                .iter_mut()
                .skip(1)
                .for_each(|byte| *byte = if noise.below(4) <= density { noise.next() as u8 } else { 0 });
        }
        for _ in 0..noise.below(6) {
            // The heads are where it hurts.
            let bound = if noise.below(2) == 0 { input.len() } else { input.len().min(24) };
            let at = noise.below(bound.max(1));
            match noise.below(4) {
                _ if input.is_empty() => input.push(noise.next() as u8),
                0 => input[at] = noise.next() as u8,
                1 => input[at] ^= 1 << noise.below(8),
                2 if noise.below(4) == 0 => input.truncate(at),
                _ => input.insert(at, noise.next() as u8),
            }
        }
        let count = if noise.below(4) == 0 { noise.below(1_000) } else { *count };
        if *of_times {
            assert!(times(&input, count).is_none_or(|all| all.len() == count));
        } else {
            assert!(values(&input, count).is_none_or(|all| all.len() == count));
        }
    }
}

#[test]
fn what_is_cut_is_none() {
    for shape in 0..12 {
        for effort in EFFORTS {
            let all = shape_of(shape, 5, 130, 3);
            let mut packed = Vec::new();
            put_values(&mut packed, &all, effort);
            for end in 0..packed.len() {
                assert_eq!(values(&packed[..end], all.len()), None, "encoding {} cut at {end}", packed[0]);
            }
            let all = time_shape(shape % 6, 5, 130);
            let mut packed = Vec::new();
            put_times(&mut packed, &all, effort);
            for end in 0..packed.len() {
                assert_eq!(times(&packed[..end], all.len()), None, "encoding {} cut at {end}", packed[1]);
            }
        }
    }
}

/// Figures, from a folder of NAB's series (`DURAMEN_NAB`): `cargo test --release -p duramen-store -- --ignored --nocapture
/// samples_measured`.
#[allow(clippy::disallowed_methods, reason = "figures need a clock and the files that are measured")]
mod measured {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::Instant;

    use super::*;

    struct Series {
        name: String,
        times: Vec<i64>,
        values: Vec<f64>,
    }

    /// Seconds since 1970 of `2014-02-14 14:30:00`.
    fn seconds(text: &str) -> Option<i64> {
        let numbers: Vec<i64> = text.split(['-', ' ', ':']).map(|part| part.parse().ok()).collect::<Option<_>>()?;
        let [year, month, day, hour, minute, second] = numbers[..] else { return None };
        // Days of the civil calendar, counted from March.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
        Some(((days * 24 + hour) * 60 + minute) * 60 + second)
    }

    fn series(folder: &Path) -> Vec<Series> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                all.extend(series(&entry));
            } else if entry.extension().is_some_and(|extension| extension == "csv") {
                let text = std::fs::read_to_string(&entry).unwrap();
                let name = entry.file_stem().unwrap().to_string_lossy().into_owned();
                let mut one = Series { name, times: Vec::new(), values: Vec::new() };
                for line in text.lines().skip(1) {
                    let (time, value) = line.split_once(',').unwrap();
                    one.times.push(seconds(time.split('.').next().unwrap()).unwrap() * 1_000_000_000);
                    one.values.push(value.parse().unwrap());
                }
                all.push(one);
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn walks() -> Vec<Series> {
        let mut noise = Noise(42);
        let each = |number: usize| {
            let mut level = noise.part() * 100.0;
            let mut step = || {
                level += noise.normal();
                (level * 100.0).round() / 100.0
            };
            let values = (0..1000).map(|_| step()).collect();
            let times = (0..1000).map(|at| 1_700_000_000_000_000_000 + at * 15_000_000_000).collect();
            Series { name: format!("walk {number}"), times, values }
        };
        (0..1000).map(each).collect()
    }

    fn steady() -> Vec<Series> {
        let mut noise = Noise(43);
        let each = |number: usize| {
            let mut level = 1000.0;
            let mut step = || {
                level += if noise.below(20) == 0 { noise.below(40) as f64 } else { 0.0 };
                level
            };
            let values = (0..8192).map(|_| step()).collect();
            let times = (0..8192).map(|at| 1_700_000_000_000_000_000 + at * 15_000_000_000).collect();
            Series { name: format!("steady {number}"), times, values }
        };
        (0..50).map(each).collect()
    }

    fn floats() -> Vec<Series> {
        let mut noise = Noise(44);
        let each = |number: usize| {
            let values = (0..4096).map(|at| (f64::from(at) / 100.0).sin() + noise.normal() / 1000.0).collect();
            let times = (0..4096)
                .map(|at| 1_700_000_000_000_000_000 + at * 1_000_000_000 + noise.below(3_000_000) as i64)
                .collect();
            Series { name: format!("floats {number}"), times, values }
        };
        (0..50).map(each).collect()
    }

    fn measure(what: &str, all: &[Series], block: usize, effort: Effort) {
        let samples: usize = all.iter().map(|series| series.values.len()).sum();
        let (mut of_values, mut of_times, mut kinds) = (0, 0, BTreeMap::<String, (usize, usize)>::new());
        let [mut put, mut got, mut put_t, mut got_t] = [0.0; 4];
        for series in all {
            let mut sum = 0;
            for (values, times) in series.values.chunks(block).zip(series.times.chunks(block)) {
                let (mut packed, mut packed_times) = (Vec::new(), Vec::new());
                let started = Instant::now();
                put_values(&mut packed, values, effort);
                put += started.elapsed().as_secs_f64();
                let started = Instant::now();
                put_times(&mut packed_times, times, effort);
                put_t += started.elapsed().as_secs_f64();
                let started = Instant::now();
                let back = super::super::values(&packed, values.len()).unwrap();
                got += started.elapsed().as_secs_f64();
                assert_eq!(bits(&back), bits(values));
                let started = Instant::now();
                let back = super::super::times(&packed_times, times.len()).unwrap();
                got_t += started.elapsed().as_secs_f64();
                assert_eq!(back, times);
                of_values += packed.len();
                of_times += packed_times.len();
                sum += packed.len();
                let kind = if packed[0] == 3 {
                    format!("3{}", if packed[1] & 0x80 != 0 { "+" } else { "" })
                } else {
                    packed[0].to_string()
                };
                let kind = kinds.entry(kind).or_default();
                *kind = (kind.0 + 1, kind.1 + packed.len());
            }
            if std::env::var("DURAMEN_EACH").is_ok() {
                println!("    {:50} {:.3}", series.name, sum as f64 / series.values.len() as f64);
            }
        }
        let each = |bytes: usize| bytes as f64 / samples as f64;
        let speed = |seconds: f64| samples as f64 / seconds / 1e6;
        println!(
            "{what:7} {block:5} {effort:?}: {:.3} B a value, {:.4} B a time, {:.3} together; M/s values in {:.1} out {:.0}, times in {:.0} out {:.0}; {kinds:?}",
            each(of_values),
            each(of_times),
            each(of_values + of_times),
            speed(put),
            speed(got),
            speed(put_t),
            speed(got_t)
        );
    }

    #[test]
    #[ignore = "figures, not a verdict"]
    fn samples_measured() {
        let mut sets = vec![("walk", walks()), ("steady", steady()), ("floats", floats())];
        if let Some(folder) = std::env::var_os("DURAMEN_NAB") {
            sets.insert(0, ("nab", series(Path::new(&folder))));
        }
        for (what, all) in &sets {
            for block in [120, 240, 1024, 4096] {
                for effort in EFFORTS {
                    measure(what, all, block, effort);
                }
            }
        }
    }
}
