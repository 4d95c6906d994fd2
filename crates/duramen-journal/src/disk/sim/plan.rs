//! Which crash images of a moment are tried, and in what order. Owns the sampling rules of DURABILITY.md: everything
//! where that is affordable, else none, all, each missing, each present, prefixes and random ones. Pure.

use super::hash::{Generator, mix};
use super::image::{Choice, Pending, PendingSize};

/// Up to this many combinations of sector versions all are tried: all subsets of ten sectors.
const DATA_FULL_MAX: u64 = 1 << 10;
/// Up to this many pending changes of names all subsets are tried.
const NAMES_FULL_MAX: u32 = 6;
/// Up to this many combinations of sizes all are tried.
const SIZES_FULL_MAX: u64 = 25;
const RANDOM_NAMES: u64 = 32;
const RANDOM_SIZES: u64 = 16;

/// The choices of one moment, by number.
pub(super) struct Plan<'a> {
    pub(super) pending: Pending<'a>,
    seed: u64,
    tear_pages: bool,
    data: u64,
    data_full: bool,
    names: u64,
    size_options: Vec<Vec<(u64, bool)>>,
    sizes: u64,
    sizes_full: bool,
    full: bool,
    crashes: u64,
    kill: u64,
    stride: u64,
    /// The place of each single version among all changes, for prefixes in write order: (order, sector).
    order: Vec<(u64, usize)>,
}

impl<'a> Plan<'a> {
    /// Plans at most `images_max` crashes, and one kill where that differs from a crash.
    pub(super) fn new(pending: Pending<'a>, images_max: u64, tear_pages: bool, seed: u64) -> Self {
        let product = pending.sectors.iter().try_fold(1_u64, |product, sector| {
            product.checked_mul(sector.versions.len() as u64 + 1).filter(|&product| product <= DATA_FULL_MAX)
        });
        let mut order: Vec<(u64, usize)> = Vec::new();
        if product.is_none() {
            for (place, sector) in pending.sectors.iter().enumerate() {
                order.extend(sector.versions.iter().map(|version| (version.order, place)));
            }
            order.sort_unstable();
        }
        let heuristic = 2 + 2 * pending.sectors.len() as u64 + order.len() as u64 + images_max;
        let torn = if tear_pages { 2 * pending.pages.len() as u64 + 1 } else { 0 };
        let torn = if pending.pages.is_empty() { 0 } else { torn };
        let data = product.unwrap_or(heuristic) + torn;
        let names = match pending.names {
            count @ 0..=NAMES_FULL_MAX => 1 << count,
            count => 2 + 2 * u64::from(count) + RANDOM_NAMES,
        };
        let size_options: Vec<_> = pending.sizes.iter().map(|size| size_options(size, seed)).collect();
        let size_product = size_options.iter().try_fold(1_u64, |product, options| {
            product.checked_mul(options.len() as u64).filter(|&product| product <= SIZES_FULL_MAX)
        });
        let sizes = size_product.unwrap_or(2 + size_options.len() as u64 + RANDOM_SIZES);
        let product_all = data.saturating_mul(names).saturating_mul(sizes);
        let crashes = product_all.min(images_max.max(1));
        let kill = u64::from(!pending.nothing());
        Self {
            seed,
            tear_pages,
            data,
            data_full: product.is_some(),
            names,
            size_options,
            sizes,
            sizes_full: size_product.is_some(),
            full: product_all <= crashes,
            crashes,
            kill,
            stride: stride(crashes - 1),
            order,
            pending,
        }
    }

    /// How many choices there are; some may lead to the same image.
    pub(super) fn total(&self) -> u64 {
        // The durable image is tried early, and once more in its place: a duplicate, which is not counted.
        self.kill + self.crashes + u64::from(self.crashes > 1)
    }

    /// The choice of a number: first the kill, then the newest of everything, then only the durable, then the others in
    /// an order that spreads early.
    pub(super) fn choice(&self, number: u64) -> Choice {
        if number < self.kill {
            let mut choice = self.pending.durable();
            choice.kill = true;
            return choice;
        }
        match number - self.kill {
            0 => self.pending.newest(),
            1 => self.pending.durable(),
            later => {
                let spread = u128::from(later - 2) * u128::from(self.stride) % u128::from(self.crashes - 1);
                self.crash(spread as u64 + 1)
            }
        }
    }

    fn crash(&self, number: u64) -> Choice {
        if self.full {
            let (data, rest) = (number % self.data, number / self.data);
            return self.combine(data, rest % self.names, rest / self.names);
        }
        // Every axis alone against the newest and the durable of the others; what is left of the budget is random.
        let data = self.data.min(self.crashes / 2);
        let names = data + self.names.min(self.crashes / 8);
        let sizes = names + self.sizes.min(self.crashes / 8);
        let old_names = sizes + self.names.min(self.crashes / 8);
        match number {
            n if n < data => self.combine(n, 0, 0),
            n if n < names => self.combine(0, n - data, 0),
            n if n < sizes => self.combine(0, 0, n - names),
            n if n < old_names => {
                let mut choice = self.combine(0, n - sizes, 1.min(self.sizes - 1));
                choice.versions.fill(0);
                choice
            }
            n => {
                let mut generator = Generator::new(mix(self.seed, n));
                let data = generator.below(self.data);
                let names = generator.below(self.names);
                self.combine(data, names, generator.below(self.sizes))
            }
        }
    }

