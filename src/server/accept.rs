//! Accepting: who calls, what for, and to which driver the socket goes.
//!
//! Clients and members call at the same port; the hello says what a connection is for. Invariant:
//! no driver sees a socket before its handshake is done; whoever is not let in is told why; those
//! who say nothing are given a few seconds and a bounded number of places.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_lite::AsyncReadExt;

use super::greet;
use super::house::House;
use super::inbox::{Completion, NewLane, Permit};
use super::lanes::lane_number;
use crate::rt::{self, TcpListener, TcpStream};
use crate::wire::{Greeting, Purpose, Refusal, Refused};

/// Connections that may be in their handshake.
const HALFWAY: usize = 512;
/// Clients that may be connected.
const CLIENTS: usize = 10_000;
/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait when the system has no more sockets to give.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Accepts connections until it is dropped.
pub(super) async fn run(listener: TcpListener, house: Arc<House>) {
    let next_driver = Arc::new(AtomicUsize::new(0));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log::warn!("cannot accept a connection: {error}");
                rt::sleep(EXHAUSTED).await;
                continue;
            }
        };
        let Some(permit) = Permit::take(&house.halfway, HALFWAY) else {
            log::warn!("{HALFWAY} connections are in their handshake; another is dropped");
            continue;
        };
        let (house, next_driver) = (Arc::clone(&house), Arc::clone(&next_driver));
        let handshake = async move {
            let _permit = permit;
            let greeted = greet(stream, &house, &next_driver);
            match rt::timeout(PATIENCE, greeted).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => log::debug!("a handshake failed: {error}"),
                Err(error) => log::debug!("a handshake took too long: {error}"),
            }
        };
        rt::spawn(handshake).detach();
    }
}

async fn greet(mut stream: TcpStream, house: &House, next_driver: &AtomicUsize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let hello = match greet::read(&mut stream).await {
        Ok(Greeting::Hello(hello)) => hello,
        Ok(Greeting::Welcome(_) | Greeting::Refused(_)) => {
            let words = "a connection begins with a hello";
            return refuse(stream, Refused::new(Refusal::Malformed, words)).await;
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return refuse(stream, Refused::new(Refusal::Malformed, error.to_string())).await;
        }
        Err(error) => return Err(error),
    };
    if let Purpose::Lane { from, .. } | Purpose::Control { from } = &hello.purpose
        && !house.hears(from.node)
    {
        // Nothing gets through a cut, not even a refusal.
        return Ok(());
    }
    let welcome = match house.answer(&hello) {
        Ok(welcome) => welcome,
        Err(refused) => return refuse(stream, refused).await,
    };
    match hello.purpose {
        Purpose::Client { name } => {
            let Some(permit) = Permit::take(&house.clients, CLIENTS) else {
                let words = format!("{CLIENTS} clients are connected; try another node");
                return refuse(stream, Refused::new(Refusal::TooMany, words)).await;
            };
            greet::write(&mut stream, &Greeting::Welcome(welcome)).await?;
            let driver = next_driver.fetch_add(1, Ordering::Relaxed) % house.drivers.len();
            log::debug!("client {name:?} is connected");
            let socket = rt::into_std(stream)?;
            house.drivers[driver].complete(Completion::Client(socket, permit));
        }
        Purpose::Lane { from, shard, shards, to_shard } => {
            let Some(member) = from.member else {
                return Err(io::Error::other("a lane's caller has no member number"));
            };
            greet::write(&mut stream, &Greeting::Welcome(welcome)).await?;
            let number = lane_number((to_shard, house.shards), (shard, shards));
            let socket = rt::into_std(stream)?;
            let lane = NewLane { member, number, shards, socket, alive: None };
            house.drivers[usize::from(to_shard)].complete(Completion::Lane(lane));
        }
        Purpose::Control { from } => {
            greet::write(&mut stream, &Greeting::Welcome(welcome)).await?;
            house.control.line_opened(from.node, stream);
        }
    }
    Ok(())
}

/// Says no, and lets the other end read it before the connection closes.
async fn refuse(mut stream: TcpStream, refused: Refused) -> io::Result<()> {
    log::debug!("a connection is refused: {refused}");
    greet::write(&mut stream, &Greeting::Refused(refused)).await?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut thrown_away = [0; 1024];
    while stream.read(&mut thrown_away).await? > 0 {}
    Ok(())
}
