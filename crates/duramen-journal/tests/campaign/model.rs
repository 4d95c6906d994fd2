//! What the outside world was told, and what must therefore hold after a crash. Owns the events, the records' contents
//! and the rules; knows the journal only as records and a report.

use std::sync::OnceLock;

use duramen_journal::disk::sim::{Generator, History};
use duramen_journal::{Record, Sequence};

/// The records of one batch.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Shape {
    pub records: u32,
    pub bytes: u32,
    pub log: u32,
    /// The records take turns in so many logs.
    pub logs: u32,
    pub kind: u8,
}

impl Shape {
    pub fn log_of(&self, index: u32) -> u32 {
        self.log + index % self.logs
    }
}

/// Something that the outside world was told, or asked for.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub enum Event {
    /// A batch was handed in, or is about to be.
    Issued {
        first: Sequence,
        content: u32,
        shape: Shape,
    },
    /// The journal said that nothing from here on is stored: the sequences are given again.
    Withdrawn(Sequence),
    /// Everything up to here was called durable.
    Durable(Sequence),
    /// Everything up to here was called safe from the death of the process.
    Written(Sequence),
    /// The journal was poisoned: what was not durable may be there or not.
    Unknown,
    /// Nothing below is needed: asked, and acknowledged.
    ReleaseAsked(Sequence),
    Released(Sequence),
    Closed,
    Opened,
    /// A recovery served everything from `first` to before `next`.
    Served {
        first: Sequence,
        next: Sequence,
    },
    /// What was only written is void.
    PowerCut,
}

/// One batch as it was issued.
#[derive(Clone, Copy, Debug)]
pub struct Issued {
    pub first: Sequence,
    pub content: u32,
    pub shape: Shape,
}

impl Issued {
    pub fn next(&self) -> Sequence {
        self.first + u64::from(self.shape.records)
    }
}

/// What the events so far demand.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub issued: Vec<Issued>,
    pub durable: Sequence,
    pub written: Sequence,
    pub release_asked: Sequence,
    pub released: Sequence,
    pub poisoned: bool,
    pub closed: bool,
}

const POOL_BYTES: usize = 256 << 10;
const POOL_ROOM: usize = 64 << 10;

/// The bytes that all payloads are cut from: words, so that codecs have something to find.
fn pool() -> &'static [u8] {
    static POOL: OnceLock<Vec<u8>> = OnceLock::new();
    POOL.get_or_init(|| {
        let mut generator = Generator::new(0x9e37);
        let mut words = vec![0u8; 64 * 8];
        generator.fill(&mut words);
        let mut pool = Vec::with_capacity(POOL_BYTES + 16);
        while pool.len() < POOL_BYTES {
            let word = generator.below(64) as usize * 8;
            pool.extend_from_slice(&words[word..word + 8]);
            pool.push(generator.below(256) as u8);
        }
        pool
    })
}

/// The payload of one record of a batch.
pub fn payload(content: u32, index: u32, bytes: u32) -> &'static [u8] {
    let from = (content as usize * 977 + index as usize * 61) % (POOL_BYTES - POOL_ROOM);
    &pool()[from..from + bytes as usize]
}

impl Model {
    pub fn of(history: &History<Event>) -> Model {
        let mut model = Model::default();
        history.for_each(|event| model.apply(event));
        model
    }

    pub fn apply(&mut self, event: &Event) {
        self.closed = *event == Event::Closed;
        match *event {
            Event::Issued { first, content, shape } => {
                self.truncate(first);
                self.issued.push(Issued { first, content, shape });
            }
            Event::Withdrawn(from) => self.truncate(from),
            Event::Durable(upto) => self.durable = self.durable.max(upto),
            Event::Written(upto) => self.written = self.written.max(upto),
            Event::Unknown => self.poisoned = true,
            Event::ReleaseAsked(below) => self.release_asked = self.release_asked.max(below),
            Event::Released(below) => self.released = self.released.max(below),
            Event::Closed | Event::Opened => {}
            Event::Served { next, .. } => {
                self.truncate(next);
                self.durable = next - 1;
                self.written = next - 1;
                self.poisoned = false;
            }
            Event::PowerCut => self.written = self.durable,
        }
    }

    fn truncate(&mut self, from: Sequence) {
        while self.issued.last().is_some_and(|issued| issued.first >= from) {
            self.issued.pop();
        }
    }

    /// The sequence behind the last one that was issued.
    pub fn next(&self) -> Sequence {
        self.issued.last().map_or(1, Issued::next)
    }

    /// The batch that begins here.
    pub fn batch_at(&self, first: Sequence) -> Option<Issued> {
        self.issued.binary_search_by_key(&first, |issued| issued.first).ok().map(|place| self.issued[place])
    }

    /// Whether a prefix may end before this sequence without cutting a batch.
    fn is_boundary(&self, next: Sequence) -> bool {
        next == 1 || next == self.next() || self.batch_at(next).is_some()
    }

    /// Where a recovery may end.
    pub fn check_next(&self, next: Sequence, floor: Sequence) -> Result<(), String> {
        if next <= floor {
            return Err(format!("lost: {floor} was acknowledged, and the next is {next}"));
        }
        if next > self.next() {
            return Err(format!("invented: {} was never issued, and the next is {next}", self.next()));
        }
        if !self.is_boundary(next) {
            return Err(format!("half a batch: the next is {next}"));
        }
        Ok(())
    }

    /// Whether the records are those that were issued, all from `first` to before `next`.
    pub fn check_records(
        &self,
        records: impl Iterator<Item = Result<Record, duramen_journal::Error>>,
        first: Sequence,
        next: Sequence,
    ) -> Result<(), String> {
        let mut expected = first;
        let mut place = self.issued.partition_point(|issued| issued.next() <= first);
        for record in records {
            let record = record.map_err(|error| format!("record {expected} cannot be read: {error}"))?;
            if record.sequence != expected {
                return Err(format!("record {expected} was expected, and {} came", record.sequence));
            }
            while self.issued.get(place).is_some_and(|issued| issued.next() <= expected) {
                place += 1;
            }
            let issued = self.issued.get(place).ok_or_else(|| format!("record {expected} was never issued"))?;
            let index = (expected - issued.first) as u32;
            let shape = issued.shape;
            let same = record.payload == payload(issued.content, index, shape.bytes)
                && record.log == shape.log_of(index)
                && record.kind == shape.kind
                && record.more == (index + 1 < shape.records);
            if !same {
                return Err(format!("record {expected} is not what was issued (content {})", issued.content));
            }
            expected += 1;
        }
        if expected != next {
            Err(format!("the scan ended before {expected}, the report before {next}"))
        } else {
            Ok(())
        }
    }
}
