//! Every decoder of the format on bytes that nobody wrote: none may panic, and what one accepts it must be able to write
//! again. Owns one function per decoder, which `fuzz/` feeds for hours and the tests below feed with noise; knows no
//! disk.
//!
//! Random bytes hardly ever carry a right checksum, so each function also *signs* its input: it fills a structure from the
//! bytes, writes the check value that belongs there, and decodes that. What a length field says may then be anything.

use duramen_journal::format::{
    self, BlockHeader, CommitHeader, CommitKind, CommitTrailer, DATA_OFFSET, Footer, HeaderState, IDENTITY_BYTES,
    Identity, LogCounts, PAGE_BYTES, RecordHeader, SegmentHeader,
};

/// A decoder's name, and the function that feeds it.
pub type Decoder = (&'static str, fn(&[u8]));

/// Every decoder.
pub const DECODERS: &[Decoder] = &[
    ("segment_header", segment_header),
    ("footer", footer),
    ("index_block", index_block),
    ("tables", tables),
    ("identity", identity),
    ("commit", commit),
    ("block", block),
    ("record", record),
    ("control_bodies", control_bodies),
];

/// Hands out the input piece by piece; behind its end come zeros.
struct Pieces<'a>(&'a [u8]);

impl Pieces<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.0.len().min(N);
        let mut piece = [0u8; N];
        piece[..taken].copy_from_slice(&self.0[..taken]);
        self.0 = &self.0[taken..];
        piece
    }

    fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.take())
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

/// A page of the input with the frame of a good one: the first `frame` bytes of `model`, and a right checksum.
fn signed_page<const N: usize>(data: &[u8], model: &[u8], frame: usize) -> [u8; N] {
    let mut page = [0u8; N];
    let taken = data.len().min(N);
    page[..taken].copy_from_slice(&data[..taken]);
    page[..frame].copy_from_slice(&model[..frame]);
    let check = crc_fast::crc32_iscsi(&page[..N - 4]);
    page[N - 4..].copy_from_slice(&check.to_le_bytes());
    page
}

/// The bytes that a version 1 page begins with: magic, version, flags, feature masks.
const FRAME: usize = 24;

fn any_header(pieces: &mut Pieces) -> SegmentHeader {
    SegmentHeader {
        state: if pieces.u8() & 1 == 0 { HeaderState::Prepared } else { HeaderState::Begun },
        journal_id: pieces.take(),
        number: pieces.u64(),
        salt: pieces.u64(),
        first_sequence: pieces.u64(),
        predecessor_digest: pieces.u64(),
        released_below: pieces.u64(),
        gap_first: pieces.u64(),
        segment_bytes: pieces.u32(),
        zeroed: pieces.u8() & 1 != 0,
        growing: pieces.u8() & 1 != 0,
    }
}

/// Both kinds of header page.
pub fn segment_header(data: &[u8]) {
    let _ = SegmentHeader::decode(data);
    let made = any_header(&mut Pieces(data));
    let mut page = [0u8; PAGE_BYTES];
    made.encode(&mut page);
    assert_eq!(SegmentHeader::decode(&page), Ok(made));
    let signed: [u8; PAGE_BYTES] = signed_page(data, &page, FRAME);
    if let Ok(header) = SegmentHeader::decode(&signed) {
        let _ = header.binding().first_digest(&header);
        header.encode(&mut page);
        assert_eq!(SegmentHeader::decode(&page), Ok(header));
    }
}

/// The footer page, of this segment and of any other.
pub fn footer(data: &[u8]) {
    let mut pieces = Pieces(data);
    let header = any_header(&mut pieces);
    let _ = Footer::decode(data, &header);
    let made = Footer {
        journal_id: header.journal_id,
        number: header.number,
        salt: header.salt,
        first_sequence: header.first_sequence,
        count: pieces.u64(),
        digest: pieces.u64(),
        data_end: pieces.u32(),
        index_offset: pieces.u32(),
        tables_offset: pieces.u32(),
        logs: pieces.u32(),
        summary_bytes: pieces.u32(),
        summary_dropped: pieces.u8() & 1 != 0,
        tables_check: pieces.u64(),
        released_below: pieces.u64(),
    };
    let mut page = [0u8; PAGE_BYTES];
    made.encode(&mut page);
    if let Ok(footer) = Footer::decode(&page, &header) {
        assert_eq!(footer, made);
        let _ = footer.last_sequence();
        let _ = format::decode_tables(data, &footer, &header.binding());
    }
    let signed: [u8; PAGE_BYTES] = signed_page(data, &page, FRAME);
    let _ = Footer::decode(&signed, &header);
}

