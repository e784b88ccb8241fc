//! The runtime seam: the only file that names async-std or smol.
//!
//! Everything that waits (accepting, handshakes, dialling, names, UDP, the control machine's driver,
//! the client library, the demo) waits through here. Streams and sockets speak the `futures-io`
//! traits, so callers use `futures_lite` and never learn which runtime carries them. async-std is
//! no longer developed; `--no-default-features --features rt-smol` builds the same on smol, from
//! whose crates both are made. With both features on, async-std wins.
//!
//! Invariant: the two runtimes behave alike. Where they differ (a dropped task handle detaches in
//! one and cancels in the other) this file decides. Not here: the data plane, which never waits but
//! in its own poll.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::StreamExt;
use thiserror::Error;

#[cfg(not(any(feature = "rt-async-std", feature = "rt-smol")))]
compile_error!("choose a runtime: feature rt-async-std (the default) or rt-smol");

#[cfg(feature = "rt-async-std")]
mod runtime {
    use std::future::Future;
    use std::time::Duration;

    pub use async_std::net::{TcpListener, TcpStream, UdpSocket};
    pub use async_std::task::block_on;

    pub(super) type Handle<T> = async_std::task::JoinHandle<T>;

    pub(super) fn spawn<T: Send + 'static>(
        future: impl Future<Output = T> + Send + 'static,
    ) -> Handle<T> {
        async_std::task::spawn(future)
    }

    pub(super) fn detach<T>(handle: Handle<T>) {
        drop(handle);
    }

    pub(super) async fn sleep(duration: Duration) {
        async_std::task::sleep(duration).await;
    }

    pub(super) async fn blocking<T: Send + 'static>(
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        async_std::task::spawn_blocking(work).await
    }
}

#[cfg(all(feature = "rt-smol", not(feature = "rt-async-std")))]
mod runtime {
    use std::future::Future;
    use std::time::Duration;

    pub use smol::block_on;
    pub use smol::net::{TcpListener, TcpStream, UdpSocket};

    pub(super) type Handle<T> = smol::Task<T>;

    pub(super) fn spawn<T: Send + 'static>(
        future: impl Future<Output = T> + Send + 'static,
    ) -> Handle<T> {
        smol::spawn(future)
    }

    pub(super) fn detach<T>(handle: Handle<T>) {
        handle.detach();
    }

    pub(super) async fn sleep(duration: Duration) {
        smol::Timer::after(duration).await;
    }

    pub(super) async fn blocking<T: Send + 'static>(
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        smol::unblock(work).await
    }
}

/// A TCP socket that accepts connections; bind it with `TcpListener::bind`.
pub use runtime::TcpListener;
/// A TCP connection. A clone is another handle to the same connection.
pub use runtime::TcpStream;
/// A UDP socket; bind it with `UdpSocket::bind`.
pub use runtime::UdpSocket;
/// Runs a future to its end on the calling thread.
pub use runtime::block_on;

/// A task that runs beside its spawner. Await it for its result.
///
/// Say what is to become of it: await it, [`Task::detach`] it or [`Task::cancel`] it. One that is
/// merely dropped runs on, whichever runtime carries it.
#[must_use = "await the task, detach it or cancel it"]
#[derive(Debug)]
pub struct Task<T>(Option<runtime::Handle<T>>);

impl<T> Task<T> {
    fn handle(&mut self) -> runtime::Handle<T> {
        self.0.take().expect("a task's handle is taken only by what ends it")
    }

    /// Lets it run on by itself.
    pub fn detach(mut self) {
        runtime::detach(self.handle());
    }

    /// Stops it at its next point of waiting, and waits until it has stopped. Its result, if it had
    /// ended before.
    pub async fn cancel(mut self) -> Option<T> {
        let handle = self.handle();
        handle.cancel().await
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(handle) = self.0.take() {
            runtime::detach(handle);
        }
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let handle = self.0.as_mut().expect("a task is not polled after it was ended");
        Pin::new(handle).poll(context)
    }
}

/// Starts a task on the runtime's threads. It must not block; see [`blocking`].
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    Task(Some(runtime::spawn(future)))
}

/// Runs work that blocks (files, names) on a thread kept for that.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    runtime::blocking(work).await
}

/// Waits.
pub async fn sleep(duration: Duration) {
    runtime::sleep(duration).await;
}

/// The time allowed is over. What was waited for has been dropped where it stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the time allowed is over")]
pub struct TimedOut;

impl From<TimedOut> for io::Error {
    fn from(timed_out: TimedOut) -> Self {
        io::Error::new(io::ErrorKind::TimedOut, timed_out)
    }
}

