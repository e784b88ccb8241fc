//! The library client: one pipelined connection to any node of a cluster.
//!
//! ```no_run
//! use ringdove::client::{Client, ClientError, ClientOptions};
//! use ringdove::key::Key;
//! use ringdove::rt;
//! use ringdove::wire::Level;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     rt::block_on(async {
//!         let client = Client::connect(&["127.0.0.1:7400"], ClientOptions::default()).await?;
//!         let key = Key::new("cart", b"ann")?;
//!         client.put(&key, "tea").level(Level::All).await?;
//!         let got = client.get(&key).await?;
//!         // Whatever `got` shows, this replaces it, and nothing else.
//!         client.put(&key, "tea, milk").context(got.context).await?;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! A [`Client`] is cheap to clone; its clones share the connection. Requests are sent as they are
//! awaited, answers come in any order, up to 256 are under way at a time. When the connection
//! breaks the next request opens another, to the next endpoint. A read that was under way is asked again there; a write
//! that was under way ends as [`ClientError::Unknown`], and the caller decides. A node that is not ready
//! yet refuses without any effect, so the client waits for it, or asks another, while there is time.
//!
//! Invariant: an unknown outcome is told as unknown, never as a success or a failure.
//! Not here: which node owns a key. Every node takes every request and leads it there.

mod answer;
mod connection;
mod dial;
mod error;
mod permits;
mod pool;
mod request;
mod stable;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_lite::future;

pub use answer::{Got, PutDone};
pub use error::{ClientError, NotStable, Tried, Unknown};
pub use request::{GetRequest, PutRequest};
pub use stable::StableRequest;

use crate::key::{Key, VALUE_BYTES_MAX};
use crate::ring::{Epoch, Slot, Token};
use crate::rt;
use crate::wire::{
    Answer, Basis, Failure, FailureCode, Frame, Get, Hello, Level, Message, NAME_BYTES_MAX,
    Outcome, Purpose, Put, Question, Welcome,
};
use connection::{Lost, NotSent, Sent};
use pool::Pool;
use request::millis;

/// How much longer the client waits than it tells the node to take, so that the node's own word on
/// what it could not do in time arrives.
const GRACE: Duration = Duration::from_millis(500);

/// How long a node that is not ready is left alone before it is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// What every request of a client has in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientOptions {
    /// What the client calls itself; kept with every value it writes. At most 256 bytes.
    pub name: String,
    /// How long a node may take for a request, unless the request says otherwise.
    pub timeout: Duration,
    /// How long to wait for one endpoint to let this client in.
    pub connect_timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            name: "client".to_owned(),
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(3),
        }
    }
}

/// A client of a cluster. Clones share one connection.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Arc<Pool>,
    options: Arc<ClientOptions>,
}

impl Client {
    /// Opens a connection to the first endpoint (`host:port`, a name or an address) that lets it in.
    /// One whose node already serves is preferred.
    pub async fn connect<E: AsRef<str>>(
        endpoints: &[E],
        options: ClientOptions,
    ) -> Result<Client, ClientError> {
        if endpoints.is_empty() {
            return Err(ClientError::Invalid("no endpoint was given".to_owned()));
        }
        check_name(&options.name)?;
        let endpoints = endpoints.iter().map(|endpoint| endpoint.as_ref().to_owned()).collect();
        let hello = Hello::new(Purpose::Client { name: options.name.clone() });
        let pool = Arc::new(Pool::new(endpoints, hello, options.connect_timeout));
        pool.connection().await?;
        Ok(Client { pool, options: Arc::new(options) })
    }

    /// What the connected node said of itself when it let this client in; `None` while there is no
    /// connection.
    pub fn node(&self) -> Option<Welcome> {
        self.pool.open().map(|connection| connection.welcome.clone())
    }

