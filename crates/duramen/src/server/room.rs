//! Room for clients: what the bodies, queries and answers of all of them may hold in memory at the same time, and how many queries
//! run. Owns the counting; whoever gets room keeps it together with what it is for, until that is gone.
//!
//! With `http.body_bytes_max` as `B`, all clients together hold at most:
//! 1. `4 B` of bodies as they came, from the first byte on until what they say is written;
//! 2. `4 B` of bodies that came compressed, unpacked: so large may one be;
//! 3. 2,500,000 samples of PromQL, at 16 bytes, and about as much again for their labels and lists: one query has 500,000, and is
//!    asked again with 2,000,000, with one other beside it, if that was too little;
//! 4. 64 MiB of answers to such queries, or one answer, until their clients have taken them, and 64 KiB for each connection.
//!
//! Whoever finds no room waits. Nobody waits for room of one kind while holding a later one of this list, so that nobody waits for
//! himself.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::HttpConfig;

/// How much larger a body may be that comes compressed, and how many of the largest have room.
const RAW_TIMES: usize = 4;
/// The unit in which bytes are counted.
const UNIT: usize = 1 << 10;
/// Samples that a query may hold at one time for each of its shares.
const SHARE_SAMPLES: usize = 500_000;
/// Shares of all queries.
const SHARES: u32 = 5;
/// Shares of a query that needs many samples.
const SHARES_OF_ONE: u32 = 4;
/// Searches through rows at the same time.
const SEARCHES: usize = 8;
/// Bytes of answers.
const ANSWERS_BYTES_MAX: usize = 64 << 20;
/// Answers that are smaller are not counted: connections are.
const ANSWER_BYTES_FREE: usize = 64 << 10;

/// Room for all clients.
#[derive(Debug)]
pub struct Room {
    body_bytes_max: usize,
    received: Bytes,
    unpacked: Bytes,
    answers: Bytes,
    shares: Arc<Semaphore>,
    searches: Arc<Semaphore>,
}

/// There was no room for as long as somebody was willing to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Bytes that may be held together.
#[derive(Debug)]
struct Bytes {
    units: usize,
    free: Arc<Semaphore>,
}

impl Bytes {
    fn new(max: usize) -> Bytes {
        let units = (max / UNIT).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Bytes { units, free: Arc::new(Semaphore::new(units)) }
    }

    /// What is larger than all room gets all of it.
    async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = bytes.div_ceil(UNIT).clamp(1, self.units) as u32;
        self.free.clone().acquire_many_owned(units).await.ok()
    }
}

/// Bytes, with the room that they take.
#[derive(Debug)]
pub struct Held {
    /// What was received, or made of it.
    pub bytes: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Room for bytes that are not there yet.
#[derive(Debug)]
pub struct Place(Option<OwnedSemaphorePermit>);

impl Place {
    /// Room that nobody counts.
    pub const UNCOUNTED: Place = Place(None);

    /// The bytes have come.
    pub fn hold(self, bytes: Vec<u8>) -> Held {
        Held { bytes, _room: self.0 }
    }
}

/// How many samples a query needs. Nobody knows before it was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuerySize {
    /// As nearly all.
    Usual,
    /// As many as one may hold.
    Large,
}

/// A query's shares of what all queries may hold.
#[derive(Debug)]
pub struct Shares(OwnedSemaphorePermit);

impl Shares {
    /// Samples that it may hold at one time.
    pub fn samples_max(&self) -> usize {
        SHARE_SAMPLES * self.0.num_permits()
    }
}

impl Room {
    /// All of it is free.
    pub fn new(http: &HttpConfig) -> Room {
        let body_bytes_max = usize::try_from(http.body_bytes_max.0).unwrap_or(usize::MAX);
        let bodies = body_bytes_max.saturating_mul(RAW_TIMES);
        Room {
            body_bytes_max,
            received: Bytes::new(bodies),
            unpacked: Bytes::new(bodies),
            answers: Bytes::new(ANSWERS_BYTES_MAX),
            shares: Arc::new(Semaphore::new(SHARES as usize)),
            searches: Arc::new(Semaphore::new(SEARCHES)),
        }
    }

    /// Bytes of one body as it comes.
    pub fn body_bytes_max(&self) -> usize {
        self.body_bytes_max
    }

    /// Bytes of one body, unpacked.
    pub fn unpacked_bytes_max(&self) -> usize {
        self.body_bytes_max.saturating_mul(RAW_TIMES)
    }

