//! What an operation costs: throughput, waiting, system calls and hand-offs between threads.
//!
//! ```text
//! cargo run --release --example cost [-- --seconds 1 --runs 3 --bytes 100 --beside 'COMMAND']
//! ```
//!
//! Three nodes in this process on loopback, N = 3, W = R = quorum, all requests to one of them, from one
//! thread that keeps so many connections busy: each writes so many requests at once, awaits all
//! replies, and writes the next. Every row is measured once a round, and the median round is printed.
//! `--beside` runs a command before each round, such as a benchmark of a store of the same message
//! pattern with nothing behind it, so that both are seen in turns in the same minutes. Counts and
//! server time are those of all three nodes together, per operation.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token as Place};
use ringdove::client::{Client, ClientOptions};
use ringdove::key::Key;
use ringdove::ring::{Epoch, Token};
use ringdove::rt;
use ringdove::server::{Metrics, Node, NodeConfig, SyncMode};
use ringdove::wire::{
    self, Answer, Basis, Frame, Get, Greeting, Hello, Kind, Level, Message, Purpose, Put, Question,
};

const KEYS: u64 = 100_000;
type Done<T> = Result<T, Box<dyn Error>>;

/// How the columns are called; `src/server/cost.md` says what they count.
const HEAD: &str = "\
| sync | op | conns | pipe | ops/s | p50 µs | p99 µs | server µs | polls | reads | writes | appends | syncs | wakes |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

fn main() -> Done<()> {
    let options = Options::parse()?;
    let clusters =
        [Cluster::start("os", SyncMode::Os)?, Cluster::start("always", SyncMode::Always)?];
    for cluster in &clusters {
        cluster.fill(&options)?;
    }
    let mut rows: Vec<(Cell, &Cluster, Vec<Run>)> = Vec::new();
    for cluster in &clusters {
        for write in [true, false] {
            // Reads wait for no sync: one mode tells it all.
            if !write && cluster.sync == "always" {
                continue;
            }
            for conns in [1, 16, 64] {
                for pipe in [1, 16] {
                    rows.push((Cell { write, conns, pipe }, cluster, Vec::new()));
                }
            }
        }
    }
    for _ in 0..options.runs {
        options.run_beside()?;
        for (cell, cluster, runs) in &mut rows {
            runs.push(cell.measure(cluster, &options, options.seconds)?);
        }
    }
    println!("{HEAD}");
    for (cell, cluster, runs) in &mut rows {
        runs.sort_by_key(|run| run.operations);
        cell.print(cluster.sync, &runs[runs.len() / 2]);
    }
    Ok(())
}

struct Options {
    seconds: f64,
    runs: usize,
    bytes: usize,
    beside: Option<String>,
}

impl Options {
    fn parse() -> Done<Self> {
        let mut options = Options { seconds: 1.0, runs: 3, bytes: 100, beside: None };
        let mut args = std::env::args().skip(1);
        while let Some(name) = args.next() {
            let value = args.next().ok_or(format!("{name} needs a value"))?;
            match name.as_str() {
                "--seconds" => options.seconds = value.parse()?,
                "--runs" => options.runs = value.parse::<usize>()?.max(1),
                "--bytes" => options.bytes = value.parse()?,
                "--beside" => options.beside = Some(value),
                _ => return Err(format!("{name} is no option of this example").into()),
            }
        }
        Ok(options)
    }

    fn run_beside(&self) -> Done<()> {
        if let Some(command) = &self.beside {
            let status = std::process::Command::new("sh").arg("-c").arg(command).status()?;
            if !status.success() {
                return Err(format!("{command:?} ended with {status}").into());
            }
        }
        Ok(())
    }
}

struct Cluster {
    sync: &'static str,
    nodes: Vec<Node>,
    _data: tempfile::TempDir,
}

impl Cluster {
    fn start(name: &'static str, sync: SyncMode) -> Done<Self> {
        let data = tempfile::tempdir_in(Path::new("."))?;
        let addrs: Vec<SocketAddr> = (0..3).map(|_| free_addr()).collect::<Done<_>>()?;
        let seeds: Vec<String> = addrs.iter().map(SocketAddr::to_string).collect();
        let start = |listen: &SocketAddr| {
            Node::start(NodeConfig {
                listen: *listen,
                seeds: seeds.clone(),
                shards: Some(1),
                sync,
                pages: Some(data.path().to_owned()),
                ..NodeConfig::new(data.path().join(listen.port().to_string()))
            })
        };
        let nodes = addrs.iter().map(start).collect::<Result<Vec<_>, _>>()?;
        let cluster = Cluster { sync: name, nodes, _data: data };
        cluster.wait()?;
        Ok(cluster)
    }

