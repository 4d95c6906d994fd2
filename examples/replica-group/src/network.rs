//! Connections between processes: one to each other replica, made again when it breaks. Owns their threads. What cannot be sent is
//! dropped: the protocol says it again.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use crate::frame::framed;
use crate::types::{ReplicaId, Who, Wire};

/// Messages that wait for a connection, at most.
const WAITING_MAX: usize = 1024;
/// How long until a connection is tried again.
const AGAIN: Duration = Duration::from_millis(50);
/// How long a peer may take to read.
const PATIENCE: Duration = Duration::from_secs(2);

/// What reaches a replica's main thread.
#[derive(Debug)]
pub enum Event {
    /// A message of a replica, or of this one to itself.
    Message(ReplicaId, Wire),
    /// A client's request.
    Request(crate::types::Command),
    /// A checkpoint was fetched, or could not be.
    Fetched(anyhow::Result<duramen_decisions::SeqNo>),
    /// The log failed.
    Failed(duramen_decisions::Error),
}

/// A way to one address.
#[derive(Clone, Debug)]
pub struct Link {
    frames: SyncSender<Arc<[u8]>>,
}

impl Link {
    /// Connects, and says who we are. Each new connection is shown to `opened`, for whoever reads from it.
    pub fn new(address: String, who: Who, opened: impl Fn(TcpStream) + Send + 'static) -> Link {
        let (frames, waiting) = sync_channel(WAITING_MAX);
        thread::spawn(move || keep_connected(&address, &who, &waiting, opened));
        Link { frames }
    }

    /// Sends, if there is a connection, or soon is.
    pub fn send(&self, frame: &Arc<[u8]>) {
        _ = self.frames.try_send(frame.clone());
    }
}

fn keep_connected(address: &str, who: &Who, waiting: &Receiver<Arc<[u8]>>, opened: impl Fn(TcpStream)) {
    loop {
        if let Ok(stream) = TcpStream::connect(address) {
            // What waited so long is stale.
            while waiting.try_recv().is_ok() {}
            if let Ok(copy) = stream.try_clone() {
                opened(copy);
            }
            if use_connection(stream, who, waiting).is_none() {
                return;
            }
        }
        thread::sleep(AGAIN);
    }
}

/// Sends until the connection breaks. `None`: nobody will send any more.
fn use_connection(mut stream: TcpStream, who: &Who, waiting: &Receiver<Arc<[u8]>>) -> Option<()> {
    _ = stream.set_nodelay(true);
    _ = stream.set_write_timeout(Some(PATIENCE));
    let mut sent = stream.write_all(&framed(&Wire::Hello(who.clone())));
    while sent.is_ok() {
        let frame = waiting.recv().ok()?;
        sent = stream.write_all(&frame);
    }
    Some(())
}

/// The ways to all replicas. The one to itself is the main thread's channel.
#[derive(Debug)]
pub struct Links {
    me: ReplicaId,
    own: Sender<Event>,
    others: Vec<(ReplicaId, Link)>,
}

impl Links {
    /// Links to all others.
    pub fn new(me: ReplicaId, addresses: &[String], own: Sender<Event>) -> Links {
        let others = (0..).zip(addresses).filter(|(id, _)| *id != me);
        let link = |address: &String| Link::new(address.clone(), Who::Replica(me), drop);
        Links { me, own, others: others.map(|(id, address)| (id, link(address))).collect() }
    }

    /// Says something to all, this replica included.
    pub fn say_to_all(&self, message: Wire) {
        self.say(None, &message);
        _ = self.own.send(Event::Message(self.me, message));
    }

    /// Says something to one of the others, or to all of them.
    pub fn say(&self, to: Option<ReplicaId>, message: &Wire) {
        let frame: Arc<[u8]> = framed(message).into();
        let meant = self.others.iter().filter(|(id, _)| to.is_none_or(|to| to == *id));
        meant.for_each(|(_, link)| link.send(&frame));
    }

    /// Tells the main thread that the log failed.
    pub fn fail(&self, error: duramen_decisions::Error) {
        _ = self.own.send(Event::Failed(error));
    }
}
