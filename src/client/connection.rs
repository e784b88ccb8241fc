//! One connection to a node: many requests under way, answers in any order.
//!
//! Requests are encoded into one outbox, which a writer task sends in as few writes as it can; a
//! reader task hands answers to whoever waits for them (a *request waiting list* by request id). A
//! third task, asleep while nobody waits, ends what waited too long. No task per request.
//!
//! Invariant: every request that was sent ends exactly once: answered, late, or lost with the
//! connection. Requests under way and bytes unsent are bounded. Not here: trying elsewhere (`pool`).

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use bytes::BytesMut;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use super::dial::Opened;
use super::permits::{Permit, Permits};
use crate::rt::{self, TcpStream};
use crate::wire::{self, Frame, Message, Way, Welcome, WireError};

/// Requests under way on one connection: as many as a node serves at a time.
const IN_FLIGHT_MAX: usize = 256;
/// Bytes that wait to be sent before further requests wait for room.
const OUTBOX_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How much is read at a time.
const READ_BYTES: usize = 64 * 1024;
/// How often late requests are looked for while any waits.
const SWEEP: Duration = Duration::from_millis(50);

/// Why a request that was sent has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lost {
    /// Its time is over.
    Late,
    /// The connection ended.
    Broken(String),
    /// What came back is not the protocol; the connection was given up.
    Protocol(String),
}

/// Why a request was not sent.
#[derive(Debug)]
pub(super) enum NotSent {
    /// The connection had ended before.
    Broken,
    /// It does not fit into a frame.
    NoFrame(WireError),
}

/// An open connection. Its tasks end when it and all its requests are dropped.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    permits: Permits,
    wake_writer: Sender<()>,
    wake_sweeper: Sender<()>,
    pub(super) welcome: Welcome,
}

#[derive(Debug)]
struct Shared(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    outbox: Vec<u8>,
    /// Who waits for room in the outbox.
    crowded: Vec<Waker>,
    waiting: HashMap<u64, Waiting>,
    last_request: u64,
    broken: Option<Lost>,
}