    /// One number per axis; 0 is the newest on each.
    fn combine(&self, data: u64, names: u64, sizes: u64) -> Choice {
        let mut choice = self.pending.newest();
        self.choose_data(&mut choice, data);
        self.choose_names(&mut choice, names);
        self.choose_sizes(&mut choice, sizes);
        choice
    }

    fn choose_data(&self, choice: &mut Choice, number: u64) {
        let sectors = &self.pending.sectors;
        let pages = self.pending.pages.len() as u64;
        let torn = if self.tear_pages && pages > 0 { 2 * pages + 1 } else { 0 };
        let plain = self.data - torn;
        if number >= plain {
            let number = number - plain;
            match number / pages.max(1) {
                0 => choice.torn.push(number as u16),
                1 => {
                    choice.torn.push((number - pages) as u16);
                    choice.versions.fill(0);
                }
                _ => choice.torn.extend(0..pages as u16),
            }
            return;
        }
        if self.data_full {
            let mut rest = number;
            for (version, sector) in choice.versions.iter_mut().zip(sectors) {
                let radix = sector.versions.len() as u64 + 1;
                *version = (radix - 1 - rest % radix) as u8;
                rest /= radix;
            }
            return;
        }
        let count = sectors.len() as u64;
        let prefixes = self.order.len() as u64;
        match number {
            0 => {}
            1 => choice.versions.fill(0),
            n if n < 2 + count => choice.versions[(n - 2) as usize] = 0,
            n if n < 2 + 2 * count => {
                let kept = (n - 2 - count) as usize;
                choice.versions.fill(0);
                choice.versions[kept] = sectors[kept].versions.len() as u8;
            }
            n if n < 2 + 2 * count + prefixes => {
                choice.versions.fill(0);
                for &(_, place) in &self.order[..(n - 2 - 2 * count) as usize] {
                    choice.versions[place] += 1;
                }
            }
            n => {
                let mut generator = Generator::new(mix(self.seed ^ 0xda7a, n));
                for (version, sector) in choice.versions.iter_mut().zip(sectors) {
                    *version = generator.below(sector.versions.len() as u64 + 1) as u8;
                }
            }
        }
    }

    fn choose_names(&self, choice: &mut Choice, number: u64) {
        let count = self.pending.names;
        if count <= NAMES_FULL_MAX {
            choice.names ^= u128::from(number);
            return;
        }
        let all = choice.names;
        let count = u64::from(count);
        choice.names = match number {
            0 => all,
            1 => 0,
            n if n < 2 + count => all >> (n - 1),
            n if n < 2 + 2 * count => all & !(1 << (n - 2 - count)),
            n => {
                let mut generator = Generator::new(mix(self.seed ^ 0x4a3e, n));
                all & (u128::from(generator.next_u64()) << 64 | u128::from(generator.next_u64()))
            }
        };
    }

    fn choose_sizes(&self, choice: &mut Choice, number: u64) {
        if self.sizes_full {
            let mut rest = number;
            for (size, options) in choice.sizes.iter_mut().zip(&self.size_options) {
                *size = options[(rest % options.len() as u64) as usize];
                rest /= options.len() as u64;
            }
            return;
        }
        let durable = |place: usize| (self.pending.sizes[place].durable, false);
        match number {
            0 => {}
            1 => (0..choice.sizes.len()).for_each(|place| choice.sizes[place] = durable(place)),
            n if n < 2 + choice.sizes.len() as u64 => choice.sizes[(n - 2) as usize] = durable((n - 2) as usize),
            n => {
                let mut generator = Generator::new(mix(self.seed ^ 0x512e, n));
                for (size, options) in choice.sizes.iter_mut().zip(&self.size_options) {
                    *size = options[generator.below(options.len() as u64) as usize];
                }
            }
        }
    }
}

/// The sizes that are tried: the current one first, the durable one second, then what lies between.
fn size_options(size: &PendingSize, seed: u64) -> Vec<(u64, bool)> {
    let mut generator = Generator::new(mix(seed, size.current));
    let middle = size.durable + generator.below(size.current - size.durable);
    let mut options = vec![(size.current, false), (size.durable, false), (size.current, true)];
    if middle > size.durable {
        options.push((middle, generator.below(2) == 0));
    }
    if !size.between.is_empty() {
        let place = generator.below(size.between.len() as u64) as usize;
        options.push((size.between[place], generator.below(2) == 0));
    }
    options
}

/// A stride that visits each of `total` numbers once, far apart at first.
fn stride(total: u64) -> u64 {
    if total < 3 {
        return 1;
    }
    let mut stride = (total as f64 * 0.618) as u64 | 1;
    while greatest_common_divisor(stride, total) != 1 {
        stride += 2;
    }
    stride
}

fn greatest_common_divisor(left: u64, right: u64) -> u64 {
    if right == 0 { left } else { greatest_common_divisor(right, left % right) }
}
