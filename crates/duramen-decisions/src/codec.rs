//! What a protocol's types have to bring so that they can be stored. Owns the traits; the bytes are the user's.

use std::io;

use bytes::Bytes;

use crate::state::StateWriter;

/// A type whose values become bytes, and come back.
///
/// The bytes are stored as they are: a type that changes needs a version in its bytes. Equal values must make equal bytes, as
/// a decision that comes a second time is compared by them.
pub trait Codec: Sized {
    /// Adds the value's bytes.
    fn encode(&self, out: &mut Vec<u8>);
    /// The value's bytes. Worth its own code only where they are there already.
    fn to_bytes(&self) -> Bytes {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes.into()
    }
    /// The value of these bytes; what is returned may share them.
    ///
    /// # Errors
    /// What is wrong with them, in words. No panic: a codec is a decoder of stored bytes.
    fn decode(bytes: &Bytes) -> Result<Self, String>;
}

impl Codec for Bytes {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn to_bytes(&self) -> Bytes {
        self.clone()
    }

    fn decode(bytes: &Bytes) -> Result<Bytes, String> {
        Ok(bytes.clone())
    }
}

impl Codec for Vec<u8> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(bytes: &Bytes) -> Result<Vec<u8>, String> {
        Ok(bytes.to_vec())
    }
}

impl Codec for String {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(bytes: &Bytes) -> Result<String, String> {
        String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())
    }
}

impl Codec for () {
    fn encode(&self, _: &mut Vec<u8>) {}

    fn decode(bytes: &Bytes) -> Result<(), String> {
        if bytes.is_empty() { Ok(()) } else { Err(format!("{} bytes where none were expected", bytes.len())) }
    }
}

/// The types of a consensus layer: what a protocol decides, and what it must remember beside that.
pub trait ConsensusLayer: Send + Sync + 'static {
    /// What is decided: a batch of requests, a block.
    type Decision: Codec;
    /// What proves it to others: a certificate, the signed votes.
    type Proof: Codec;
    /// A message of an instance that is not decided yet.
    type Message: Codec;
    /// What the replica must not forget lest it contradict itself: view, vote, lock.
    type Safety: Codec;
    /// Who belongs to the group.
    type Membership: Codec;
}

/// A consensus layer whose types are bytes: for protocols that encode by themselves, and for tools.
#[derive(Clone, Copy, Debug)]
pub struct RawLayer;

impl ConsensusLayer for RawLayer {
    type Decision = Bytes;
    type Proof = Bytes;
    type Message = Bytes;
    type Safety = Bytes;
    type Membership = Bytes;
}

/// A state that a checkpoint holds. It may be larger than memory: it is written and read as a stream.
pub trait State: Sized {
    /// Writes all of it. What is written in the same way again makes the same chunks, which are not stored twice.
    ///
    /// # Errors
    /// The writer's, or the state's own.
    fn write_to(&self, out: &mut StateWriter<'_>) -> io::Result<()>;
    /// Makes a state from what was written.
    ///
    /// # Errors
    /// The reader's, or what is wrong with the bytes.
    fn read_from(input: &mut dyn io::Read) -> io::Result<Self>;
}

impl State for Vec<u8> {
    fn write_to(&self, out: &mut StateWriter<'_>) -> io::Result<()> {
        io::Write::write_all(out, self)
    }

    fn read_from(input: &mut dyn io::Read) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        input.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
