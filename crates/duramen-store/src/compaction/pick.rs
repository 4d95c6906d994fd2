//! Which tables to merge next, and which to drop. Pure: facts in, choices out.
//!
//! Tables of one partition and level are merged into one of the next level when there are enough of them. A row is therefore
//! rewritten once for each level, and the levels grow with the logarithm of a partition's tables; tables of other partitions
//! are never touched, and what is dropped is dropped whole.

use std::collections::BTreeMap;

use crate::format::manifest::TableEntry;
use crate::format::table::Partition;
use crate::row::Nanoseconds;

/// What to merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Merge {
    pub partition: Partition,
    /// Of the table that is to be written.
    pub level: u32,
    pub inputs: Vec<u64>,
}

/// The settings that decide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Tables of one level that make one of the next.
    pub fan_in: usize,
    /// Larger tables are left alone, and none larger is made.
    pub table_bytes_max: u64,
}

/// The next merge: of the lowest level that has enough tables, in the latest partition. `None`: nothing is worth it.
///
/// Of two samples of one time the later one counts, and tables say which that is by their age alone: so tables of samples are
/// merged only with their neighbours in age. What may not be merged stands between others all the same.
pub(crate) fn merge<'a>(
    tables: impl Iterator<Item = &'a TableEntry>,
    shape: Shape,
    may_merge: impl Fn(&TableEntry) -> bool,
) -> Option<Merge> {
    let mut partitions: BTreeMap<std::cmp::Reverse<Partition>, Vec<&TableEntry>> = BTreeMap::new();
    tables.for_each(|table| partitions.entry(std::cmp::Reverse(table.partition)).or_default().push(table));
    let fits = |table: &TableEntry| table.bytes < shape.table_bytes_max && may_merge(table);
    let mut best: Option<Merge> = None;
    for (std::cmp::Reverse(partition), mut tables) in partitions {
        let mut runs: BTreeMap<(u32, usize), Vec<&TableEntry>> = BTreeMap::new();
        if partition.is_of_samples() {
            tables.sort_by_key(|table| table.age());
            let mut run = 0;
            let mut before = None;
            for table in tables {
                run += usize::from(before != Some(table.level) || !fits(table));
                before = Some(table.level).filter(|_| fits(table));
                runs.entry((table.level, run)).or_default().extend(Some(table).filter(|table| fits(table)));
            }
        } else {
            // Neighbours in time: what they overlap in becomes one.
            tables.sort_by_key(|table| (table.times, table.number));
            let fitting = tables.into_iter().filter(|table| fits(table));
            fitting.for_each(|table| runs.entry((table.level, 0)).or_default().push(table));
        }
        for ((level, _), run) in runs {
            let small =
                |inputs: &&[&TableEntry]| inputs.iter().map(|table| table.bytes).sum::<u64>() <= shape.table_bytes_max;
            let Some(inputs) = run.chunks_exact(shape.fan_in).find(small) else { continue };
            if best.as_ref().is_none_or(|best| level + 1 < best.level) {
                let inputs = inputs.iter().map(|table| table.number).collect();
                best = Some(Merge { partition, level: level + 1, inputs });
            }
            break;
        }
    }
    best
}

/// How long tables are kept.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keep {
    /// Partitions that end before this time are dropped; `None`: none is.
    pub since: Option<Nanoseconds>,
    /// The same for partitions of downsampled series.
    pub since_downsampled: Option<Nanoseconds>,
    /// Bytes of all tables; beyond it the oldest are dropped.
    pub bytes_max: Option<u64>,
}

