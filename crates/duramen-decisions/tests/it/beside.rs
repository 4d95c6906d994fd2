//! Stores go on while a checkpoint is written and while the log is compacted: what is long waits here for a store, which could never
//! come if it waited for that.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use duramen_decisions::backend::kv::{Kv, KvBackend, KvOp};
use duramen_decisions::backend::memory::MemoryKv;
use duramen_decisions::{Blake3, Error, Log, PersistentLog as _, PersistentLogConfig, RawLayer, State, StateWriter};

use crate::decision;

/// Longer than any store takes; only a failure waits so long.
const NEVER: Duration = Duration::from_secs(60);

/// Says that it was reached, and waits until it may go on.
#[derive(Debug)]
struct Turnstile {
    reached: Sender<()>,
    go_on: Mutex<Receiver<()>>,
}

fn turnstile() -> (Turnstile, Receiver<()>, Sender<()>) {
    let ((reached, seen), (go, go_on)) = (channel(), channel());
    (Turnstile { reached, go_on: Mutex::new(go_on) }, seen, go)
}

impl Turnstile {
    fn pass(&self) {
        self.reached.send(()).unwrap();
        self.go_on.lock().unwrap().recv_timeout(NEVER).expect("stores go on meanwhile");
    }
}

fn config() -> PersistentLogConfig {
    let mut config = PersistentLogConfig::new("unused");
    config.retention.compact = false;
    config
}

/// A state that takes its time.
struct Slow(Option<Turnstile>);

impl State for Slow {
    fn write_to(&self, out: &mut StateWriter<'_>) -> std::io::Result<()> {
        out.write_all(&[7; 100_000])?;
        self.0.iter().for_each(Turnstile::pass);
        out.write_all(&[8; 100_000])
    }

    fn read_from(_: &mut dyn std::io::Read) -> std::io::Result<Slow> {
        Ok(Slow(None))
    }
}

#[test]
fn stores_go_on_while_a_checkpoint_is_written() {
    let backend = KvBackend::new(MemoryKv::default(), &config()).unwrap();
    let log = Log::<Blake3, Slow, RawLayer, _>::on(backend, config()).unwrap();
    log.store_decision(1, &decision(1)).unwrap().wait().unwrap();
    let (turnstile, reached, go) = turnstile();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| log.store_checkpoint(1, &Slow(Some(turnstile))));
        reached.recv_timeout(NEVER).unwrap();
        for seq_no in 2..50 {
            log.store_decision(seq_no, &decision(seq_no)).unwrap().wait().unwrap();
        }
        assert_eq!((log.last_contiguous().unwrap(), log.last_checkpoint()), (Some(49), None), "not before it is whole");
        go.send(()).unwrap();
        assert_eq!(writing.join().unwrap().unwrap().bytes, 200_000);
    });
    assert_eq!(log.last_checkpoint(), Some(1));
}

/// Keys and values whose room takes its time to be given back.
#[derive(Debug)]
struct SlowKv(MemoryKv, Turnstile);

impl Kv for SlowKv {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn apply(&self, ops: Vec<KvOp>) -> Result<(), Error> {
        self.0.apply(ops)
    }

    fn persist(&self) -> Result<(), Error> {
        self.0.persist()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.0.get(key)
    }

    fn keys(&self, from: &[u8], to: &[u8], max: usize) -> Result<Vec<Vec<u8>>, Error> {
        self.0.keys(from, to, max)
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.0.last(from, to)
    }

    fn collect(&self) -> Result<(), Error> {
        self.1.pass();
        Ok(())
    }
}

#[test]
fn stores_go_on_while_the_log_is_compacted() {
    let (turnstile, reached, go) = turnstile();
    let backend = KvBackend::new(SlowKv(MemoryKv::default(), turnstile), &config()).unwrap();
    let log = Log::<Blake3, Vec<u8>, RawLayer, _>::on(backend, config()).unwrap();
    for seq_no in 1..=20 {
        log.store_decision(seq_no, &decision(seq_no)).unwrap().wait().unwrap();
    }
    log.store_checkpoint(20, &vec![1; 100]).unwrap();
    std::thread::scope(|scope| {
        let compacting = scope.spawn(|| log.compact_log_up_to(10));
        reached.recv_timeout(NEVER).unwrap();
        for seq_no in 21..50 {
            log.store_decision(seq_no, &decision(seq_no)).unwrap().wait().unwrap();
        }
        assert_eq!((log.base(), log.retrieve_decision(49).unwrap()), (Some(10), Some(decision(49))));
        go.send(()).unwrap();
        compacting.join().unwrap().unwrap();
    });
}
