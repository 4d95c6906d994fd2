//! The latest decisions in memory, bounded in bytes: the oldest goes first. Pure.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::SeqNo;

#[derive(Debug, Default)]
pub(crate) struct Cache {
    decisions: BTreeMap<SeqNo, Bytes>,
    order: VecDeque<SeqNo>,
    bytes: usize,
    max: usize,
}

/// What a decision takes beside its bytes.
const OVERHEAD: usize = 96;

impl Cache {
    pub fn new(max: usize) -> Cache {
        Cache { max, ..Cache::default() }
    }

    pub fn insert(&mut self, seq_no: SeqNo, bytes: Bytes) {
        if bytes.len() + OVERHEAD > self.max {
            return;
        }
        self.bytes += bytes.len() + OVERHEAD;
        match self.decisions.insert(seq_no, bytes) {
            Some(old) => self.bytes -= old.len() + OVERHEAD,
            None => self.order.push_back(seq_no),
        }
        while self.bytes > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.decisions.remove(&oldest).map_or(0, |bytes| bytes.len() + OVERHEAD);
        }
    }

    pub fn get(&self, seq_no: SeqNo) -> Option<Bytes> {
        self.decisions.get(&seq_no).cloned()
    }

    pub fn clear(&mut self) {
        *self = Cache::new(self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_there_is_no_room() {
        let mut cache = Cache::new(10 * (100 + OVERHEAD));
        (0..15).for_each(|at| cache.insert(at, vec![at as u8; 100].into()));
        assert_eq!((cache.get(4), cache.get(5)), (None, Some(vec![5; 100].into())));
        cache.insert(14, vec![1; 50].into());
        assert_eq!(cache.get(14), Some(vec![1; 50].into()));
        cache.insert(99, vec![0; 5000].into());
        assert_eq!(cache.get(99), None, "larger than all the room");
        assert!(cache.bytes <= cache.max);
        cache.clear();
        assert_eq!(cache.get(14), None);
    }
}
