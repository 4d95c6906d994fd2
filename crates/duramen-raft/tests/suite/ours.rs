//! Our log on the simulated disk, as the suite wants it.

use std::path::Path;
use std::time::Duration;

use duramen_journal::disk::sim::{Effect, Fault, Operation, Personality, SimDisk, Survivors, errno};
use duramen_journal::disk::{Access, SyncMethod};
use duramen_journal::{Options, World};
use duramen_raft::suite::{Done, Failure, Item, Place, Store, Told};
use duramen_raft::{Config, Entry, FlushPolicy, Plain, RaftLog, RaftLogs, Strategy, TermIndex, TermVote};

pub fn words(error: impl ToString) -> String {
    error.to_string()
}

pub fn config(strategy: Strategy) -> Config {
    let journal = Options {
        sync_method: Some(SyncMethod::DataSync),
        tail_cache_bytes: 0,
        read_cache_bytes: 0,
        spares_max: 1,
        idle_mark: Some(Duration::from_secs(10)),
        ..Options::default()
    };
    let flush = FlushPolicy::Batch { threshold: 1 << 40, interval: Duration::from_secs(3600) };
    let config = match strategy {
        Strategy::MemFirst => Config::mem_first("/raft", flush),
        Strategy::DiskFirst => Config::new("/raft"),
    };
    Config { chunk_max_size: 256 << 10, read_buffer_size: 64 << 10, log_cache_capacity: 64 << 10, journal, ..config }
}

pub struct Open {
    logs: RaftLogs<Plain>,
    pub log: RaftLog<Plain>,
}

pub fn open_with(world: &World, config: Config) -> Result<Open, String> {
    let (logs, _) = RaftLogs::open_with(config, world.clone()).map_err(words)?;
    let log = logs.group(1).map_err(words)?;
    Ok(Open { logs, log })
}

pub fn open(world: &World, strategy: Strategy) -> Result<Open, String> {
    open_with(world, config(strategy))
}

pub struct Ours {
    pub disk: SimDisk,
    pub strategy: Strategy,
}

impl Ours {
    pub fn new(strategy: Strategy) -> Ours {
        Ours::on(SimDisk::new(1), strategy)
    }

    pub fn on(disk: SimDisk, strategy: Strategy) -> Ours {
        Ours { disk, strategy }
    }
}

impl Place for Ours {
    type Store = Open;

    fn open(&self) -> Result<Open, String> {
        open(&self.disk.world(), self.strategy)
    }

    fn copy(&self) -> Option<Ours> {
        Some(Ours::on(self.disk.kill(), self.strategy))
    }

    fn cut_power(&self, states_max: u64) -> Option<Vec<Ours>> {
        let images = self.disk.crash_images(states_max);
        Some(images.into_iter().map(|disk| Ours::on(disk, self.strategy)).collect())
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let world = self.disk.world();
        let read = |(name, size): (String, u64)| {
            let mut bytes = vec![0; size as usize];
            let file = world.disk.open(Path::new(&name), Access::Read).expect("opens");
            let read = file.read_at(&mut bytes, 0).expect("reads");
            assert_eq!(read, bytes.len());
            (name, bytes)
        };
        self.disk.list_files().into_iter().map(read).collect()
    }

    fn put(&self, name: &str, bytes: &[u8]) -> bool {
        self.disk.put_durable(name, bytes).is_ok()
    }

    fn fail(&self, what: Failure) -> bool {
        let forever = |operation| Fault::new(Effect::Error(errno::EIO)).on(operation).times(u64::MAX);
        match what {
            Failure::Reads => {
                self.disk.drop_caches();
                self.disk.fault(forever(Operation::Read));
            }
            Failure::Writes => {
                self.disk.fault(forever(Operation::Write));
                self.disk.fault(forever(Operation::WriteSync));
            }
            Failure::Sync => {
                let (personality, survivors) = (Personality::Once, Survivors::Nothing);
                self.disk.fault(Fault::new(Effect::FailedSync { code: errno::EIO, personality, survivors }));
            }
            Failure::Full => self.disk.set_capacity(Some(self.disk.used())),
        }
        true
    }

    fn heal(&self) {
        self.disk.clear_faults();
        self.disk.set_capacity(None);
    }
}

impl Store for Open {
    fn save_vote(&mut self, vote: TermVote) -> Result<(), String> {
        self.log.writer().save_vote(&vote).map_err(words)
    }

    fn append(&mut self, items: &[Item], done: Done) -> Result<(), String> {
        let entries = items.iter().map(|(id, payload)| Entry::new(*id, payload.clone().into())).collect();
        let receipt = self.log.writer().append(entries).map_err(words)?;
        receipt.on_durable(move |outcome| done(outcome.map_err(words)));
        Ok(())
    }

    fn truncate_after(&mut self, kept: TermIndex) -> Result<(), String> {
        self.log.writer().truncate_after(Some(&kept)).map_err(words)?.wait_durable().map_err(words)
    }

    fn purge(&mut self, upto: TermIndex) -> Result<(), String> {
        self.log.writer().purge(&upto).map_err(words)?.wait_durable().map_err(words)
    }

    fn commit(&mut self, upto: TermIndex) -> Result<(), String> {
        self.log.writer().commit(&upto).map(drop).map_err(words)
    }

    fn read(&self, start: u64, end: u64) -> Result<Vec<Item>, String> {
        let stream = self.log.reader().stream(start..end).map_err(words)?;
        stream.map(|entry| entry.map(|entry| (entry.id, entry.payload.to_vec())).map_err(words)).collect()
    }

    fn told(&self) -> Told {
        let state = self.log.state();
        Told { vote: state.vote, last: state.last, purged: state.purged, committed: state.committed }
    }

    fn close(self) -> Result<(), String> {
        self.logs.close().map_err(words)
    }
}