    fn wait(&self) -> Done<()> {
        let end = Instant::now() + Duration::from_secs(60);
        let endpoint = [self.nodes[0].addr().to_string()];
        let client = rt::block_on(Client::connect(&endpoint, ClientOptions::default()))?;
        while Instant::now() < end {
            if let Answer::Status(status) = rt::block_on(client.ask(Question::Status))?
                && status.health == "healthy"
            {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err("the nodes did not found a cluster within a minute".into())
    }

    /// Writes for a moment, so that reads find something.
    fn fill(&self, options: &Options) -> Done<()> {
        let cell = Cell { write: true, conns: 64, pipe: 16 };
        cell.measure(self, options, options.seconds).map(drop)
    }

    fn metrics(&self) -> Metrics {
        let mut sum = Metrics::default();
        for metrics in self.nodes.iter().map(Node::metrics) {
            sum.rounds += metrics.rounds;
            sum.reads += metrics.reads;
            sum.writes += metrics.writes;
            sum.appends += metrics.appends;
            sum.syncs += metrics.syncs;
            sum.wakes += metrics.wakes;
        }
        sum
    }
}

/// A port for TCP and UDP, below those that the system gives to whoever dials.
fn free_addr() -> Done<SocketAddr> {
    for _ in 0..1000 {
        let addr = SocketAddr::from(([127, 0, 0, 1], rand::random_range(10_000..30_000)));
        if TcpListener::bind(addr).is_ok() && UdpSocket::bind(addr).is_ok() {
            return Ok(addr);
        }
    }
    Err("no free port was found".into())
}

/// One row of the table.
#[derive(Clone, Copy)]
struct Cell {
    write: bool,
    conns: usize,
    pipe: usize,
}

/// What one run gave.
struct Run {
    operations: u64,
    seconds: f64,
    latency: Histogram<u64>,
    spent: Metrics,
    server: Duration,
}

impl Cell {
    fn measure(self, cluster: &Cluster, options: &Options, seconds: f64) -> Done<Run> {
        let addr = cluster.nodes[0].addr();
        let dial = |_| Connection::dial(addr);
        let mut connections = (0..self.conns).map(dial).collect::<Done<Vec<_>>>()?;
        let mut poll = Poll::new()?;
        for (at, connection) in connections.iter_mut().enumerate() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut connection.socket, Place(at), interest)?;
        }
        let mut load = Load { cell: self, value: vec![b'v'; options.bytes].into(), request: 0 };
        let mut latency = Histogram::new(3)?;
        let before = (cluster.metrics(), server_time()?);
        let start = Instant::now();
        let end = start + Duration::from_secs_f64(seconds);
        let (mut operations, mut busy) = (0, self.conns);
        for connection in &mut connections {
            load.next_batch(connection)?;
        }
        let mut events = Events::with_capacity(256);
        while busy > 0 {
            poll.poll(&mut events, Some(Duration::from_secs(10)))?;
            if events.is_empty() {
                return Err("no answer for ten seconds".into());
            }
            for event in &events {
                let connection = &mut connections[event.token().0];
                connection.write()?;
                operations += connection.read()?;
                if connection.awaited == 0 && !connection.idle {
                    let waited = connection.sent_at.elapsed().as_micros() as u64;
                    latency.record_n(waited, self.pipe as u64)?;
                    if Instant::now() < end {
                        load.next_batch(connection)?;
                    } else {
                        connection.idle = true;
                        busy -= 1;
                    }
                }
            }
        }
        Ok(Run {
            operations,
            seconds: start.elapsed().as_secs_f64(),
            latency,
            spent: cluster.metrics().since(&before.0),
            server: server_time()?.saturating_sub(before.1),
        })
    }

