//! The state machine: keys and values in memory. Its snapshots are [`duramen_raft::Snapshots`], durable before openraft is
//! told of them, so that the log may be purged below.

use std::collections::BTreeMap;
use std::io;
use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard};

use duramen_raft::SnapshotError;
use futures::{Stream, TryStreamExt as _};
use openraft::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use serde::{Deserialize, Serialize};

use crate::types::{Answer, Command, Kv, Store};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Data {
    applied: Option<LogIdOf<Kv>>,
    membership: StoredMembershipOf<Kv>,
    values: BTreeMap<String, String>,
}

/// The state machine. Clones share it.
#[derive(Clone)]
pub struct Machine {
    data: Arc<Mutex<Data>>,
    store: Store,
}

fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::other(error)
}

impl Machine {
    /// As it was when the newest good snapshot was taken; openraft applies what the log has behind it.
    ///
    /// # Errors
    /// No snapshot can be read, though there are some.
    pub fn load(store: Store) -> io::Result<Machine> {
        let data = match store.log().snapshots().and_then(|snapshots| snapshots.load()).map_err(other)? {
            Some(snapshot) => {
                let chunks: Result<Vec<_>, _> = snapshot.chunks().collect();
                serde_json::from_slice(&chunks.map_err(other)?.concat())?
            }
            None => Data::default(),
        };
        Ok(Machine { data: Arc::new(Mutex::new(data)), store })
    }

    fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().expect("nothing panics under it")
    }

    /// A key's value, as of what has been applied.
    pub fn get(&self, key: &str) -> Option<String> {
        self.data().values.get(key).cloned()
    }

    /// The last entry that has been applied.
    pub fn applied(&self) -> Option<LogIdOf<Kv>> {
        self.data().applied
    }

    /// Publishes a snapshot. One that covers as much may be there: that is as good.
    fn save(&self, data: &Data, install: bool) -> io::Result<()> {
        let Some(applied) = &data.applied else { return Ok(()) };
        let saved = self.store.log().snapshots().and_then(|snapshots| {
            let mut writer = snapshots.begin(applied, b"")?;
            writer.write(&serde_json::to_vec(data).expect("strings and numbers are JSON"))?;
            if install { writer.install() } else { writer.finish() }
        });
        match saved {
            Ok(_) | Err(duramen_raft::Error::Snapshot(SnapshotError::Outdated { .. })) => Ok(()),
            Err(error) => Err(other(error)),
        }
    }
}

impl Data {
    fn apply(&mut self, command: &Command) -> Answer {
        match command {
            Command::Put { key, value } => {
                self.values.insert(key.clone(), value.clone());
                Answer { done: true }
            }
            Command::Cas { key, expected, value } => {
                let done = self.values.get(key) == expected.as_ref();
                if done {
                    self.values.insert(key.clone(), value.clone());
                }
                Answer { done }
            }
        }
    }

    fn snapshot(&self) -> io::Result<SnapshotOf<Kv, Cursor<Vec<u8>>>> {
        let meta = SnapshotMetaOf::<Kv> { last_log_id: self.applied, last_membership: self.membership.clone() };
        Ok(SnapshotOf::<Kv, Cursor<Vec<u8>>> { meta, snapshot: Cursor::new(serde_json::to_vec(self)?) })
    }
}

impl RaftSnapshotBuilder<Kv> for Machine {
    type SnapshotData = Cursor<Vec<u8>>;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Kv, Cursor<Vec<u8>>>> {
        let data = self.data().clone();
        let machine = self.clone();
        let copy = data.clone();
        tokio::task::spawn_blocking(move || machine.save(&copy, false)).await.map_err(other)??;
        data.snapshot()
    }
}

impl RaftStateMachine<Kv> for Machine {
    type SnapshotData = Cursor<Vec<u8>>;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogIdOf<Kv>>, StoredMembershipOf<Kv>)> {
        let data = self.data();
        Ok((data.applied, data.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Kv>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut data = self.data();
            data.applied = Some(entry.log_id);
            let answer = match &entry.payload {
                EntryPayload::Blank => Answer::default(),
                EntryPayload::Normal(command) => data.apply(command),
                EntryPayload::Membership(membership) => {
                    data.membership = StoredMembershipOf::<Kv>::new(Some(entry.log_id), membership.clone());
                    Answer::default()
                }
            };
            drop(data);
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Kv>, snapshot: Cursor<Vec<u8>>) -> io::Result<()> {
        let mut data: Data = serde_json::from_slice(snapshot.get_ref())?;
        data.applied = meta.last_log_id;
        data.membership = meta.last_membership.clone();
        let (machine, copy) = (self.clone(), data.clone());
        tokio::task::spawn_blocking(move || machine.save(&copy, true)).await.map_err(other)??;
        *self.data() = data;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Kv, Cursor<Vec<u8>>>>> {
        let store = self.store.clone();
        let loaded = tokio::task::spawn_blocking(move || Machine::load(store)).await.map_err(other)??;
        let data = loaded.data().clone();
        data.applied.map(|_| data.snapshot()).transpose()
    }
}
