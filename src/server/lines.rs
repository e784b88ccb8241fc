//! Control connections: what control machines say to each other, apart from datagrams.
//!
//! Whoever has something to say dials, if there is no connection, and both speak over it from then on. A pair needs one: when
//! two dial each other at once, the connection that the node with the lower id dialled stays. What is said is lost when the
//! other cannot be reached, or does not read; whoever needs an answer says it again.
//!
//! Invariant: nobody speaks before the handshake; both queues of a line are bounded. Not here: what is said (`control`).

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt};

use super::greet;
use super::house::House;
use crate::ring::NodeId;
use crate::rt::{self, TcpStream};
use crate::wire::control::ControlMessage;
use crate::wire::{self, Greeting, HEADER_BYTES, Hello, Kind, Purpose};

const CONNECT: Duration = Duration::from_secs(2);
const HANDSHAKE: Duration = Duration::from_secs(2);
/// How long nobody dials again who could not be reached.
const PAUSE: Duration = Duration::from_millis(250);
/// Messages that may wait to be sent on a line.
const WAITING: usize = 64;
/// Two lines of one pair that are no further apart than this were dialled at once.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Something that was said, and by whom.
pub(super) type Said = (NodeId, Box<ControlMessage>);

/// The control connections of a node.
#[derive(Debug)]
pub(super) struct Lines {
    open: BTreeMap<NodeId, Line>,
    said: async_channel::Sender<Said>,
}

#[derive(Debug)]
struct Line {
    messages: async_channel::Sender<Vec<u8>>,
    since: Instant,
}

impl Lines {
    /// No lines yet. What is said on them goes to `said`.
    pub(super) fn new(said: async_channel::Sender<Said>) -> Self {
        Lines { open: BTreeMap::new(), said }
    }

    /// Says this to a node, over the line to it, or over one that is dialled for it.
    pub(super) fn tell(
        &mut self,
        house: &Arc<House>,
        to: NodeId,
        at: Option<SocketAddr>,
        message: &ControlMessage,
    ) {
        let mut bytes = Vec::new();
        if let Err(error) = message.encode(&mut bytes) {
            return log::error!("a {} for {to} is too long to be said: {error}", message.name());
        }
        self.open.retain(|_, line| !line.messages.is_closed());
        if !self.open.contains_key(&to) {
            let Some(at) = at else {
                return log::debug!("nobody knows where to tell {to} a {}", message.name());
            };
            let messages = self.line(to);
            let (house, said) = (Arc::clone(house), self.said.clone());
            rt::spawn(dial(house, to, at, messages, said)).detach();
        }
        let line = self.open.get(&to).expect("just made");
        if line.messages.try_send(bytes).is_err() {
            log::debug!("the control line to {to} is full: a {} is lost", message.name());
        }
    }

    /// Somebody dialled and has shaken hands.
    pub(super) fn opened(&mut self, house: &Arc<House>, from: NodeId, stream: TcpStream) {
        let ours = self.open.get(&from).filter(|line| !line.messages.is_closed());
        let at_once = ours.is_some_and(|line| line.since.elapsed() < AT_ONCE);
        if at_once && house.id() < from {
            return log::debug!("{from} and this node dialled each other; theirs is closed");
        }
        let messages = self.line(from);
        let carried = carry(Arc::clone(house), from, stream, messages, self.said.clone());
        rt::spawn(async move {
            if let Err(error) = carried.await {
                log::debug!("the control line from {from} ended: {error}");
            }
        })
        .detach();
    }

    /// A new line, instead of one that there may be.
    fn line(&mut self, to: NodeId) -> async_channel::Receiver<Vec<u8>> {
        let (messages, waiting) = async_channel::bounded(WAITING);
        self.open.insert(to, Line { messages, since: Instant::now() });
        waiting
    }
}

async fn dial(
    house: Arc<House>,
    to: NodeId,
    at: SocketAddr,
    messages: async_channel::Receiver<Vec<u8>>,
    said: async_channel::Sender<Said>,
) {
    let ended = async {
        let stream = connect(&house, to, at).await?;
        carry(Arc::clone(&house), to, stream, messages.clone(), said).await
    };
    if let Err(error) = ended.await {
        log::debug!("the control line to {to} at {at}: {error}");
        rt::sleep(PAUSE).await;
    }
    messages.close();
}

async fn connect(house: &House, to: NodeId, at: SocketAddr) -> io::Result<TcpStream> {
    if !house.links.open(house.advertise, at) || !house.hears(to) {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody answers"));
    }
    let hello = Hello::new(Purpose::Control { from: house.caller(to) });
    let mut stream = rt::connect(at, CONNECT).await?;
    let handshake = async {
        greet::write(&mut stream, &Greeting::Hello(hello.clone())).await?;
        greet::read(&mut stream).await
    };
    match rt::timeout(HANDSHAKE, handshake).await?? {
        Greeting::Welcome(welcome) => {
            welcome.check(&hello).map_err(io::Error::other)?;
            Ok(stream)
        }
        Greeting::Refused(refused) => Err(io::Error::other(refused)),
        Greeting::Hello(_) => Err(io::Error::other("a hello was answered with a hello")),
    }
}

/// Carries what is said both ways until one end closes.
async fn carry(
    house: Arc<House>,
    other: NodeId,
    stream: TcpStream,
    messages: async_channel::Receiver<Vec<u8>>,
    said: async_channel::Sender<Said>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reading, mut writing) = (stream.clone(), stream);
    let hear = async {
        loop {
            let message = read(&mut reading).await?;
            // Nothing gets through a cut.
            if house.hears(other) && said.send((other, Box::new(message))).await.is_err() {
                return Ok(());
            }
        }
    };
    let speak = async {
        while let Ok(bytes) = messages.recv().await {
            if house.hears(other) {
                writing.write_all(&bytes).await?;
            }
        }
        Ok(())
    };
    let ended = hear.or(speak).await;
    messages.close();
    ended
}

async fn read(stream: &mut TcpStream) -> io::Result<ControlMessage> {
    let invalid = |error: wire::WireError| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut bytes = BytesMut::zeroed(HEADER_BYTES);
    stream.read_exact(&mut bytes).await?;
    let header = wire::peek(&bytes).map_err(invalid)?.expect("a whole header was read");
    if header.kind != Kind::Control {
        return Err(invalid(wire::WireError::OutOfPlace { kind: header.kind }));
    }
    bytes.resize(header.frame_bytes(), 0);
    stream.read_exact(&mut bytes[HEADER_BYTES..]).await?;
    let (header, body) =
        wire::split_raw(&mut bytes).map_err(invalid)?.expect("a whole frame was read");
    ControlMessage::decode(header, &body).map_err(invalid)
}
