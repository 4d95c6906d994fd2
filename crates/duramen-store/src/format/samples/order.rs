//! How many times to take differences before packing, judged by a sample: the order whose differences need the fewest bits when
//! each bit is spent as their distribution says. Packing with each order to find out gains a thousandth more on NAB. Pure.

/// The highest that is weighed.
const ORDER_MAX: usize = 2;
/// Numbers that are looked at: all, or so many, in stretches.
const SAMPLE: usize = 256;
const STRETCH: usize = 64;
/// Neighbours in order of size over which the distribution's density is measured.
const NEIGHBOURS: usize = 4;
/// What the head of a page says beside, for each order: a number in full, in 256ths of a bit.
const HEAD: u64 = 32 << 8;

/// The order for numbers, whose differences wrap.
pub(super) fn order(numbers: &[u64]) -> usize {
    let stretches: Vec<&[u64]> = if numbers.len() <= SAMPLE {
        vec![numbers]
    } else {
        let apart = (numbers.len() - STRETCH) / (SAMPLE / STRETCH - 1);
        (0..SAMPLE / STRETCH).map(|at| &numbers[at * apart..at * apart + STRETCH]).collect()
    };
    let looked_at = numbers.len().min(SAMPLE) as u64;
    let mut differences: Vec<Vec<u64>> = stretches.iter().map(|stretch| stretch.to_vec()).collect();
    let mut best = (u64::MAX, 0);
    for order in 0..=ORDER_MAX {
        if order > 0 {
            for stretch in &mut differences {
                for at in (1..stretch.len()).rev() {
                    stretch[at] = stretch[at].wrapping_sub(stretch[at - 1]);
                }
                stretch.remove(0);
            }
        }
        // Signed differences in order of size.
        let middle = if order == 0 { 0 } else { 1 << 63 };
        let mut sorted: Vec<u64> = differences.iter().flatten().map(|number| number.wrapping_add(middle)).collect();
        sorted.sort_unstable();
        if sorted.is_empty() {
            break;
        }
        // As if as many had been looked at for each order.
        let bits = bits(&sorted) * looked_at / sorted.len() as u64;
        let cost = bits + order as u64 * HEAD * looked_at / numbers.len() as u64;
        best = best.min((cost, order));
    }
    best.1
}

/// Bits that sorted numbers need in all, in 256ths.
fn bits(sorted: &[u64]) -> u64 {
    let count = sorted.len();
    let all = logarithm(count as u64);
    let mut bits = 0;
    for run in sorted.chunk_by(|a, b| a == b) {
        // A value that comes often costs what its share says.
        if run.len() >= NEIGHBOURS {
            bits += run.len() as u64 * all.saturating_sub(logarithm(run.len() as u64));
        }
    }
    for at in 0..count {
        let from = at.saturating_sub(NEIGHBOURS / 2).min(count.saturating_sub(NEIGHBOURS + 1));
        let to = (from + NEIGHBOURS).min(count - 1);
        let often = count > NEIGHBOURS && run_length_at_least(sorted, at);
        if !often {
            let gap = sorted[to] - sorted[from];
            bits += all + logarithm(gap.saturating_add(1)) - logarithm((to - from + 1) as u64).min(all);
        }
    }
    bits
}

/// Whether a number stands at least as often as neighbours are looked at.
fn run_length_at_least(sorted: &[u64], at: usize) -> bool {
    let from = at.saturating_sub(NEIGHBOURS - 1);
    (from..=at).any(|from| {
        sorted.get(from + NEIGHBOURS - 1).is_some_and(|last| *last == sorted[at]) && sorted[from] == sorted[at]
    })
}

/// The logarithm to the base of two in 256ths, nearly; of 0 as of 1.
fn logarithm(number: u64) -> u64 {
    let number = number.max(1);
    let whole = u64::from(number.ilog2());
    let part = if whole >= 8 { number >> (whole - 8) } else { number << (8 - whole) };
    (whole << 8) + (part & 0xff)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Noise;
    use super::*;

    #[test]
    fn orders_are_told_apart() {
        let mut noise = Noise(5);
        let random: Vec<u64> = (0..1000).map(|_| noise.next() >> 50).collect();
        assert_eq!(order(&random), 0);
        let mut level = 1u64 << 40;
        let walk: Vec<u64> = (0..1000)
            .map(|_| {
                level = level + noise.next() % 100 - 50;
                level
            })
            .collect();
        assert_eq!(order(&walk), 1);
        let mut speed = 0u64;
        let curve: Vec<u64> = (0..1000)
            .map(|_| {
                speed = speed.wrapping_add(noise.next() % 10);
                level = level.wrapping_add(speed);
                level
            })
            .collect();
        assert_eq!(order(&curve), 2);
        let few: Vec<u64> = (0..1000).map(|_| [3, 900_000, 17_000_000_000][noise.below(3)]).collect();
        assert_eq!(order(&few), 0, "few values that come often");
        for short in 0..6 {
            order(&walk[..short]);
        }
        order(&[u64::MAX, 0, u64::MAX, 1, 7, u64::MAX / 2, 3, 9]);
    }
}