    /// Room for a body.
    ///
    /// # Errors
    /// There was none for so long.
    pub async fn for_body(&self, bytes: usize, patience: Duration) -> Result<Place, Full> {
        in_time(self.received.take(bytes), patience).await.map(|room| Place(Some(room)))
    }

    /// Room for what comes out of a body.
    ///
    /// # Errors
    /// There was none for so long.
    pub async fn for_unpacked(&self, bytes: usize, patience: Duration) -> Result<Place, Full> {
        in_time(self.unpacked.take(bytes), patience).await.map(|room| Place(Some(room)))
    }

    /// Room for an answer, until its client has taken it.
    pub async fn for_answer(&self, bytes: usize) -> Place {
        match bytes {
            0..=ANSWER_BYTES_FREE => Place::UNCOUNTED,
            _ => Place(self.answers.take(bytes).await),
        }
    }

    /// Shares for a query; `None`: the daemon ends.
    pub async fn for_query(&self, size: QuerySize) -> Option<Shares> {
        let count = match size {
            QuerySize::Usual => 1,
            QuerySize::Large => SHARES_OF_ONE,
        };
        self.shares.clone().acquire_many_owned(count).await.ok().map(Shares)
    }

    /// A place for a search through rows, to be kept while it runs.
    ///
    /// # Errors
    /// There was none for so long.
    pub async fn for_search(&self, patience: Duration) -> Result<OwnedSemaphorePermit, Full> {
        in_time(async { self.searches.clone().acquire_owned().await.ok() }, patience).await
    }
}

async fn in_time<T>(taking: impl Future<Output = Option<T>>, patience: Duration) -> Result<T, Full> {
    tokio::time::timeout(patience, taking).await.ok().flatten().ok_or(Full)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Size;

    const NOW: Duration = Duration::ZERO;

    fn room() -> Room {
        Room::new(&HttpConfig { body_bytes_max: Size(1 << 20), ..HttpConfig::default() })
    }

    fn block<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
    }

    /// The permit once ended when a body had been read: what waited for a thread, and what was unpacked, counted nowhere.
    #[test]
    fn bytes_keep_their_room_until_they_are_gone() {
        block(async {
            let room = room();
            let mut held = Vec::new();
            for _ in 0..4 {
                held.push(room.for_body(1 << 20, NOW).await.unwrap().hold(vec![0; 1 << 20]));
            }
            assert_eq!(room.for_body(1, NOW).await.unwrap_err(), Full);
            let unpacked = room.for_unpacked(room.unpacked_bytes_max(), NOW).await.unwrap().hold(vec![1]);
            assert_eq!(room.for_unpacked(1, NOW).await.unwrap_err(), Full);
            held.pop();
            let again = room.for_body(1 << 20, NOW).await.unwrap();
            drop(unpacked);
            assert!(room.for_unpacked(1, NOW).await.is_ok());
            drop(again);
            // What is larger than all room waits until nobody else holds any, and does not wait for ever.
            assert_eq!(room.for_body(usize::MAX, NOW).await.unwrap_err(), Full);
            held.clear();
            assert!(room.for_body(usize::MAX, NOW).await.is_ok());
        });
    }

    /// Samples were once bounded for each query, and queries not at all.
    #[test]
    fn queries_share_their_samples() {
        block(async {
            let room = room();
            let taken = async |size| tokio::time::timeout(NOW, room.for_query(size)).await.ok().flatten();
            let large = taken(QuerySize::Large).await.unwrap();
            assert_eq!(large.samples_max(), 2_000_000);
            let usual = taken(QuerySize::Usual).await.unwrap();
            assert_eq!(usual.samples_max(), 500_000);
            assert!(taken(QuerySize::Usual).await.is_none());
            drop(large);
            assert!(taken(QuerySize::Large).await.is_some());
            let searches: Vec<_> = (0..SEARCHES).map(|_| room.for_search(NOW)).collect();
            let mut kept = Vec::new();
            for search in searches {
                kept.push(search.await.unwrap());
            }
            assert!(room.for_search(NOW).await.is_err());
        });
    }

    #[test]
    fn answers_have_room_until_they_are_taken_and_small_ones_need_none() {
        block(async {
            let room = room();
            let large = axum::body::Bytes::from_owner(room.for_answer(ANSWERS_BYTES_MAX).await.hold(vec![b'x'; 9]));
            let part = large.slice(3..5);
            drop(large);
            assert!(tokio::time::timeout(NOW, room.for_answer(ANSWER_BYTES_FREE + 1)).await.is_err());
            room.for_answer(ANSWER_BYTES_FREE).await;
            drop(part);
            room.for_answer(ANSWER_BYTES_FREE + 1).await;
        });
    }
}
