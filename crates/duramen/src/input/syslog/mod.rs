//! Syslog over UDP, TCP and unix sockets. Owns one loop for all of them: what is there is read, and becomes one batch; while the store
//! is full, nothing is read. What a message is, [`message`] knows; what a frame is, [`frames`]; the sockets are [`socket`]'s.
//!
//! What it cannot promise, as syslog has no acknowledgement:
//! - UDP: while nothing is read, the kernel drops what does not fit into the socket's buffer, which is made as large as the kernel
//!   allows. Its count of these, in `/proc/net/udp`, is added to `lost`. What the network drops, nobody counts.
//! - TCP and unix streams: senders wait while nothing is read. A sender believes sent what lies in the socket's buffers; if this process
//!   is killed, or the machine loses power, that is lost (up to some megabytes a connection, usually nothing: it is read at once),
//!   and so are read rows that no sync has reached. A clean stop reads what is there first; what the store does not take then, as the
//!   disk is full or the power is going, is counted in `lost`, and is a gap.
//! - Unix datagrams: senders wait, or are told that they could not send; nothing is dropped in silence.

pub mod frames;
pub mod message;
mod rows;
mod socket;

use std::os::fd::AsFd as _;
use std::time::Duration;

use duramen_store::{Batch, Durability, Event, Level};
use rustix::event::{PollFd, PollFlags};

use crate::input::streams::Streams;
use crate::input::syslog::frames::Framer;
use crate::input::syslog::rows::{Begun, Rows};
use crate::input::syslog::socket::{Connection, Read, Socket};
use crate::input::{Counters, Feed, Input, Now};
use crate::stop::Woken;

pub use socket::Address;

/// Bytes of a batch, and its rows, at which it is stored though more could be read.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_ROWS: usize = 1_000;
/// Bytes that are read from a connection at once.
const READ_BYTES: usize = 64 << 10;
/// A datagram's bytes at most; the kernel cuts none below this.
const DATAGRAM_BYTES: usize = 256 << 10;
/// How often what the kernel dropped is looked up, and idle connections are.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Batches that are still read when a stop is asked for: senders that never pause must not keep the daemon.
const LAST_BATCHES: usize = 64;

/// What one input may cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at the same time; more wait until one ends.
    pub connections_max: usize,
    /// After so much silence a connection is closed, if another one waits for its place.
    pub idle: Duration,
    /// Bytes of a frame; what is longer is stored in parts.
    pub frame_bytes_max: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { connections_max: 256, idle: Duration::from_secs(60), frame_bytes_max: 64 << 10 }
    }
}

/// Losses are told of this often at most.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Syslog on one socket.
pub struct Syslog {
    socket: Socket,
    bounds: Bounds,
    labels: Vec<(String, String)>,
    rows: Rows,
    connections: Vec<Peer>,
    /// What the kernel had dropped when it was looked up last.
    dropped: u64,
    /// Of these, those that no gap tells of yet, and when one was told last.
    untold: u64,
    told: Option<Duration>,
    buffer: Vec<u8>,
}

/// A connection, and what of it was read and not yet stored.
struct Peer {
    connection: Connection,
    framer: Framer,
    pending: Vec<u8>,
    begun: Option<Begun>,
    idle: Duration,
    ended: bool,
}

impl Syslog {
    /// Takes the address. Labels are those of every row beside `host` and `app`; there must be one.
    ///
    /// # Errors
    /// The address is taken by somebody who lives, or cannot be had.
    pub fn new(address: &Address, labels: Vec<(String, String)>, bounds: Bounds) -> anyhow::Result<Syslog> {
        let socket = Socket::bind(address)?;
        let buffer = vec![0; if socket.is_datagram() { DATAGRAM_BYTES } else { READ_BYTES }];
        Ok(Syslog {
            socket,
            bounds,
            rows: Rows::new(Streams::new(labels.clone())),
            labels,
            connections: Vec::new(),
            dropped: 0,
            untold: 0,
            told: None,
            buffer,
        })
    }

