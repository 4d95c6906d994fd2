//! The manifest's bytes: which tables are live. Pure. The manifest is a copy of what the tables themselves say, so that
//! opening reads one small file; it decides nothing that the tables cannot decide without it.

use crate::format::bytes::{Reader, checksum, put_bytes, put_number, put_signed};
use crate::format::table::{Fault, Partition};
use crate::row::Nanoseconds;

const MAGIC: &[u8; 8] = b"DURMANIF";
const VERSION: u16 = 1;
/// Bytes before the list: magic, version, masks, journal id, length of the list, checksum.
const HEADER_BYTES: usize = 40;

/// One live table, as far as opening and planning need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableEntry {
    pub number: u64,
    pub bytes: u64,
    pub partition: Partition,
    pub level: u32,
    pub rows: u64,
    /// First and last time of its rows.
    pub times: (Nanoseconds, Nanoseconds),
    pub text_bytes: u64,
    /// Rows of its partition in the journal below this sequence are in tables.
    pub covers: u64,
    /// The same for single streams that are covered further: their labels' bytes. Of a table of samples, which may have very many,
    /// only how far the furthest one is covered, without labels; which ones, its index tells.
    pub stream_covers: Vec<(Vec<u8>, u64)>,
}

impl TableEntry {
    /// Nothing in the table came at or after this sequence; nothing in later tables of its partition and a stream before.
    pub fn covers_upto(&self) -> u64 {
        self.stream_covers.iter().map(|(_, covers)| *covers).max().unwrap_or(0).max(self.covers)
    }

    /// Sorts tables of a partition by when their contents came.
    pub fn age(&self) -> (u64, u64) {
        (self.covers_upto(), self.number)
    }
}

/// The list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Tables below this number that are not listed are dead.
    pub next_table: u64,
    /// Sorted by number.
    pub tables: Vec<TableEntry>,
}

impl Manifest {
    pub fn encode(&self, journal_id: &[u8; 16]) -> Vec<u8> {
        let mut list = Vec::new();
        put_number(&mut list, self.next_table);
        put_number(&mut list, self.tables.len() as u64);
        for table in &self.tables {
            put_number(&mut list, table.number);
            put_number(&mut list, table.bytes);
            table.partition.put(&mut list);
            put_number(&mut list, u64::from(table.level));
            put_number(&mut list, table.rows);
            put_signed(&mut list, table.times.0);
            put_signed(&mut list, table.times.1);
            put_number(&mut list, table.text_bytes);
            put_number(&mut list, table.covers);
            put_number(&mut list, table.stream_covers.len() as u64);
            for (labels, covers) in &table.stream_covers {
                put_bytes(&mut list, labels);
                put_number(&mut list, *covers);
            }
        }
        let mut out = Vec::with_capacity(HEADER_BYTES + list.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        // Three feature masks; none is in use.
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(journal_id);
        out.extend_from_slice(&u32::try_from(list.len()).expect("a manifest stays below 4 GiB").to_le_bytes());
        let sum = checksum(&[&out, &list]);
        out.extend_from_slice(&sum.to_le_bytes());
        out.extend_from_slice(&list);
        out
    }

    /// Reads a manifest of the store with this journal.
    pub fn decode(bytes: &[u8], journal_id: &[u8; 16]) -> Result<Manifest, Fault> {
        let mut reader = Reader::new(bytes);
        if bytes.len() < HEADER_BYTES || reader.fixed::<8>() != Some(*MAGIC) {
            return Err(Fault::Damaged("not a manifest"));
        }
        let (version, incompatible) = (reader.u16().unwrap_or(0), reader.u16().unwrap_or(0));
        if version > VERSION || incompatible != 0 {
            return Err(Fault::Newer(version.max(VERSION + 1)));
        }
        let list = &bytes[HEADER_BYTES..];
        if bytes[32..36] != (list.len() as u32).to_le_bytes()
            || bytes[36..40] != checksum(&[&bytes[..36], list]).to_le_bytes()
        {
            return Err(Fault::Damaged("the manifest's checksum is wrong"));
        }
        if bytes[16..32] != *journal_id {
            return Err(Fault::Damaged("the manifest of another store"));
        }
        Manifest::list(list).ok_or(Fault::Damaged("the manifest makes no sense"))
    }

    /// Reads the list within a manifest.
    pub fn list(list: &[u8]) -> Option<Manifest> {
        let mut reader = Reader::new(list);
        let next_table = reader.number()?;
        let mut tables = Vec::new();
        for _ in 0..reader.count()? {
            tables.push(TableEntry {
                number: reader.number()?,
                bytes: reader.number()?,
                partition: Partition::read(&mut reader)?,
                level: u32::try_from(reader.number()?).ok()?,
                rows: reader.number()?,
                times: (reader.signed()?, reader.signed()?),
                text_bytes: reader.number()?,
                covers: reader.number()?,
                stream_covers: (0..reader.count()?)
                    .map(|_| Some((reader.bytes()?.to_vec(), reader.number()?)))
                    .collect::<Option<Vec<_>>>()?,
            });
        }
        reader.is_empty().then_some(Manifest { next_table, tables })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let table = |number| TableEntry {
            number,
            bytes: 4_096,
            partition: Partition::Day(20_000),
            level: 0,
            rows: 10,
            times: (-5, 1 << 60),
            text_bytes: 9,
            covers: 70,
            stream_covers: vec![(vec![1, 2], 75)],
        };
        Manifest { next_table: 9, tables: vec![table(3), table(8)] }
    }

    #[test]
    fn a_manifest_comes_back_to_its_store_only() {
        let bytes = sample().encode(&[1; 16]);
        assert_eq!(Manifest::decode(&bytes, &[1; 16]), Ok(sample()));
        assert!(matches!(Manifest::decode(&bytes, &[2; 16]), Err(Fault::Damaged(_))));
        let empty = Manifest::default().encode(&[1; 16]);
        assert_eq!(Manifest::decode(&empty, &[1; 16]), Ok(Manifest::default()));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = sample().encode(&[1; 16]);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(Manifest::decode(&damaged, &[1; 16]).is_err(), "byte {at}, bit {bit}");
            }
            assert!(Manifest::decode(&bytes[..at], &[1; 16]).is_err());
        }
    }
}
