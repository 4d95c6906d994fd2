//! Tables of samples against themselves: every byte against its checksum, each series' blocks in order, each block against what the
//! index says of it. Owns the walk, table by table; of what several tables say of one time the later one counts, so that nothing is
//! to be said of them together.
//!
//! Memory: a table's index, and one block.

use std::sync::Arc;

use duramen_journal::Sequence;

use super::finding::{Loss, Unit, boot_of};
use super::tables::{Check, file_of, finding_of};
use crate::error::Error;
use crate::format::table::samples::{BlockSummary, SampleBlock, SampleStream, TimesColumn};
use crate::format::table::{Index, Partition};
use crate::labels::Labels;
use crate::table::Table;
use crate::table::sample_writer::summary;

/// What is lost with a block of samples.
pub(crate) fn loss_of_samples(partition: Partition, labels: &Labels, column: &TimesColumn) -> Loss {
    Loss {
        rows: Some(u64::from(column.count)),
        unit: Unit::Samples,
        times: Some((column.first, column.last)),
        boot: boot_of(partition),
        stream: Some(labels.clone()),
    }
}

/// Below which sequence a table says that tables have all samples of a series.
pub(super) fn covers_of(index: &Index, series: &SampleStream) -> Sequence {
    index.covers.max(series.covers)
}

/// Holds a block's values against what the index says they come to; in words, what does not agree.
pub(crate) fn check_summary(told: Option<&BlockSummary>, values: &[f64]) -> Option<String> {
    let same = match (told, summary(values)) {
        (None, None) => true,
        (Some(told), Some(found)) => {
            told.count == found.count
                && same(told.min, found.min)
                && same(told.max, found.max)
                && same(told.sum, found.sum)
        }
        _ => false,
    };
    (!same).then(|| "the index says that its values come to other figures than they do".to_string())
}

/// Whether two figures are one, bit by bit but for what machines do not agree on: which zero is the lesser one, and the bits of the
/// NaN that infinities of both signs sum to.
fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || a == b || (a.is_nan() && b.is_nan())
}

/// Holds a block's place against its table and the block before; in words, what is wrong.
pub(crate) fn check_place(partition: Partition, before: Option<&TimesColumn>, column: &TimesColumn) -> Vec<String> {
    let mut wrong = Vec::new();
    let strange = |time| Partition::of_sample(partition.base(), time, partition.grain()) != partition;
    if strange(column.first) || strange(column.last) {
        wrong.push("samples of another partition".to_string());
    }
    if before.is_some_and(|before| before.last >= column.first) {
        wrong.push("blocks of a series are out of order, or overlap".to_string());
    }
    wrong
}

/// A table's columns of times, each read once however many blocks share it.
pub(crate) struct Columns {
    read: Vec<Option<Result<(), Error>>>,
}

impl Columns {
    pub fn new(table: &Table) -> Columns {
        Columns { read: vec![None; table.index.columns.len()] }
    }

    /// Whether a column is good.
    pub fn check(&mut self, table: &Table, number: u32) -> Result<(), Error> {
        let at = number as usize;
        let read = || table.times(&table.index.columns[at]).map(|_| ());
        self.read[at].get_or_insert_with(read).clone()
    }
}