    /// A read.
    pub fn get(&self, key: &Key) -> GetRequest<'_> {
        let get = Get {
            key: key.clone(),
            floor: Bytes::new(),
            level: Level::default(),
            timeout_ms: millis(self.options.timeout),
            forwarded: false,
        };
        GetRequest { client: self, get }
    }

    /// A write. Unless told otherwise it overwrites whatever its coordinator can see.
    pub fn put(&self, key: &Key, value: impl Into<Bytes>) -> PutRequest<'_> {
        self.write(key, Some(value.into()))
    }

    /// A delete. Unless told otherwise it deletes whatever its coordinator can see.
    pub fn delete(&self, key: &Key) -> PutRequest<'_> {
        self.write(key, None)
    }

    fn write(&self, key: &Key, value: Option<Bytes>) -> PutRequest<'_> {
        let put = Put {
            key: key.clone(),
            value,
            basis: Basis::Overwrite,
            level: Level::default(),
            strict: false,
            operation: rand::random(),
            again: false,
            writer: self.options.name.clone(),
            timeout_ms: millis(self.options.timeout),
            forwarded: false,
        };
        PutRequest { client: self, put }
    }

    /// Asks about the cluster or a key's history.
    pub async fn ask(&self, question: Question) -> Result<Answer, ClientError> {
        match self.submit(Message::Question(question)).await? {
            Message::Answer(answer) => Ok(answer),
            other => {
                Err(ClientError::Protocol(format!("it answered a question with {}", other.kind())))
            }
        }
    }

    /// Sends a `Put`, `Get` or `Question` and waits for its reply. A read whose connection breaks is
    /// asked again elsewhere. What a node refused because it is not ready, which has no effect, is
    /// asked again elsewhere, or there after a moment, as long as there is time.
    pub async fn submit(&self, message: Message) -> Result<Message, ClientError> {
        let (mut frame, terms) = self.prepare(message)?;
        let deadline = Instant::now() + terms.timeout;
        let mut tries = self.pool.len() + 1;
        loop {
            let sent = within(deadline, self.send(&mut frame, deadline)).await;
            let sent = sent.unwrap_or(Err(ClientError::Timeout { after: terms.timeout }))?;
            let connection = Arc::clone(sent.connection());
            tries = tries.saturating_sub(1);
            let ended = sent.await;
            match &ended {
                Err(Lost::Broken(_) | Lost::Protocol(_)) if terms.write.is_none() && tries > 0 => {}
                Ok(Message::Failure(Failure { code: FailureCode::NotReady, .. })) => {
                    let elsewhere = self.pool.len() > 1;
                    if elsewhere {
                        self.pool.leave(&connection);
                    }
                    let left = deadline.saturating_duration_since(Instant::now() + GRACE);
                    let pause = if elsewhere && tries > 0 { Duration::ZERO } else { PAUSE };
                    if left <= pause {
                        return terms.outcome(ended);
                    }
                    rt::sleep(pause).await;
                    shorten(&mut frame.message, left - pause);
                }
                _ => return terms.outcome(ended),
            }
        }
    }

    /// Sends a `Put`, `Get` or `Question` and returns at once, with a future of its reply: the way to
    /// have many under way without a task for each. It waits only while 256 are. What is lost with
    /// the connection is not asked again.
    pub async fn start(&self, message: Message) -> Result<Pending, ClientError> {
        let (mut frame, terms) = self.prepare(message)?;
        let deadline = Instant::now() + terms.timeout;
        let sent = within(deadline, self.send(&mut frame, deadline)).await;
        let sent = sent.unwrap_or(Err(ClientError::Timeout { after: terms.timeout }))?;
        Ok(Pending { sent, terms })
    }

    fn prepare(&self, message: Message) -> Result<(Frame, Terms), ClientError> {
        let mut write = None;
        let (key, timeout) = match &message {
            Message::Put(put) => {
                check_put(put)?;
                write = Some((put.operation, put.basis != Basis::Overwrite));
                (Some(&put.key), wait(put.timeout_ms))
            }
            Message::Get(get) => {
                check_level(get.level)?;
                (Some(&get.key), wait(get.timeout_ms))
            }
            Message::Question(_) => (None, self.options.timeout),
            other => {
                let words = format!("{} is not for clients to send", other.kind());
                return Err(ClientError::Invalid(words));
            }
        };
        let token = key.map_or(Token(0), Token::of);
        let slot: Slot = token.slot();
        let frame = Frame { slot, epoch: Epoch(0), request: 0, token, message };
        Ok((frame, Terms { timeout: timeout + GRACE, write }))
    }

    async fn send(&self, frame: &mut Frame, deadline: Instant) -> Result<Sent, ClientError> {
        loop {
            let connection = self.pool.connection().await?;
            match connection.send(frame, deadline).await {
                Ok(sent) => return Ok(sent),
                Err(NotSent::Broken) => {}
                Err(NotSent::NoFrame(error)) => {
                    return Err(ClientError::Invalid(error.to_string()));
                }
            }
        }
    }
}