    /// The address as it was given by the system: `udp on 127.0.0.1:514`.
    pub fn address(&self) -> String {
        self.socket.to_string()
    }

    /// Waits until something can be read.
    fn wait(&self, feed: &Feed) -> std::io::Result<Woken> {
        let mut descriptors = Vec::new();
        if self.socket.is_datagram()
            || self.connections.len() < self.bounds.connections_max
            || self.idle_one().is_some()
        {
            descriptors.push(PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN));
        }
        for peer in &self.connections {
            descriptors.push(PollFd::from_borrowed_fd(peer.connection.as_fd(), PollFlags::IN));
        }
        feed.stop.wait_any(&descriptors, LOOK_EVERY)
    }

    /// The connection that has been silent for longest, and for too long.
    fn idle_one(&self) -> Option<usize> {
        let silent = self.connections.iter().enumerate().filter(|(_, peer)| peer.idle >= self.bounds.idle);
        silent.max_by_key(|(_, peer)| peer.idle).map(|(at, _)| at)
    }

    /// Reads what is there into one batch, and stores it. False: there was nothing.
    fn turn(&mut self, feed: &Feed) -> anyhow::Result<bool> {
        let (now, mut batch) = (Now::of(&feed.store), Batch::new());
        if self.socket.is_datagram() {
            self.datagrams(&mut batch, now, feed)?;
        } else {
            self.accept(&mut batch, now, feed)?;
            let mut read = true;
            while read && !is_full(&batch) {
                read = false;
                for at in 0..self.connections.len() {
                    read |= self.read(at, &mut batch, now, feed)?;
                    if is_full(&batch) {
                        break;
                    }
                }
            }
            self.connections.retain(|peer| !peer.ended);
            // Whoever was behind the one that filled the batch comes first in the next one.
            let first = 1.min(self.connections.len());
            self.connections.rotate_left(first);
        }
        if batch.is_empty() {
            return Ok(false);
        }
        feed.append_or_lose(&mut batch, Durability::Policy)?;
        Ok(true)
    }

    fn datagrams(&mut self, batch: &mut Batch, now: Now, feed: &Feed) -> anyhow::Result<()> {
        while !is_full(batch) {
            match self.socket.receive(&mut self.buffer) {
                Ok(Some((bytes, sender))) => {
                    self.rows.push(batch, &self.buffer[..bytes], &sender, now, feed)?;
                    Counters::add(&feed.counters.odd, u64::from(bytes == DATAGRAM_BYTES));
                }
                Ok(None) => break,
                // Answers to what somebody sent with our address; they say nothing about what comes.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn accept(&mut self, batch: &mut Batch, now: Now, feed: &Feed) -> anyhow::Result<()> {
        loop {
            if self.connections.len() >= self.bounds.connections_max {
                let Some(idle) = self.idle_one() else { return Ok(()) };
                if !self.socket.has_guest() {
                    return Ok(());
                }
                self.end(idle, batch, now, feed)?;
                self.connections.swap_remove(idle);
            }
            // Without descriptors left, whoever waits goes on waiting.
            let Ok(Some(connection)) = self.socket.accept() else { return Ok(()) };
            self.connections.push(Peer {
                connection,
                framer: Framer::new(self.bounds.frame_bytes_max),
                pending: Vec::new(),
                begun: None,
                idle: Duration::ZERO,
                ended: false,
            });
        }
    }

    /// Reads once from a connection. True: there may be more.
    fn read(&mut self, at: usize, batch: &mut Batch, now: Now, feed: &Feed) -> anyhow::Result<bool> {
        let peer = &mut self.connections[at];
        if peer.ended {
            return Ok(false);
        }
        match peer.connection.read(&mut self.buffer) {
            Read::Bytes(count) => {
                peer.idle = Duration::ZERO;
                peer.pending.extend_from_slice(&self.buffer[..count]);
                let mut taken = 0;
                while let Some((frame, bytes)) = peer.framer.next(&peer.pending[taken..]) {
                    taken += bytes;
                    self.rows.push_frame(batch, frame, &mut peer.begun, peer.connection.sender(), now, feed)?;
                }
                peer.pending.drain(..taken);
                Ok(count == self.buffer.len())
            }
            Read::Nothing => Ok(false),
            Read::End => {
                self.end(at, batch, now, feed)?;
                Ok(false)
            }
        }
    }

    /// Keeps what a connection left unfinished.
    fn end(&mut self, at: usize, batch: &mut Batch, now: Now, feed: &Feed) -> anyhow::Result<()> {
        let peer = &mut self.connections[at];
        peer.ended = true;
        let pending = std::mem::take(&mut peer.pending);
        if let Some(frame) = peer.framer.rest(&pending) {
            self.rows.push_frame(batch, frame, &mut peer.begun, peer.connection.sender(), now, feed)?;
        }
        Ok(())
    }

    /// Counts what the kernel dropped since the last time.
    fn count_dropped(&mut self, feed: &Feed) {
        let Some(dropped) = self.socket.dropped() else { return };
        // The kernel's count has 32 bits.
        let more = (dropped as u32).wrapping_sub(self.dropped as u32);
        self.dropped = dropped;
        Counters::add(&feed.counters.lost, u64::from(more));
        self.untold += u64::from(more);
    }

    /// Stores a gap for what was dropped: the first at once, more of them together.
    fn tell_dropped(&mut self, feed: &Feed, now: Duration, at_once: bool) {
        let due = at_once || self.told.is_none_or(|told| now.saturating_sub(told) >= TELL_EVERY);
        if self.untold == 0 || !due {
            return;
        }
        let text = format!(
            "syslog {}: the kernel dropped {} messages that were not read in time",
            self.address(),
            self.untold
        );
        let fields = vec![
            ("cause", "dropped by the kernel".to_string()),
            ("source", format!("syslog {}", self.address())),
            ("rows", self.untold.to_string()),
        ];
        let event = Event { kind: "gap", level: Level::Warning, at: None, text, fields };
        // A store that takes nothing now is told later.
        if feed.store.tell(&event, None).is_ok() {
            (self.untold, self.told) = (0, Some(now));
        }
    }

    /// Reads what is there though a stop was asked for, and ends all connections. What the store does not take even now is read
    /// nevertheless: no sender has it any more, and it is to be counted.
    fn finish(&mut self, feed: &Feed) -> anyhow::Result<()> {
        for _ in 0..LAST_BATCHES {
            if !self.turn(feed)? {
                break;
            }
        }
        let (now, mut batch) = (Now::of(&feed.store), Batch::new());
        for at in 0..self.connections.len() {
            self.end(at, &mut batch, now, feed)?;
        }
        if !batch.is_empty() {
            feed.append_or_lose(&mut batch, Durability::Policy)?;
        }
        feed.tell_lost(&format!("syslog {}", self.address()));
        self.count_dropped(feed);
        self.tell_dropped(feed, Duration::MAX, true);
        self.socket.leave();
        Ok(())
    }
}

fn is_full(batch: &Batch) -> bool {
    batch.len() >= BATCH_ROWS || batch.bytes() >= BATCH_BYTES
}

impl Input for Syslog {
    fn name(&self) -> String {
        format!("syslog {}", self.socket.kind())
    }

    fn run(&mut self, feed: &Feed) -> anyhow::Result<()> {
        self.rows = Rows::new(Streams::with_plain(self.labels.clone(), feed.plain(&self.labels)?));
        let clock = duramen_journal::disk::World::real().environment;
        let mut looked = clock.now();
        loop {
            if self.wait(feed)? == Woken::Stopped {
                return self.finish(feed);
            }
            self.turn(feed)?;
            let since = clock.now().saturating_sub(looked);
            if since >= LOOK_EVERY {
                looked = clock.now();
                self.connections.iter_mut().for_each(|peer| peer.idle += since);
                self.count_dropped(feed);
                self.tell_dropped(feed, looked, false);
            }
        }
    }
}
