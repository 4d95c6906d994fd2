//! The samples of a salvage: good blocks as they are stored, and what of the others the journal still has. Owns the account of both.
//!
//! What is found again goes into tables of its own, which cover what the others cover already. That makes them younger than every table
//! with an older sample of the same series and time, as tables that are merged are neighbours in age; of younger tables with one of
//! that time nothing is found again.

use std::collections::BTreeMap;
use std::sync::Arc;

use duramen_journal::{Reader, Sequence};

use super::{Lost, Work};
use crate::covers::Covers;
use crate::error::Error;
use crate::format::table::Partition;
use crate::format::table::samples::{SampleBlock, SampleStream};
use crate::inspect::finding::Findings;
use crate::inspect::journal::{Names, Unread, count};
use crate::inspect::owed::{Owed, Share, Shelf, collect};
use crate::inspect::series::{Columns, TIMES, check_place, check_summary, covers_of, loss_of_samples};
use crate::inspect::tables::{file_of, finding_of};
use crate::labels::Labels;
use crate::open::read_covers;
use crate::table::sample_writer::summary;
use crate::table::writer::IndexHead;
use crate::table::{SampleTableWriter, Table, WriterOptions};

/// What the journal still had.
#[derive(Debug, Default)]
pub(super) struct Again {
    /// Samples that tables had lost.
    pub found: u64,
    /// Samples that no table is said to have.
    pub uncovered: u64,
    /// Samples that no table has, and that nobody can read.
    pub unread: Option<Unread>,
}

impl Work {
    /// Copies what is good of a table of samples.
    pub(super) fn table_of_samples(&mut self, table: &Table) -> Result<(), Error> {
        let mut writer = self.copy.sample_writer(table)?;
        match self.all_series(table, &mut writer) {
            Ok(()) => self.copy.finish(writer.finish(), table.binding.number),
            Err(error) => {
                writer.abandon();
                Err(error)
            }
        }
    }

    fn all_series(&mut self, table: &Table, writer: &mut SampleTableWriter) -> Result<(), Error> {
        let mut columns = Columns::new(table);
        for series in &table.index.series {
            writer.begin_series(&series.labels, series.covers)?;
            let mut before = None;
            for block in &series.blocks {
                let column = &table.index.columns[block.column as usize];
                let wrong = check_place(table.index.partition, before, column);
                before = Some(column);
                match self.good_block(table, block, &mut columns) {
                    Ok(block) => {
                        for reason in wrong {
                            let reason = format!("{reason}; copied as it is");
                            self.mended.rule(file_of(table.binding.number), Some(block.part.offset), reason);
                        }
                        self.table_samples += u64::from(column.count);
                        writer.push_stored(table, &block)?;
                    }
                    Err((error, words)) => self.lose(table, series, block, (&error, words)),
                }
            }
        }
        Ok(())
    }

    /// Reads a block whole. What the index says that its values come to is told from the values.
    fn good_block(
        &mut self,
        table: &Table,
        block: &SampleBlock,
        columns: &mut Columns,
    ) -> Result<SampleBlock, (Error, &'static str)> {
        let values = table.values(block).map_err(|error| (error, ""))?;
        columns.check(table, block.column).map_err(|error| (error, TIMES))?;
        let Some(reason) = check_summary(block.summary.as_ref(), &values) else { return Ok(*block) };
        let (file, offset) = (file_of(table.binding.number), Some(block.part.offset));
        self.mended.rule(file, offset, format!("{reason}; told anew"));
        Ok(SampleBlock { summary: summary(&values), ..*block })
    }

    fn lose(&mut self, table: &Table, series: &SampleStream, block: &SampleBlock, why: (&Error, &str)) {
        let (error, words) = why;
        let column = &table.index.columns[block.column as usize];
        let partition = table.index.partition;
        let loss = loss_of_samples(partition, &series.labels, column);
        let mut finding = finding_of(table.binding.number, error, Some(loss));
        finding.reason += words;
        let covers = covers_of(&table.index, series);
        self.losses.push(Lost { partition: Some(partition), covers, finding });
    }

