//! Tables of samples become one: the series of all by labels, the samples of each by time; of several at one time the one that came
//! last. Small blocks become large ones on the way.
//!
//! Memory: one block of each input.

use std::sync::Arc;

use crate::compaction::merge::{Stopped, stopped};
use crate::core::Core;
use crate::error::Error;
use crate::format::table::samples::SampleStream;
use crate::labels::Labels;
use crate::row::Nanoseconds;
use crate::table::{SampleTableWriter, Table};
use crate::view::Live;

/// One series of one input, block by block.
struct Cursor<'a> {
    table: &'a Table,
    series: &'a SampleStream,
    next_block: usize,
    times: Vec<Nanoseconds>,
    values: Vec<f64>,
    at: usize,
}

impl Cursor<'_> {
    fn read(&mut self) -> Result<(), Error> {
        self.at = 0;
        self.times.clear();
        if let Some(block) = self.series.blocks.get(self.next_block) {
            self.times = self.table.times(&self.table.index.columns[block.column as usize])?;
            self.values = self.table.values(block)?;
        }
        self.next_block += 1;
        Ok(())
    }

    fn time(&self) -> Option<Nanoseconds> {
        self.times.get(self.at).copied()
    }

    fn advance(&mut self) -> Result<(), Error> {
        self.at += 1;
        if self.at < self.times.len() { Ok(()) } else { self.read() }
    }
}

impl Core {
    /// Merges tables that are neighbours in age into a writer.
    pub(super) fn merge_series(
        &self,
        inputs: &[Arc<Live>],
        tables: &[Arc<Table>],
        writer: &mut SampleTableWriter,
    ) -> Result<(), Stopped> {
        // The youngest first: of samples at one time its is the one that counts.
        let mut by_age: Vec<(&Arc<Live>, &Arc<Table>)> = inputs.iter().zip(tables).collect();
        by_age.sort_by_key(|(live, _)| std::cmp::Reverse(live.entry.age()));
        let mut labels: Vec<&Labels> = tables.iter().flat_map(|t| t.index.series.iter().map(|s| &s.labels)).collect();
        labels.sort_unstable();
        labels.dedup();
        for labels in labels {
            let mut cursors = Vec::new();
            for (_, table) in &by_age {
                let Ok(at) = table.index.series.binary_search_by(|series| series.labels.cmp(labels)) else { continue };
                let series = &table.index.series[at];
                let mut cursor = Cursor { table, series, next_block: 0, times: vec![], values: vec![], at: 0 };
                cursor.read().map_err(|error| stopped(error, table))?;
                cursors.push(cursor);
            }
            let covers = cursors.iter().map(|cursor| cursor.series.covers).max().unwrap_or(0);
            writer.begin_series(labels, covers)?;
            self.merge_one(&mut cursors, writer)?;
        }
        Ok(())
    }

    fn merge_one(&self, cursors: &mut [Cursor<'_>], writer: &mut SampleTableWriter) -> Result<(), Stopped> {
        let mut before = None;
        loop {
            // Few inputs: looking at each costs less than a heap, and the first of equals is the youngest.
            let next = cursors.iter().enumerate().filter_map(|(at, cursor)| Some((cursor.time()?, at))).min();
            let Some((time, at)) = next else { return Ok(()) };
            let cursor = &mut cursors[at];
            if before != Some(time) {
                before = Some(time);
                if writer.push(time, cursor.values[cursor.at])? {
                    self.may_go_on()?;
                }
            }
            cursor.advance().map_err(|error| stopped(error, cursor.table))?;
        }
    }
}