#[derive(Debug)]
struct Waiting {
    deadline: Instant,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    Sent(Option<Waker>),
    Answered(Box<Message>),
    Late,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics while holding this lock")
    }

    /// Takes what is to be sent, for an empty vector, and lets those in who waited for room.
    fn swap_outbox(&self, empty: &mut Vec<u8>) {
        let mut state = self.state();
        std::mem::swap(empty, &mut state.outbox);
        let crowded = std::mem::take(&mut state.crowded);
        drop(state);
        crowded.into_iter().for_each(Waker::wake);
    }

    /// Ends what is late. Whether anything waits at all.
    fn expire(&self, now: Instant) -> bool {
        let mut state = self.state();
        let mut wakers = Vec::new();
        for waiting in state.waiting.values_mut().filter(|waiting| waiting.deadline <= now) {
            if let Progress::Sent(waker) = &mut waiting.progress {
                wakers.extend(waker.take());
                waiting.progress = Progress::Late;
            }
        }
        let any = !state.waiting.is_empty();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        any
    }

    /// Ends the connection for everybody. The first reason stays.
    fn give_up(&self, why: Lost) {
        let mut state = self.state();
        state.broken.get_or_insert(why);
        state.outbox = Vec::new();
        let mut wakers = std::mem::take(&mut state.crowded);
        for waiting in state.waiting.values_mut() {
            if let Progress::Sent(waker) = &mut waiting.progress {
                wakers.extend(waker.take());
            }
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Connection {
    /// Starts the tasks of a connection that was just opened.
    pub(super) fn start(opened: Opened) -> Self {
        let Opened { stream, welcome, buffer } = opened;
        let shared = Arc::new(Shared(Mutex::default()));
        let (wake_writer, written) = async_channel::bounded(1);
        let (wake_sweeper, swept) = async_channel::bounded(1);
        rt::spawn(write(stream.clone(), Arc::clone(&shared), written)).detach();
        rt::spawn(read(stream, buffer, Arc::clone(&shared))).detach();
        rt::spawn(sweep(Arc::clone(&shared), swept)).detach();
        let permits = Permits::new(IN_FLIGHT_MAX);
        Connection { shared, permits, wake_writer, wake_sweeper, welcome }
    }

    /// Whether it ended.
    pub(super) fn is_broken(&self) -> bool {
        self.shared.state().broken.is_some()
    }

    /// Sends a request, once there is room for it. Dropped before it is done, it has sent nothing.
    pub(super) async fn send(
        self: &Arc<Self>,
        frame: &mut Frame,
        deadline: Instant,
    ) -> Result<Sent, NotSent> {
        let permit = self.permits.take().await;
        self.room().await;
        let mut state = self.shared.state();
        if state.broken.is_some() {
            return Err(NotSent::Broken);
        }
        state.last_request += 1;
        frame.request = state.last_request;
        let writer_sleeps = state.outbox.is_empty();
        wire::encode(frame, &mut state.outbox).map_err(NotSent::NoFrame)?;
        let sweeper_sleeps = state.waiting.is_empty();
        let waiting = Waiting { deadline, progress: Progress::Sent(None) };
        state.waiting.insert(frame.request, waiting);
        drop(state);
        // A full channel means that the task is about to look anyway.
        if writer_sleeps {
            let _ = self.wake_writer.try_send(());
        }
        if sweeper_sleeps {
            let _ = self.wake_sweeper.try_send(());
        }
        Ok(Sent { connection: Arc::clone(self), request: frame.request, _permit: permit })
    }

    async fn room(&self) {
        poll_fn(|context| {
            let mut state = self.shared.state();
            if state.outbox.len() < OUTBOX_BYTES_MAX || state.broken.is_some() {
                return Poll::Ready(());
            }
            state.crowded.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A request that was sent: a future of its answer.
#[derive(Debug)]
pub(super) struct Sent {
    connection: Arc<Connection>,
    request: u64,
    _permit: Permit,
}

impl Sent {
    /// The connection that carries it.
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Future for Sent {
    type Output = Result<Message, Lost>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.connection.shared.state();
        let State { waiting, broken, .. } = &mut *state;
        let waiting = waiting.get_mut(&self.request).expect("it waits until it is dropped");
        match std::mem::replace(&mut waiting.progress, Progress::Late) {
            Progress::Answered(message) => Poll::Ready(Ok(*message)),
            Progress::Late => Poll::Ready(Err(Lost::Late)),
            Progress::Sent(_) => match broken {
                Some(lost) => Poll::Ready(Err(lost.clone())),
                None => {
                    waiting.progress = Progress::Sent(Some(context.waker().clone()));
                    Poll::Pending
                }
            },
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.connection.shared.state().waiting.remove(&self.request);
    }
}

/// Sends what is in the outbox, all of it at a time, whenever there is something.
async fn write(mut stream: TcpStream, shared: Arc<Shared>, woken: Receiver<()>) {
    let mut sending = Vec::new();
    while woken.recv().await.is_ok() {
        loop {
            sending.clear();
            shared.swap_outbox(&mut sending);
            if sending.is_empty() {
                break;
            }
            if let Err(error) = stream.write_all(&sending).await {
                shared.give_up(Lost::Broken(format!("the connection broke: {error}")));
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
        }
        // One large value need not keep its memory for ever.
        sending.shrink_to(READ_BYTES);
    }
    // Nobody is left who could ask. The reader ends when it finds the connection closed.
    let _ = stream.shutdown(Shutdown::Both);
}

/// Hands answers to those who wait for them.
async fn read(mut stream: TcpStream, mut buffer: BytesMut, shared: Arc<Shared>) {
    let mut chunk = vec![0; READ_BYTES];
    let why = loop {
        if let Err(error) = deliver(&mut buffer, &shared) {
            break Lost::Protocol(error.to_string());
        }
        match stream.read(&mut chunk).await {
            Ok(0) => break Lost::Broken("the node closed the connection".to_owned()),
            Ok(len) => buffer.extend_from_slice(&chunk[..len]),
            Err(error) => break Lost::Broken(format!("the connection broke: {error}")),
        }
    };
    shared.give_up(why);
    let _ = stream.shutdown(Shutdown::Both);
}

fn deliver(buffer: &mut BytesMut, shared: &Shared) -> Result<(), WireError> {
    while let Some(frame) = wire::split(buffer)? {
        frame.message.kind().must_go(&[Way::Reply])?;
        let mut state = shared.state();
        // Whoever asked may have given up: then nobody waits, and the answer is dropped.
        let Some(waiting) = state.waiting.get_mut(&frame.request) else { continue };
        let Progress::Sent(waker) = &mut waiting.progress else { continue };
        let waker = waker.take();
        waiting.progress = Progress::Answered(Box::new(frame.message));
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
    Ok(())
}

/// Ends what waited too long. Asleep while nothing waits.
async fn sweep(shared: Arc<Shared>, woken: Receiver<()>) {
    while woken.recv().await.is_ok() {
        rt::sleep(SWEEP).await;
        while shared.expire(Instant::now()) {
            rt::sleep(SWEEP).await;
        }
    }
}