    /// Finds samples in the journal that tables should have, and have not: replay would leave them out.
    pub(super) fn find_samples_again(&mut self, reader: &Reader, names: &Names) -> Result<Again, Error> {
        let covers = read_covers(&self.copy.catalog, &self.copy.tables, reader.first());
        let counts = count(reader, names, &covers, &mut Findings::default());
        let mut again = Again { uncovered: counts.samples_uncovered, unread: counts.unread, ..Again::default() };
        let mut tables: BTreeMap<Partition, Vec<Arc<Table>>> = BTreeMap::new();
        for entry in &self.copy.tables {
            if counts.samples_covered.contains_key(&entry.partition) {
                let table = Arc::new(self.copy.catalog.open(entry.number)?);
                tables.entry(entry.partition).or_default().push(table);
            }
        }
        let lost: Vec<(Partition, Sequence)> =
            self.losses.iter().filter_map(|lost| Some((lost.partition?, lost.covers))).collect();
        let may_be_lost = |partition, sequence| lost.iter().any(|own| own.0 == partition && sequence < own.1);
        let mut total = counts.samples_covered.values().sum();
        total += if lost.is_empty() { 0 } else { counts.samples_uncovered };
        for share in Share::all(total) {
            let all = collect((reader, names, &covers), share, |partition, covered, sequence| {
                sequence < covered || may_be_lost(partition, sequence)
            });
            for (partition, series) in all {
                let mut shelf = Shelf::new(tables.get(&partition).map_or(&[], Vec::as_slice));
                let mut found: Vec<(Labels, Vec<Owed>)> = Vec::new();
                for (labels, samples) in series {
                    let covered = covers.of_stream(partition, labels.as_bytes());
                    let (mut owed, other): (Vec<Owed>, Vec<Owed>) =
                        samples.into_iter().partition(|sample| sample.sequence < covered);
                    shelf.remove_known(&labels, &mut owed)?;
                    self.note_unread(partition, &labels, &mut owed);
                    for sample in owed.iter().chain(other.iter().filter(|sample| sample.value.is_some())) {
                        self.credit_one(partition, &labels, sample.sequence, sample.time);
                    }
                    again.found += owed.len() as u64;
                    found.extend(Some((labels, owed)).filter(|(_, owed)| !owed.is_empty()));
                }
                self.seal_samples(partition, &found, &covers)?;
            }
        }
        Ok(again)
    }

    /// Takes out those that nobody can read: with the tables that had them they are lost, unless that is told already.
    fn note_unread(&mut self, partition: Partition, labels: &Labels, owed: &mut Vec<Owed>) {
        let mut unread = None;
        let told = |sample: &Owed| {
            self.losses.iter().any(|lost| {
                let loss = lost.finding.loss.as_ref();
                lost.partition == Some(partition)
                    && sample.sequence < lost.covers
                    && loss.is_some_and(|loss| loss.stream.as_ref().is_none_or(|stream| stream == labels))
            })
        };
        for sample in owed.iter().filter(|sample| sample.value.is_none() && !told(sample)) {
            Unread::add(&mut unread, sample.sequence, partition.base(), sample.time);
        }
        owed.retain(|sample| sample.value.is_some());
        if let Some(unread) = unread {
            let mut finding = unread.finding();
            if let Some(loss) = &mut finding.loss {
                loss.stream = Some(labels.clone());
            }
            let (partition, covers) = (Some(partition), 0);
            self.losses.push(Lost { partition, covers, finding });
        }
    }

    /// Makes a table of samples that were found again.
    fn seal_samples(
        &mut self,
        partition: Partition,
        found: &[(Labels, Vec<Owed>)],
        covers: &Covers,
    ) -> Result<(), Error> {
        if found.is_empty() {
            return Ok(());
        }
        let number = self.next_table;
        self.next_table += 1;
        let below = covers.of_partition(partition);
        let head = IndexHead { partition, level: 0, covers: below, replaces: Vec::new() };
        let (catalog, options) = (&self.copy.catalog, WriterOptions::default());
        let (disk, folder) = (catalog.disk.clone(), &catalog.tables);
        let mut writer = SampleTableWriter::create(disk, folder, catalog.binding(number), head, options)?;
        for (labels, samples) in found {
            let further = covers.of_stream(partition, labels.as_bytes());
            writer.begin_series(labels, if further > below { further } else { 0 })?;
            for sample in samples {
                if let Some(value) = sample.value {
                    writer.push(sample.time, value)?;
                }
            }
        }
        self.copy.finish(writer.finish(), number)
    }
}
