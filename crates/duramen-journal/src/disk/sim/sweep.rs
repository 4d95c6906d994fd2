//! The sweep of faults: the workload again and again, with one call failing in one way each time, and recoveries after
//! it. Owns the list of what can go wrong with which call; the walk over the images is the explorer's.

use super::device::SimDisk;
use super::explore::{Budget, Counts, Failure, Recording, Scenario, Walk};
use super::fault::{Effect, Fault, Operation, Personality, Survivors, errno};

/// Runs the workload once per call and per way in which that call can fail. After each run it recovers on the same
/// running disk, as a restarted process does (with the cache as the fault left it), on crash images of it, and on crash
/// images of what that recovery did and served. `setup` runs first in every thread.
///
/// # Errors
/// The first failure that a thread met; [`super::replay`] takes its choice.
pub fn sweep_faults<S: Scenario>(scenario: &S, budget: &Budget, setup: &(dyn Fn() + Sync)) -> Result<Counts, Failure> {
    setup();
    let mut faults: Vec<(u64, usize)> = Vec::new();
    for (place, operation) in trace(scenario, budget)?.into_iter().enumerate() {
        let lines = (0..TABLE.len()).filter(|&line| TABLE[line].0 == operation);
        faults.extend(lines.map(|line| (place as u64 + 1, line)));
    }
    let count = (faults.len() as u64).min(budget.faults_max);
    let chosen = |unit: u64| faults[(u128::from(unit) * faults.len() as u128 / u128::from(count)) as usize];
    let walk = Walk::new(scenario, budget);
    let mut counts = walk.share(count as usize, setup, |unit, counts| {
        let (number, line) = chosen(unit as u64);
        let name =
            |failure: Failure| Failure { choice: format!("fault={number},{line}/{}", failure.choice), ..failure };
        let (operation, effect) = TABLE[line];
        let fault = Fault::new(effect).on(operation).at(number);
        let recording = Recording::make(scenario, budget, Some(fault)).map_err(name)?;
        let last = recording.moments.len() - 1;
        let images = budget.images_per_fault_max;
        walk.moment(&recording, last, images, 0..u64::MAX, counts).map_err(name)
    })?;
    counts.faults = count;
    counts.moments = count;
    Ok(counts)
}

/// The kinds of the workload's calls, in order.
fn trace<S: Scenario>(scenario: &S, budget: &Budget) -> Result<Vec<Operation>, Failure> {
    // The trace is taken of a run like any other, so that a panic in it is reported like any other.
    Recording::make(scenario, budget, None)?;
    let disk = SimDisk::new(budget.seed);
    disk.set_operations_max(budget.operations_max);
    scenario.prepare(&disk);
    let before = disk.operations();
    disk.start_trace();
    scenario.run(&disk.world(), &super::History::new());
    // Calls of `prepare` were not traced, but they count in the numbers of the calls.
    let mut trace = vec![Operation::DropCache; before as usize];
    trace.extend(disk.trace());
    Ok(trace)
}

/// What can go wrong, and with which call. Faults of the medium that no software survives (lost and misdirected writes,
/// syncs that lie) are not here: a test orders them one by one.
const TABLE: &[(Operation, Effect)] = &[
    (Operation::Write, Effect::Error(errno::EIO)),
    (Operation::Write, Effect::Error(errno::ENOSPC)),
    (Operation::Write, Effect::Error(errno::EINTR)),
    (Operation::Write, Effect::Error(errno::EAGAIN)),
    (Operation::Write, Effect::Short(1)),
    (Operation::Write, Effect::Short(700)),
    (Operation::Write, Effect::Zero),
    (Operation::Write, Effect::ReadOnly),
    (Operation::SyncData, failed(errno::EIO, Personality::Once, Survivors::Nothing)),
    (Operation::SyncData, failed(errno::EIO, Personality::Once, Survivors::Some)),
    (Operation::SyncData, failed(errno::EIO, Personality::Once, Survivors::Everything)),
    (Operation::SyncData, failed(errno::ENOSPC, Personality::Once, Survivors::Nothing)),
    (Operation::SyncData, failed(errno::EDQUOT, Personality::Once, Survivors::Nothing)),
    (Operation::SyncData, failed(errno::EIO, Personality::ReadOnly, Survivors::Nothing)),
    (Operation::SyncData, failed(errno::EIO, Personality::Forever, Survivors::Nothing)),
    (Operation::SyncData, failed(errno::ENOSPC, Personality::Forever, Survivors::Nothing)),
    (Operation::WriteSync, Effect::Error(errno::EIO)),
    (Operation::WriteSync, Effect::Error(errno::ENOSPC)),
    (Operation::WriteSync, Effect::Error(errno::EINTR)),
    (Operation::WriteSync, Effect::Short(700)),
    (Operation::WriteSync, Effect::Zero),
    (Operation::WriteSync, failed(errno::EIO, Personality::Once, Survivors::Nothing)),
    (Operation::WriteSync, failed(errno::EIO, Personality::Once, Survivors::Some)),
    (Operation::WriteSync, failed(errno::EDQUOT, Personality::Once, Survivors::Everything)),
    (Operation::WriteSync, failed(errno::EIO, Personality::ReadOnly, Survivors::Nothing)),
    (Operation::WriteSync, failed(errno::EIO, Personality::Forever, Survivors::Nothing)),
    (Operation::SyncDirectory, failed(errno::EIO, Personality::Once, Survivors::Nothing)),
    (Operation::SyncDirectory, failed(errno::EIO, Personality::Once, Survivors::Everything)),
    (Operation::SyncDirectory, failed(errno::ENOSPC, Personality::Once, Survivors::Nothing)),
    (Operation::SyncDirectory, failed(errno::EIO, Personality::ReadOnly, Survivors::Nothing)),
    (Operation::SyncDirectory, failed(errno::EIO, Personality::Forever, Survivors::Nothing)),
    (Operation::Allocate, Effect::Error(errno::ENOSPC)),
    (Operation::Allocate, Effect::Error(errno::EIO)),
    (Operation::Create, Effect::Error(errno::ENOSPC)),
    (Operation::Create, Effect::Error(errno::EACCES)),
    (Operation::Create, Effect::ReadOnly),
    (Operation::CreateDirectory, Effect::Error(errno::ENOSPC)),
    (Operation::Rename, Effect::Error(errno::EIO)),
    (Operation::Rename, Effect::Error(errno::ENOSPC)),
    (Operation::Rename, Effect::ReadOnly),
    (Operation::Remove, Effect::Error(errno::EIO)),
    (Operation::Remove, Effect::ReadOnly),
    (Operation::Open, Effect::Error(errno::EIO)),
    (Operation::List, Effect::Error(errno::EIO)),
    (Operation::Read, Effect::Error(errno::EIO)),
    (Operation::Read, Effect::Error(errno::EINTR)),
    (Operation::Read, Effect::Short(1)),
];

const fn failed(code: i32, personality: Personality, survivors: Survivors) -> Effect {
    Effect::FailedSync { code, personality, survivors }
}

/// Reads a fault as it stands in a failure's choice: the number of the call, and the line of the table.
pub(super) fn parse(text: &str) -> Result<Fault, String> {
    let fault = text.split_once(',').and_then(|(number, line)| {
        let (operation, effect) = *TABLE.get(line.parse::<usize>().ok()?)?;
        Some(Fault::new(effect).on(operation).at(number.parse().ok()?))
    });
    fault.ok_or_else(|| format!("`{text}` is no fault of a sweep"))
}
