//! What tables say of the journal: which of its rows are in tables, so that replay leaves them out. Owns the rule; reads nothing.

use std::collections::BTreeMap;

use duramen_journal::Sequence;

use crate::format::manifest::TableEntry;
use crate::format::table::Partition;
use crate::labels::Labels;

/// Which of the journal's rows are in tables: those of a partition below a sequence, some streams' further.
#[derive(Clone, Debug, Default)]
pub(crate) struct Covers {
    partitions: BTreeMap<Partition, (Sequence, BTreeMap<Vec<u8>, Sequence>)>,
}

impl Covers {
    pub fn of<'a>(tables: impl IntoIterator<Item = &'a TableEntry>) -> Covers {
        let mut covers = Covers::default();
        for table in tables {
            let (below, streams) = covers.partitions.entry(table.partition).or_default();
            *below = (*below).max(table.covers);
            for (labels, further) in &table.stream_covers {
                let known = streams.entry(labels.clone()).or_default();
                *known = (*known).max(*further);
            }
        }
        covers
    }

    /// Adds how far single streams of a partition are covered, as a table's index says.
    pub fn add_streams<'a>(&mut self, partition: Partition, further: impl IntoIterator<Item = (&'a Labels, Sequence)>) {
        let (_, streams) = self.partitions.entry(partition).or_default();
        for (labels, covers) in further {
            let known = streams.entry(labels.as_bytes().to_vec()).or_default();
            *known = (*known).max(covers);
        }
    }

    /// Below which sequence tables say that they have all of a partition.
    pub fn of_partition(&self, partition: Partition) -> Sequence {
        self.partitions.get(&partition).map_or(0, |(below, _)| *below)
    }

    /// Below which sequence tables say that they have all of a stream.
    pub fn of_stream(&self, partition: Partition, labels: &[u8]) -> Sequence {
        let Some((below, streams)) = self.partitions.get(&partition) else { return 0 };
        streams.get(labels).map_or(*below, |further| (*below).max(*further))
    }

    /// Whether a record of this sequence may have rows that are in tables.
    pub fn may_hold(&self, sequence: Sequence) -> bool {
        self.partitions
            .values()
            .any(|(below, streams)| sequence < *below || streams.values().any(|further| sequence < *further))
    }

    /// Whether the tables say that they have the rows of this stream in this record.
    pub fn holds(&self, partition: Partition, labels: &[u8], sequence: Sequence) -> bool {
        sequence < self.of_stream(partition, labels)
    }
}