/// A request under way: a future of its reply.
#[derive(Debug)]
#[must_use = "await it for the reply"]
pub struct Pending {
    sent: Sent,
    terms: Terms,
}

impl Future for Pending {
    type Output = Result<Message, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = std::task::ready!(Pin::new(&mut self.sent).poll(context));
        Poll::Ready(self.terms.outcome(ended))
    }
}

/// What has to be known of a request to tell how it ended.
#[derive(Debug, Clone, Copy)]
struct Terms {
    timeout: Duration,
    /// For a write its operation, and whether repeating it does no harm.
    write: Option<(u128, bool)>,
}

impl Terms {
    fn outcome(&self, ended: Result<Message, Lost>) -> Result<Message, ClientError> {
        let after = self.timeout;
        match (ended, self.write) {
            (Ok(Message::Failure(failure)), _) => Err(ClientError::Refused(failure)),
            (Ok(Message::PutReply(reply)), Some((operation, repeatable)))
                if reply.outcome == Outcome::Unknown =>
            {
                let why = format!(
                    "{} of {} owners or fallbacks that were asked for said in time that they have it",
                    u16::from(reply.owners) + u16::from(reply.fallbacks),
                    reply.needed
                );
                let reply = PutDone::of(reply, operation);
                Err(unknown(operation, repeatable, why, Some(reply)))
            }
            (Ok(message), _) => Ok(message),
            (Err(lost), Some((operation, repeatable))) => {
                let why = match lost {
                    Lost::Late => format!("no answer within {after:?}"),
                    Lost::Broken(why) => why,
                    Lost::Protocol(why) => {
                        format!("the node does not keep to the protocol: {why}")
                    }
                };
                Err(unknown(operation, repeatable, why, None))
            }
            (Err(Lost::Late), None) => Err(ClientError::Timeout { after }),
            (Err(Lost::Broken(why)), None) => Err(ClientError::Broken(why)),
            (Err(Lost::Protocol(why)), None) => Err(ClientError::Protocol(why)),
        }
    }
}

fn unknown(operation: u128, repeatable: bool, why: String, reply: Option<PutDone>) -> ClientError {
    ClientError::Unknown(Box::new(Unknown { operation, why, reply, repeatable }))
}

/// Waits for a future until `deadline`, and starts a timer only if it has to wait.
async fn within<T>(deadline: Instant, future: impl Future<Output = T>) -> Result<T, rt::TimedOut> {
    let mut future = pin!(future);
    match future::poll_once(future.as_mut()).await {
        Some(done) => Ok(done),
        None => rt::timeout(deadline.saturating_duration_since(Instant::now()), future).await,
    }
}

/// Tells the node no more time than is left, so that its word on what it could not do still arrives.
fn shorten(message: &mut Message, left: Duration) {
    if let Message::Put(Put { timeout_ms, .. }) | Message::Get(Get { timeout_ms, .. }) = message {
        *timeout_ms = millis(left).min(*timeout_ms);
    }
}

fn wait(timeout_ms: u32) -> Duration {
    Duration::from_millis(u64::from(timeout_ms))
}

fn check_put(put: &Put) -> Result<(), ClientError> {
    check_level(put.level)?;
    check_name(&put.writer)?;
    match put.value.as_ref().map(Bytes::len) {
        Some(len) if len > VALUE_BYTES_MAX => {
            let words = format!("the value has {len} bytes; a value has at most {VALUE_BYTES_MAX}");
            Err(ClientError::Invalid(words))
        }
        _ => Ok(()),
    }
}

fn check_level(level: Level) -> Result<(), ClientError> {
    match level {
        Level::Count(0) => Err(ClientError::Invalid("a level asks for at least one".to_owned())),
        Level::One | Level::Quorum | Level::All | Level::Count(_) => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), ClientError> {
    if name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    let len = name.len();
    let words = format!("the client's name has {len} bytes; a name has at most {NAME_BYTES_MAX}");
    Err(ClientError::Invalid(words))
}