/// Tables to drop: those that are too old, then the oldest until the rest fits. `may_drop` says which are free to go.
pub(crate) fn drops<'a>(
    tables: impl Iterator<Item = &'a TableEntry>,
    keep: Keep,
    may_drop: impl Fn(&TableEntry) -> bool,
) -> (Vec<u64>, Vec<u64>) {
    let since = |table: &TableEntry| match table.partition {
        Partition::Downsampled(_) => keep.since_downsampled,
        _ => keep.since,
    };
    let too_old = |table: &TableEntry| match (table.partition.end(), since(table)) {
        (Some(end), Some(since)) => end <= since,
        _ => false,
    };
    let (old, mut rest): (Vec<&TableEntry>, Vec<&TableEntry>) = tables.partition(|table| too_old(table));
    let by_age = old.into_iter().filter(|table| may_drop(table)).map(|table| table.number).collect();
    let mut bytes: u64 = rest.iter().map(|table| table.bytes).sum();
    // Rows of boots without a clock have no place in time: they go by the order in which they were written.
    rest.sort_by_key(|table| (table.partition.end().is_some(), table.times.1, table.number));
    let mut by_size = Vec::new();
    for table in rest {
        if keep.bytes_max.is_none_or(|max| bytes <= max) {
            break;
        }
        if may_drop(table) {
            bytes -= table.bytes;
            by_size.push(table.number);
        }
    }
    (by_age, by_size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::table::PARTITION_NANOSECONDS;

    const SHAPE: Shape = Shape { fan_in: 3, table_bytes_max: 1_000 };

    fn table(number: u64, day: i32, level: u32, bytes: u64) -> TableEntry {
        let first = i64::from(day) * PARTITION_NANOSECONDS + number as i64;
        TableEntry {
            number,
            bytes,
            partition: Partition::Day(day),
            level,
            rows: 1,
            times: (first, first + 1),
            text_bytes: 0,
            covers: number,
            stream_covers: Vec::new(),
        }
    }

    fn picked(tables: &[TableEntry]) -> Option<(i32, u32, Vec<u64>)> {
        merge(tables.iter(), SHAPE, |_| true).map(|merge| match merge.partition {
            Partition::Day(day) => (day, merge.level, merge.inputs),
            Partition::Samples(_) | Partition::SamplesOfBoot(_) => unreachable!("tables of rows"),
            _ => panic!("days only here"),
        })
    }

    #[test]
    fn enough_tables_of_one_level_and_day_are_merged() {
        assert_eq!(picked(&[]), None);
        assert_eq!(picked(&[table(1, 1, 0, 10), table(2, 1, 0, 10), table(3, 2, 0, 10)]), None);
        assert_eq!(picked(&[table(1, 1, 0, 10), table(2, 1, 0, 10), table(3, 1, 1, 10)]), None);
        let three = [table(3, 1, 0, 10), table(1, 1, 0, 10), table(2, 1, 0, 10), table(4, 1, 0, 10)];
        assert_eq!(picked(&three), Some((1, 1, vec![1, 2, 3])));
    }

    #[test]
    fn low_levels_and_late_days_come_first() {
        let mut tables: Vec<_> = (1..=3).map(|number| table(number, 1, 0, 10)).collect();
        tables.extend((4..=6).map(|number| table(number, 2, 1, 10)));
        assert_eq!(picked(&tables), Some((1, 1, vec![1, 2, 3])));
        tables.extend((7..=9).map(|number| table(number, 2, 0, 10)));
        assert_eq!(picked(&tables), Some((2, 1, vec![7, 8, 9])));
    }

    #[test]
    fn large_tables_are_left_alone() {
        let tables: Vec<_> = (1..=3).map(|number| table(number, 1, 0, 1_000)).collect();
        assert_eq!(picked(&tables), None);
        let tables: Vec<_> = (1..=3).map(|number| table(number, 1, 0, 400)).collect();
        assert_eq!(picked(&tables), None, "what they would make is too large");
    }

    /// However many tables come, each row is rewritten once a level.
    #[test]
    fn merging_ends_and_rewrites_little() {
        let mut tables: Vec<TableEntry> = Vec::new();
        let (mut next, mut rewritten) = (1, 0);
        for _ in 0..81 {
            tables.push(table(next, 1, 0, 1));
            next += 1;
            while let Some(job) = merge(tables.iter(), Shape { table_bytes_max: u64::MAX, ..SHAPE }, |_| true) {
                rewritten +=
                    job.inputs.iter().map(|n| tables.iter().find(|t| t.number == *n).unwrap().bytes).sum::<u64>();
                let bytes = job.inputs.iter().map(|n| tables.iter().find(|t| t.number == *n).unwrap().bytes).sum();
                tables.retain(|table| !job.inputs.contains(&table.number));
                tables.push(table(next, 1, job.level, bytes));
                next += 1;
            }
        }
        assert_eq!((tables.len(), rewritten), (1, 81 * 4));
    }

    #[test]
    fn the_oldest_go_first_and_only_whole_days_go_by_age() {
        let tables = [table(1, 1, 0, 100), table(2, 2, 0, 100), table(3, 3, 0, 100)];
        let since = Some(2 * PARTITION_NANOSECONDS + 5);
        let all = |_: &TableEntry| true;
        assert_eq!(
            drops(tables.iter(), Keep { since, since_downsampled: None, bytes_max: None }, all),
            (vec![1], vec![])
        );
        assert_eq!(
            drops(tables.iter(), Keep { since, since_downsampled: None, bytes_max: Some(150) }, all),
            (vec![1], vec![2])
        );
        assert_eq!(
            drops(tables.iter(), Keep { since_downsampled: None, since: None, bytes_max: Some(300) }, all),
            (vec![], vec![])
        );
        let held = |table: &TableEntry| table.number != 1;
        assert_eq!(
            drops(tables.iter(), Keep { since, since_downsampled: None, bytes_max: Some(150) }, held),
            (vec![], vec![2])
        );
        let boot = TableEntry { partition: Partition::Boot(4), ..table(9, 0, 0, 100) };
        let keep = Keep { since_downsampled: None, since: Some(i64::MAX), bytes_max: None };
        assert_eq!(drops([boot].iter(), keep, all), (vec![], vec![]), "nobody knows how old it is");
    }
}
