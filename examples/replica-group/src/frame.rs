//! Messages on a connection: a length in four bytes, then the message. Owns the bound on what another process may make us read.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::types::{Who, Wire, encoded};

/// Bytes of a message, at most.
const FRAME_MAX: u32 = 32 << 20;
/// How long a question waits for its answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A message with its length before it.
pub fn framed(message: &Wire) -> Vec<u8> {
    let bytes = encoded(message);
    let mut frame = (bytes.len() as u32).to_le_bytes().to_vec();
    frame.extend_from_slice(&bytes);
    frame
}

/// Sends a message.
pub fn send(out: &mut impl Write, message: &Wire) -> io::Result<()> {
    out.write_all(&framed(message))
}

/// Takes the next message.
pub fn receive(input: &mut impl Read) -> io::Result<Wire> {
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > FRAME_MAX {
        return Err(io::Error::other(format!("a message of {length} bytes")));
    }
    let mut bytes = vec![0; length as usize];
    input.read_exact(&mut bytes)?;
    postcard::from_bytes(&bytes).map_err(io::Error::other)
}

/// A connection on which questions are asked.
pub struct Visit {
    stream: TcpStream,
}

impl Visit {
    /// Connects.
    pub fn new(address: &str) -> anyhow::Result<Visit> {
        let mut stream = TcpStream::connect(address).with_context(|| format!("no replica answers at {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        send(&mut stream, &Wire::Hello(Who::Visitor))?;
        Ok(Visit { stream })
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, question: &Wire) -> io::Result<Wire> {
        send(&mut self.stream, question)?;
        receive(&mut self.stream)
    }

    /// Asks for a manifest or a chunk.
    pub fn ask_bytes(&mut self, question: &Wire) -> anyhow::Result<Option<Vec<u8>>> {
        match self.ask(question)? {
            Wire::Bytes(bytes) => Ok(bytes),
            other => bail!("an answer to another question: {other:?}"),
        }
    }
}