    fn print(self, sync: &str, run: &Run) {
        let each = |count: u64| format!("{:.3}", count as f64 / run.operations as f64);
        println!(
            "| {sync} | {} | {} | {} | {:.0} | {} | {} | {:.1} | {} | {} | {} | {} | {} | {} |",
            if self.write { "put" } else { "get" },
            self.conns,
            self.pipe,
            run.operations as f64 / run.seconds,
            run.latency.value_at_quantile(0.5),
            run.latency.value_at_quantile(0.99),
            run.server.as_secs_f64() * 1e6 / run.operations as f64,
            each(run.spent.rounds),
            each(run.spent.reads),
            each(run.spent.writes),
            each(run.spent.appends),
            each(run.spent.syncs),
            each(run.spent.wakes),
        );
    }
}

/// Makes requests.
struct Load {
    cell: Cell,
    value: Bytes,
    request: u64,
}

impl Load {
    fn next_batch(&mut self, connection: &mut Connection) -> Done<()> {
        for _ in 0..self.cell.pipe {
            self.request += 1;
            let number = rand::random_range(0..KEYS);
            let key = Key::new("default", format!("{number:016}").as_bytes())?;
            let message = if self.cell.write {
                Message::Put(Put {
                    key,
                    value: Some(self.value.clone()),
                    basis: Basis::Overwrite,
                    level: Level::Quorum,
                    strict: true,
                    operation: rand::random(),
                    again: false,
                    writer: "cost".to_owned(),
                    timeout_ms: 10_000,
                    forwarded: false,
                })
            } else {
                let (level, timeout_ms) = (Level::Quorum, 10_000);
                Message::Get(Get { key, floor: Bytes::new(), level, timeout_ms, forwarded: false })
            };
            let (token, epoch) = (Token(0), Epoch(0));
            let frame = Frame { slot: token.slot(), epoch, request: self.request, token, message };
            wire::encode(&frame, &mut connection.out)?;
        }
        connection.awaited = self.cell.pipe;
        connection.sent_at = Instant::now();
        connection.write()
    }
}

/// A client's connection, by hand: the load must cost little beside what it measures.
struct Connection {
    socket: mio::net::TcpStream,
    out: Vec<u8>,
    unread: BytesMut,
    awaited: usize,
    idle: bool,
    sent_at: Instant,
}

impl Connection {
    fn dial(addr: SocketAddr) -> Done<Self> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        let mut hello = Vec::new();
        let purpose = Purpose::Client { name: "cost".to_owned() };
        Greeting::Hello(Hello::new(purpose)).encode(&mut hello)?;
        stream.write_all(&hello)?;
        let mut unread = BytesMut::new();
        let mut bytes = [0; 4096];
        while wire::split_raw(&mut unread)?.is_none() {
            let read = stream.read(&mut bytes)?;
            unread.extend_from_slice(&bytes[..read]);
        }
        stream.set_nonblocking(true)?;
        let socket = mio::net::TcpStream::from_std(stream);
        let (out, sent_at) = (Vec::new(), Instant::now());
        Ok(Connection { socket, out, unread, awaited: 0, idle: false, sent_at })
    }

    fn write(&mut self) -> Done<()> {
        while !self.out.is_empty() {
            match self.socket.write(&self.out) {
                Ok(written) => drop(self.out.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads what is there. How many requests were answered well.
    fn read(&mut self) -> Done<u64> {
        let mut answered = 0;
        let mut bytes = [0; 64 * 1024];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => return Err("the node closed the connection".into()),
                Ok(read) => self.unread.extend_from_slice(&bytes[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(answered),
                Err(error) => return Err(error.into()),
            }
            while let Some((header, body)) = wire::split_raw(&mut self.unread)? {
                match header.kind {
                    Kind::PutReply | Kind::GetReply => {}
                    _ => return Err(format!("{:?}", wire::decode(header, body)?).into()),
                }
                answered += 1;
                self.awaited -= 1;
            }
        }
    }
}

/// Processor time of all threads of this process but the one that loads, which calls this.
fn server_time() -> Done<Duration> {
    // In the kernel's ticks, 100 a second on every Linux that matters here.
    const TICK: Duration = Duration::from_millis(10);
    let mut times = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task")? {
        let name = task?.file_name().into_string().unwrap_or_default();
        let Ok(stat) = std::fs::read_to_string(format!("/proc/self/task/{name}/stat")) else {
            continue; // It has ended.
        };
        // After the name in parentheses: field 14 and 15 are user and system time.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u32 = fields.skip(11).take(2).map(|field| field.parse().unwrap_or(0)).sum();
        times.insert(name, ticks);
    }
    times.remove(&std::process::id().to_string());
    Ok(times.values().map(|ticks| TICK * *ticks).sum())
}