impl Check<'_> {
    /// Checks all bytes of tables of samples.
    pub(super) fn run_series(&mut self, tables: &[Arc<Table>], passed: &mut dyn FnMut(u64)) {
        for table in tables {
            self.counted.tables += 1;
            self.counted.bytes += table.bytes;
            self.series_frame(table);
            let mut columns = Columns::new(table);
            for series in &table.index.series {
                self.series(table, series, &mut columns, passed);
            }
        }
    }

    /// What a table's index says.
    fn series_frame(&mut self, table: &Table) {
        let number = table.binding.number;
        let index = &table.index;
        let mut rule = |bad: bool, words: &str| {
            if bad {
                self.findings.rule(file_of(number), None, words.to_string());
            }
        };
        rule(index.partition != self.partition, "it is of another partition than the manifest says");
        rule(!index.series.is_sorted_by(|a, b| a.labels < b.labels), "its series are out of order");
        rule(index.replaces.contains(&number), "it says that it replaces itself");
        let furthest = index.series.iter().map(|series| covers_of(index, series)).max().unwrap_or(index.covers);
        let beyond = self.journal_next.is_some_and(|next| furthest > next);
        rule(
            beyond,
            "it says that it covers what the journal has not had yet: new samples would be taken for old ones",
        );
    }

    fn series(&mut self, table: &Table, series: &SampleStream, columns: &mut Columns, passed: &mut dyn FnMut(u64)) {
        let number = table.binding.number;
        let mut before = None;
        for block in &series.blocks {
            let column = &table.index.columns[block.column as usize];
            self.counted.blocks += 1;
            self.counted.samples += u64::from(column.count);
            for reason in check_place(self.partition, before, column) {
                self.findings.rule(file_of(number), Some(block.part.offset), reason);
            }
            before = Some(column);
            // A column lies before the first block that uses it.
            let own = if column.part.end() == block.part.offset { column.part.stored } else { 0 };
            passed(u64::from(block.part.stored + own));
            if let Err((error, words)) = self.block_of_samples(table, block, columns) {
                self.counted.holes = true;
                self.counted.samples -= u64::from(column.count);
                let loss = loss_of_samples(self.partition, &series.labels, column);
                let mut finding = finding_of(number, &error, Some(loss));
                finding.reason += words;
                self.findings.add(finding);
            }
        }
    }

    fn block_of_samples(
        &mut self,
        table: &Table,
        block: &SampleBlock,
        columns: &mut Columns,
    ) -> Result<(), (Error, &'static str)> {
        let values = table.values(block).map_err(|error| (error, ""))?;
        if let Some(reason) = check_summary(block.summary.as_ref(), &values) {
            self.findings.rule(file_of(table.binding.number), Some(block.part.offset), reason);
        }
        columns.check(table, block.column).map_err(|error| (error, TIMES))
    }
}

/// What is said of a block whose times cannot be read.
pub(crate) const TIMES: &str = " (the times of a block)";

#[cfg(test)]
mod tests {
    use super::*;

    fn column(first: i64, last: i64) -> TimesColumn {
        TimesColumn { part: Default::default(), count: 2, first, last }
    }

    #[test]
    fn figures_agree_where_machines_do() {
        let told = |values: &[f64]| summary(values).unwrap();
        let values = [1.5, -2.0, crate::STALE, 3.25];
        assert_eq!(check_summary(Some(&told(&values)), &values), None);
        assert!(check_summary(Some(&told(&values[1..])), &values).is_some());
        assert!(check_summary(None, &values).is_some() && check_summary(Some(&told(&values)), &[f64::NAN]).is_some());
        assert_eq!(check_summary(None, &[f64::NAN]), None);
        let zeros = BlockSummary { min: -0.0, max: 0.0, ..told(&[0.0, -0.0]) };
        assert_eq!(check_summary(Some(&zeros), &[0.0, -0.0]), None);
        let both = [f64::INFINITY, f64::NEG_INFINITY];
        assert_eq!(check_summary(Some(&BlockSummary { sum: -f64::NAN, ..told(&both) }), &both), None);
    }

    #[test]
    fn blocks_follow_each_other_within_their_partition() {
        let partition = Partition::SamplesOfBoot(1);
        assert!(check_place(partition, None, &column(1, 5)).is_empty());
        assert!(check_place(partition, Some(&column(1, 5)), &column(6, 7)).is_empty());
        assert_eq!(check_place(partition, Some(&column(1, 5)), &column(5, 7)).len(), 1);
        assert_eq!(check_place(Partition::Samples(0), Some(&column(1, 5)), &column(-1, 7)).len(), 2);
    }
}
