//! The state machine: keys with values, and what each client was answered last. Owns how a checkpoint of it is written and read.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use duramen_decisions::{Blake3, Digest as _, SeqNo, State, StateWriter};
use serde::{Deserialize, Serialize};

use crate::types::{Decision, Hash, encoded};

/// A part of a checkpoint ends behind a key whose digest's first byte is below this: every 64th.
const ENDS_BELOW: u8 = 4;
/// Bytes of an entry, at most.
const ENTRY_MAX: u32 = 16 << 20;

/// The last of a client's requests: its number, and the decision that had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The request's number.
    pub number: u64,
    /// The decision's.
    pub seq_no: SeqNo,
}

/// Keys and values. Replicas that applied the same decisions have equal ones, with equal bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValues {
    values: BTreeMap<String, String>,
    answers: BTreeMap<u64, Answer>,
}

impl KeyValues {
    /// Applies a decision; returns whom to answer. A request that was executed before is answered as it was, and changes nothing.
    pub fn apply(&mut self, seq_no: SeqNo, decision: &Decision) -> Vec<(u64, Answer)> {
        let mut answers = Vec::new();
        for command in &decision.commands {
            let known = self.answers.get(&command.client).filter(|known| known.number >= command.number);
            let answer = known.copied().unwrap_or(Answer { number: command.number, seq_no });
            if known.is_none() {
                self.values.insert(command.key.clone(), command.value.clone());
                self.answers.insert(command.client, answer);
            }
            answers.push((command.client, answer));
        }
        answers
    }

    /// A key's value.
    pub fn get(&self, key: &str) -> Option<&String> {
        self.values.get(key)
    }

    /// What clients were answered last.
    pub fn answers(&self) -> &BTreeMap<u64, Answer> {
        &self.answers
    }

    /// The digest of all of it.
    pub fn digest(&self) -> Hash {
        let mut bytes = Vec::new();
        self.write_parts(&mut bytes, |_| Ok(())).expect("memory takes all");
        Blake3::of(&[&bytes]).bytes()
    }

    /// Writes the answers, which change all the time, and the values in parts. Where a part ends depends on a key alone, so that a
    /// put changes the part that its key lies in, and no other.
    fn write_parts<W: Write>(&self, out: &mut W, end_part: fn(&mut W) -> io::Result<()>) -> io::Result<()> {
        write_entry(out, &self.answers)?;
        end_part(out)?;
        for (key, value) in &self.values {
            write_entry(out, &(key, value))?;
            if Blake3::of(&[key.as_bytes()]).bytes()[0] < ENDS_BELOW {
                end_part(out)?;
            }
        }
        Ok(())
    }
}

fn write_entry<W: Write>(out: &mut W, value: &impl Serialize) -> io::Result<()> {
    let bytes = encoded(value);
    out.write_all(&(bytes.len() as u32).to_le_bytes())?;
    out.write_all(&bytes)
}

/// The next entry's bytes; `None`: there is no more.
fn read_entry(input: &mut dyn Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    let mut have = 0;
    while have < length.len() {
        match input.read(&mut length[have..])? {
            0 if have == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => have += more,
        }
    }
    let length = u32::from_le_bytes(length);
    if length > ENTRY_MAX {
        return Err(io::Error::other(format!("an entry of {length} bytes")));
    }
    let mut bytes = vec![0; length as usize];
    input.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

impl State for KeyValues {
    fn write_to(&self, out: &mut StateWriter<'_>) -> io::Result<()> {
        self.write_parts(out, |out| out.end_part())
    }

    fn read_from(input: &mut dyn Read) -> io::Result<KeyValues> {
        let answers = read_entry(input)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let answers = postcard::from_bytes(&answers).map_err(io::Error::other)?;
        let mut values = BTreeMap::new();
        while let Some(entry) = read_entry(input)? {
            let (key, value) = postcard::from_bytes(&entry).map_err(io::Error::other)?;
            values.insert(key, value);
        }
        Ok(KeyValues { values, answers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Command, Layer};
    use duramen_decisions::backend::kv::KvBackend;
    use duramen_decisions::backend::memory::MemoryKv;
    use duramen_decisions::{Log, PersistentLog as _, PersistentLogConfig};

    fn put(state: &mut KeyValues, number: u64) -> Vec<(u64, Answer)> {
        let command = Command { client: 1, number, key: format!("key {number:06}"), value: "v".repeat(100) };
        state.apply(number, &Decision { commands: vec![command] })
    }

    #[test]
    fn a_put_changes_one_part_of_a_checkpoint() {
        let mut config = PersistentLogConfig::new("/nowhere");
        config.chunk_size = 16 << 10;
        let backend = KvBackend::new(MemoryKv::default(), &config).unwrap();
        let log = Log::<Blake3, KeyValues, Layer, _>::on(backend, config).unwrap();
        let mut state = KeyValues::default();
        (1..=5000).for_each(|number| _ = put(&mut state, number));
        log.store_checkpoint(5000, &state).unwrap();
        let before = log.stats().backend.stored_bytes;
        assert_eq!(put(&mut state, 5001), [(1, Answer { number: 5001, seq_no: 5001 })]);
        log.store_checkpoint(5001, &state).unwrap();
        let more = log.stats().backend.stored_bytes - before;
        assert!(more < before / 10, "{more} bytes more than {before}");
        assert_eq!(log.retrieve_last_checkpoint().unwrap(), Some((5001, state.clone())));
        let digest = state.digest();
        assert_eq!(put(&mut state, 7), [(1, Answer { number: 5001, seq_no: 5001 })], "it was executed before");
        assert_eq!(state.digest(), digest);
    }
}