/// Waits for a future, but no longer than `limit`. When both are due the future wins.
pub async fn timeout<T>(limit: Duration, future: impl Future<Output = T>) -> Result<T, TimedOut> {
    let (mut future, mut over) = (pin!(future), pin!(sleep(limit)));
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => over.as_mut().poll(context).map(|()| Err(TimedOut)),
    })
    .await
}

/// The addresses behind `host:port`; the host may be a name. Asks the system, on a blocking thread.
pub async fn resolve(endpoint: &str) -> io::Result<Vec<SocketAddr>> {
    let endpoint = endpoint.to_owned();
    blocking(move || endpoint.to_socket_addrs().map(Iterator::collect)).await
}

/// Opens a TCP connection within `limit`, with `TCP_NODELAY`: frames are written whole, and none
/// waits for the one after it.
pub async fn connect(addr: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let stream = timeout(limit, TcpStream::connect(addr)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Takes a connection away from the runtime, for a driver with a poll of its own. It stays open and
/// non-blocking; bytes that were not read yet are still to be read.
///
/// The stream given must be the last handle: other clones would go on competing for the bytes.
pub fn into_std(stream: TcpStream) -> io::Result<std::net::TcpStream> {
    // Both runtimes share the socket between clones of the stream, so it cannot be moved out: a
    // second descriptor of the same connection is made, and the first closes with `stream`.
    let descriptor = stream.as_fd().try_clone_to_owned()?;
    let socket = std::net::TcpStream::from(descriptor);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The signals by which people and service managers ask a process to end.
#[derive(Debug)]
pub struct StopSignals(async_signal::Signals);

impl StopSignals {
    /// Listens from now on; the signals no longer end the process by themselves.
    pub fn listen() -> io::Result<Self> {
        use async_signal::Signal;
        async_signal::Signals::new([Signal::Int, Signal::Term]).map(StopSignals)
    }

    /// Waits for the next one, and tells its name.
    pub async fn next(&mut self) -> io::Result<&'static str> {
        match self.0.next().await {
            Some(Ok(async_signal::Signal::Int)) => Ok("SIGINT"),
            Some(Ok(_)) => Ok("SIGTERM"),
            Some(Err(error)) => Err(error),
            None => Err(io::Error::other("the signal pipe was closed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::{AsyncReadExt, AsyncWriteExt};
    use std::io::{Read, Write};

    #[test]
    fn a_socket_taken_from_the_runtime_stays_open_and_loses_nothing() {
        let (listener, addr) = block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            (listener, addr)
        });
        let taken = block_on(async {
            let mut near = connect(addr, Duration::from_secs(5)).await.unwrap();
            let (mut far, _) = listener.accept().await.unwrap();
            near.write_all(b"first, second").await.unwrap();
            let mut read = [0; 7];
            far.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"first, ");
            let mut far = into_std(far).unwrap();
            far.set_nonblocking(false).unwrap();
            let rest = blocking(move || {
                let mut rest = [0; 6];
                far.read_exact(&mut rest).unwrap();
                assert_eq!(&rest, b"second");
                far.write_all(b"answer").unwrap();
                far
            });
            let far = rest.await;
            let mut answer = [0; 6];
            near.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"answer");
            assert!(near.nodelay().unwrap());
            far
        });
        drop(taken);
    }

    #[test]
    fn a_dropped_task_runs_on_and_a_cancelled_one_does_not() {
        block_on(async {
            let (ran, seen) = async_channel::bounded(1);
            drop(spawn(async move { ran.send(()).await }));
            assert_eq!(seen.recv().await, Ok(()));

            let (never, seen) = async_channel::bounded::<()>(1);
            let stuck = spawn(async move {
                std::future::pending::<()>().await;
                drop(never);
            });
            assert_eq!(stuck.cancel().await, None);
            assert!(seen.recv().await.is_err(), "its end of the channel is gone with it");
            assert_eq!(spawn(async { 7 }).await, 7);
        });
    }

    #[test]
    fn timeouts_end_what_does_not_end() {
        block_on(async {
            let never = std::future::pending::<()>();
            assert_eq!(timeout(Duration::from_millis(1), never).await, Err(TimedOut));
            assert_eq!(timeout(Duration::ZERO, async { 3 }).await, Ok(3));
        });
    }

    #[test]
    fn names_resolve() {
        let found = block_on(resolve("localhost:7400")).unwrap();
        assert!(found.iter().all(|addr| addr.ip().is_loopback() && addr.port() == 7400));
        assert!(!found.is_empty());
        assert!(block_on(resolve("no port here")).is_err());
    }
}