/// One page of a footer's index.
pub fn index_block(data: &[u8]) {
    let mut pieces = Pieces(data);
    let binding = any_header(&mut pieces).binding();
    let block = pieces.u32();
    let _ = format::decode_index_block(data, block, &binding);
    let count = usize::from(pieces.u16()) % (format::INDEX_ENTRIES_PER_BLOCK + 1);
    let offsets: Vec<u32> = (0..count).map(|_| pieces.u32()).collect();
    let mut page = [0u8; PAGE_BYTES];
    format::encode_index_block(&offsets, block, &binding, &mut page);
    let read = format::decode_index_block(&page, block, &binding).expect("a page that was just encoded is good");
    assert_eq!(read[..count], offsets[..]);
    assert!(read[count..].iter().all(|&offset| offset == 0));
    assert_eq!(format::decode_index_block(&page, block.wrapping_add(1), &binding), None);
}

/// The table of logs and the caller's summary.
pub fn tables(data: &[u8]) {
    let mut pieces = Pieces(data);
    let header = any_header(&mut pieces);
    let binding = header.binding();
    let mut logs = Vec::new();
    for _ in 0..pieces.u8() {
        let entry = LogCounts { log: pieces.u32(), count: pieces.u32(), first: pieces.u64(), last: pieces.u64() };
        logs.push(entry);
    }
    let summary = pieces.0;
    let encoded = format::encode_tables(&logs, summary);
    let mut footer = Footer {
        journal_id: header.journal_id,
        number: header.number,
        salt: header.salt,
        first_sequence: header.first_sequence,
        count: 0,
        digest: 0,
        data_end: 0,
        index_offset: 0,
        tables_offset: 0,
        logs: logs.len() as u32,
        summary_bytes: summary.len() as u32,
        summary_dropped: false,
        tables_check: format::tables_checksum(&encoded, &binding),
        released_below: 0,
    };
    assert_eq!(format::decode_tables(&encoded, &footer, &binding), Some((logs.clone(), summary)));
    // The check holds, and the counts say anything.
    footer.logs = u32::from_le_bytes(Pieces(data).take());
    footer.summary_bytes = header.segment_bytes;
    let _ = format::decode_tables(&encoded, &footer, &binding);
    footer.tables_check = format::tables_checksum(data, &binding);
    let _ = format::decode_tables(data, &footer, &binding);
}

/// The identity file.
pub fn identity(data: &[u8]) {
    let _ = Identity::decode(data);
    let mut pieces = Pieces(data);
    let made =
        Identity { journal_id: pieces.take(), kind: pieces.take(), method: pieces.u8(), begun: pieces.u8() & 1 == 1 };
    let encoded = made.encode();
    assert_eq!(Identity::decode(&encoded), Ok(made));
    let signed: [u8; IDENTITY_BYTES] = signed_page(data, &encoded, FRAME);
    if let Ok(identity) = Identity::decode(&signed) {
        assert_eq!(Identity::decode(&identity.encode()), Ok(identity));
    }
}

/// As they are read: a level is not stored.
const CODECS: [format::Codec; 3] = [format::Codec::None, format::Codec::Lz4, format::Codec::Zstd(0)];

/// A commit's header and trailer.
pub fn commit(data: &[u8]) {
    let mut pieces = Pieces(data);
    let binding = any_header(&mut pieces).binding();
    let offset = pieces.u32();
    let _ = CommitHeader::decode(data, &binding, offset);
    let kinds = [
        CommitKind::Data,
        CommitKind::Opening,
        CommitKind::Release,
        CommitKind::IdleMark,
        CommitKind::ClosingMark,
        CommitKind::Checkpoint,
    ];
    let made = CommitHeader {
        first_sequence: pieces.u64(),
        previous_digest: pieces.u64(),
        count: pieces.u32(),
        stored_bytes: pieces.u32(),
        body_bytes: pieces.u32(),
        padding: pieces.u16(),
        kind: kinds[usize::from(pieces.u8()) % kinds.len()],
        codec: CODECS[usize::from(pieces.u8()) % CODECS.len()],
    };
    let mut encoded = [0u8; format::COMMIT_HEADER_BYTES];
    made.encode(&mut encoded, &binding, offset);
    assert_eq!(CommitHeader::decode(&encoded, &binding, offset), Some(made));
    assert_eq!(CommitHeader::decode(&encoded, &binding, offset ^ 8), None, "a moved commit never passes");
    let _ = made.total_bytes();
    if let Some(trailer) = CommitTrailer::decode(data) {
        let mut encoded = [0u8; format::COMMIT_TRAILER_BYTES];
        trailer.encode(&mut encoded);
        assert_eq!(CommitTrailer::decode(&encoded), Some(trailer));
    }
}

