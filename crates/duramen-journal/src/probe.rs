//! The choice of how to make bytes durable: times a few real writes by each method and names the fastest that is safe.
//! Owns the temporary file for it and the rule of choice. Must not know journals; meets the machine through the two
//! interfaces only, so that it runs on the simulated disk too (all times are equal there, and `DataSync` is the answer).
//!
//! Which method wins is a property of the device: direct writes were 1.1 times faster on one and 2.4 times slower on
//! another (see PHYSICS), which is why this is measured and not configured.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::disk::{
    Access, Disk, DiskFile, Environment, SyncMethod, out_of_space, read_full_at, retryable, write_all_at,
};

/// The temporary file's name. A crash during a probe leaves it behind; the next probe replaces and removes it.
pub const FILE_NAME: &str = "probe.tmp";

const PAGE_BYTES: usize = 4096;
/// The file's length: 256 KiB.
const PAGE_COUNT: usize = 64;
/// How many writes are timed for each method.
const ROUND_COUNT: usize = 15;
/// All methods, in the order of preference among equals.
const METHODS: [SyncMethod; 3] = [SyncMethod::DataSync, SyncMethod::WriteSync, SyncMethod::Direct];

// Every write has a page of its own, the untimed round included: nothing is measured that an earlier write prepared.
const _: () = assert!((ROUND_COUNT + 1) * METHODS.len() <= PAGE_COUNT);

/// What a [`probe`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The method to use.
    pub method: SyncMethod,
    /// For each method the median time of one 4 KiB write made durable; `None` where the method does not work, or
    /// where nothing was timed.
    pub medians: [(SyncMethod, Option<Duration>); 3],
}

impl Probe {
    /// The answer without a measurement: the method that works everywhere.
    fn untimed() -> Self {
        Probe { method: SyncMethod::DataSync, medians: METHODS.map(|method| (method, None)) }
    }

    /// Another method must win clearly over `DataSync`, because noise must not change a journal's behaviour from one
    /// start to the next, and `DataSync` is the one that everybody's kernel is tested with.
    fn chosen_from(medians: [(SyncMethod, Option<Duration>); 3]) -> Self {
        let of = |wanted| medians.iter().find(|(method, _)| *method == wanted).and_then(|(_, median)| *median);
        let baseline = of(SyncMethod::DataSync);
        let wins_clearly = |median: Duration| {
            baseline.is_some_and(|baseline| {
                median < baseline && median.as_nanos() * 100 <= baseline.as_nanos().saturating_mul(95)
            })
        };
        let method = medians
            .iter()
            .filter_map(|(method, median)| median.map(|median| (*method, median)))
            .filter(|(_, median)| wins_clearly(*median))
            .min_by_key(|(_, median)| *median)
            .map_or(SyncMethod::DataSync, |(method, _)| method);
        Probe { method, medians }
    }
}

/// Times about 15 page writes by each method in a temporary file of `directory`, and picks the fastest; a method must
/// win by 5 % over `DataSync` to be chosen.
///
/// Nothing is timed, and `DataSync` is the answer, on a file system that forgets at a power cut anyway, on one behind a
/// network (whether a flag of a write reaches the server is not ours to see), and where no space is left for the file:
/// opening must work on a full disk.
///
/// # Errors
///
/// What the disk reports, other than a missing space. The file is removed in each case as far as the disk allows;
/// neither its name nor its removal is made durable, so a power cut can leave it behind.
pub fn probe(disk: &dyn Disk, environment: &dyn Environment, directory: &Path) -> io::Result<Probe> {
    let nature = disk.file_system(directory)?;
    if nature.volatile || nature.network {
        return Ok(Probe::untimed());
    }
    let path = directory.join(FILE_NAME);
    let file = match disk.open(&path, Access::Create) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(&path)?;
            disk.open(&path, Access::Create)
        }
        other => other,
    };
    let probed = match file {
        Ok(file) => {
            let medians = measure(&*file, environment);
            drop(file);
            let removed = disk.remove(&path);
            // The measurement's error says more than that of the tidying after it.
            medians.and_then(|medians| removed.map(|()| Probe::chosen_from(medians)))
        }
        Err(error) => Err(error),
    };
    match probed {
        Err(error) if out_of_space(&error) => Ok(Probe::untimed()),
        other => other,
    }
}

/// One page of memory, aligned as direct writes need it.
#[repr(C, align(4096))]
struct Page([u8; PAGE_BYTES]);

/// Zero-fills the file, as a journal prepares its segments, and times each method in it.
fn measure(file: &dyn DiskFile, environment: &dyn Environment) -> io::Result<[(SyncMethod, Option<Duration>); 3]> {
    write_all_at(file, &vec![0; PAGE_COUNT * PAGE_BYTES], 0)?;
    file.sync_data()?;
    let mut page = Box::new(Page([0; PAGE_BYTES]));
    let mut times: [Option<Vec<Duration>>; 3] = METHODS.map(|_| Some(Vec::with_capacity(ROUND_COUNT)));
    // The methods take turns, so that a device's slow moment hits them all. The first round only warms up: it opens the
    // direct descriptor, among others.
    for round in 0..=ROUND_COUNT {
        for (index, method) in METHODS.into_iter().enumerate() {
            let Some(durations) = &mut times[index] else { continue };
            let page_index = round * METHODS.len() + index;
            page.0.fill(contents_of(page_index));
            let start = environment.now();
            let worked = write_durably(file, &page.0, (page_index * PAGE_BYTES) as u64, method)?;
            let duration = environment.now().saturating_sub(start);
            if !worked {
                times[index] = None;
            } else if round > 0 {
                durations.push(duration);
            }
        }
    }
    let mut medians = METHODS.map(|method| (method, None));
    for (index, durations) in times.into_iter().enumerate() {
        if let Some(mut durations) = durations
            && reads_back(file, index)?
        {
            durations.sort_unstable();
            medians[index].1 = durations.get(durations.len() / 2).copied();
        }
    }
    Ok(medians)
}

/// What the page of this index is filled with: never zero, which is what the page held before.
fn contents_of(page_index: usize) -> u8 {
    const { assert!(PAGE_COUNT < u8::MAX as usize) };
    page_index as u8 + 1
}

/// Writes one page by a method; returns whether the method works here.
fn write_durably(file: &dyn DiskFile, mut bytes: &[u8], mut offset: u64, method: SyncMethod) -> io::Result<bool> {
    if method == SyncMethod::DataSync {
        write_all_at(file, bytes, offset)?;
        return file.sync_data().map(|()| true);
    }
    while !bytes.is_empty() {
        match file.write_sync(bytes, offset, method) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = &bytes[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(false),
            Err(error) if retryable(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Whether all pages that a method wrote read back. A layer that keeps direct writes and the cache apart would lose the
/// journal's own reads: its method does not work, however fast.
fn reads_back(file: &dyn DiskFile, method_index: usize) -> io::Result<bool> {
    let mut page = vec![0; PAGE_BYTES];
    for round in 0..=ROUND_COUNT {
        let page_index = round * METHODS.len() + method_index;
        let count = read_full_at(file, &mut page, (page_index * PAGE_BYTES) as u64)?;
        if count != PAGE_BYTES || page.iter().any(|byte| *byte != contents_of(page_index)) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