/// The header of a compressed block.
pub fn block(data: &[u8]) {
    let mut pieces = Pieces(data);
    let binding = any_header(&mut pieces).binding();
    let offset = pieces.u32();
    let _ = BlockHeader::decode(data, &binding, offset);
    let made = BlockHeader {
        stored_bytes: pieces.u32(),
        body_bytes: pieces.u32(),
        stored_crc: pieces.u32(),
        first_index: pieces.u32(),
        records: pieces.u16(),
        codec: CODECS[usize::from(pieces.u8()) % CODECS.len()],
    };
    let read = BlockHeader::decode(&made.encode(&binding, offset), &binding, offset);
    let bounded = made.body_bytes as usize <= format::BLOCK_BODY_MAX && made.stored_bytes <= made.body_bytes;
    assert_eq!(read, bounded.then_some(made), "a body over the bound is refused, whatever its check value says");
}

/// A record's header.
pub fn record(data: &[u8]) {
    let mut pieces = Pieces(data);
    let binding = any_header(&mut pieces).binding();
    let (offset, sequence) = (pieces.u32(), pieces.u64());
    let _ = RecordHeader::decode(data, &binding, offset, sequence);
    let _ = RecordHeader::decode_trusted(data);
    let made = RecordHeader {
        payload_bytes: pieces.u32(),
        payload_crc: pieces.u32(),
        log: pieces.u32(),
        kind: pieces.u8(),
        more: pieces.u8() & 1 != 0,
    };
    let mut encoded = Vec::new();
    encoded.extend_from_slice(&made.encode_open());
    RecordHeader::seal(&mut encoded, &binding, offset, sequence);
    assert_eq!(RecordHeader::decode(&encoded, &binding, offset, sequence), Some(made));
    assert_eq!(RecordHeader::decode(&encoded, &binding, offset, sequence ^ 1), None, "not of another sequence");
    let _ = made.total_bytes();
}

/// The bodies of the journal's own commits.
pub fn control_bodies(data: &[u8]) {
    let _ = format::decode_word(data);
    if let Some(mark) = format::decode_mark(data) {
        assert_eq!(format::encode_mark(mark)[..], *data);
    }
    if let Some((log, kind, payload)) = format::decode_checkpoint(data) {
        let encoded = format::encode_checkpoint(log, kind, payload);
        assert_eq!(format::decode_checkpoint(&encoded), Some((log, kind, payload)));
    }
    assert!(format::align_up(data.len(), PAGE_BYTES) < data.len() + PAGE_BYTES);
    let _ = CommitHeader::padding_for(DATA_OFFSET, data.len(), true);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Xorshift: the same noise in every run.
    fn noise(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    fn feed(input: &[u8]) {
        for (_, decoder) in DECODERS {
            decoder(input);
        }
    }

    #[test]
    fn no_decoder_panics_at_any_length() {
        for byte in [0u8, 1, 0x7f, 0x80, 0xff] {
            for length in (0..300).chain([1023, 4091, 4092, 4095, 4096, 4097, 8192]) {
                feed(&vec![byte; length]);
            }
        }
    }

    #[test]
    fn no_decoder_panics_on_noise() {
        let mut state = 0x9e37_79b9_7f4a_7c15;
        for _ in 0..2_000 {
            let length = noise(&mut state) as usize % 600;
            let mut input = Vec::with_capacity(length + 8);
            while input.len() < length {
                // Small, huge and ordinary values in equal parts: lengths and counts go wrong at their ends.
                let word = noise(&mut state);
                let word = match word & 3 {
                    0 => word >> 56,
                    1 => u64::MAX - (word >> 60),
                    _ => word,
                };
                input.extend_from_slice(&word.to_le_bytes());
            }
            feed(&input);
        }
    }
}
