//! Whole nodes in one process, over real sockets and real disks: what clients and peers notice.

#![allow(clippy::unwrap_used)]

mod continuity;
mod growing;
mod joining;
mod lives;
mod lost;
mod peers;
mod rollback;
mod split;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ringdove::client::{Client, ClientError, ClientOptions, Got};
use ringdove::key::Key;
use ringdove::ring::{Epoch, Token};
use ringdove::rt;
use ringdove::server::{Links, Node, NodeConfig, StartError, SyncMode};
use ringdove::storage::StoreError;
use ringdove::wire::{
    self, Answer, FailureCode, Frame, Get, Greeting, Hello, Level, Message, Purpose, Question,
    Refusal, Status,
};

/// Longer than anything here takes on a machine that is merely slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until there is an answer.
fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(why) if Instant::now() > end => panic!("{what}: {why}"),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// A loopback port that is free for TCP and UDP, below those that the system gives to whoever dials.
fn free_addr() -> SocketAddr {
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = rand::random_range(10_000..30_000);
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let free = TcpListener::bind(addr).is_ok() && UdpSocket::bind(addr).is_ok();
        if free && TAKEN.lock().unwrap().insert(port) {
            return addr;
        }
    }
}

/// Nodes that found a cluster together.
struct Cluster {
    directory: tempfile::TempDir,
    addrs: Vec<SocketAddr>,
    shards: Vec<u16>,
    links: Links,
    nodes: Vec<Option<Node>>,
}

impl Cluster {
    /// A cluster of as many nodes as there are numbers of shards.
    fn start(shards: &[u16]) -> Self {
        // `RUST_LOG=debug` shows what the nodes say while a test runs.
        let _ = env_logger::builder().is_test(true).try_init();
        let addrs: Vec<_> = shards.iter().map(|_| free_addr()).collect();
        let mut cluster = Cluster {
            directory: tempfile::tempdir().unwrap(),
            shards: shards.to_vec(),
            links: Links::new(),
            nodes: addrs.iter().map(|_| None).collect(),
            addrs,
        };
        for node in 0..cluster.addrs.len() {
            cluster.start_node(node);
        }
        cluster.wait_until_whole();
        cluster
    }

    fn config(&self, node: usize) -> NodeConfig {
        let seeds = match self.addrs.len() {
            1 => Vec::new(),
            _ => self.addrs.iter().map(SocketAddr::to_string).collect(),
        };
        NodeConfig {
            listen: self.addrs[node],
            seeds,
            name: Some(format!("n{node}")),
            shards: Some(self.shards[node]),
            links: self.links.clone(),
            pages: Some(self.directory.path().to_owned()),
            ..NodeConfig::new(self.directory.path().join(format!("n{node}")))
        }
    }

    fn start_node(&mut self, node: usize) {
        let started = eventually("a node starts", || {
            Node::start(self.config(node)).map_err(|error| error.to_string())
        });
        self.nodes[node] = Some(started);
    }

    fn client(&self, node: usize) -> Client {
        let endpoint = [self.addrs[node].to_string()];
        rt::block_on(Client::connect(&endpoint, ClientOptions::default())).unwrap()
    }

    /// Until every node can reach every other one.
    fn wait_until_whole(&self) {
        for node in 0..self.nodes.len() {
            self.wait_for(node, |status| status.health == "healthy");
        }
    }

    /// Until a node sees so many members up.
    fn wait_for_up(&self, node: usize, up: u32) {
        self.wait_for(node, |status| status.members_up == up);
    }

    fn wait_for(&self, node: usize, is_so: impl Fn(&Status) -> bool) {
        let client = self.client(node);
        eventually("the cluster is seen to be as it should", || {
            let answer = rt::block_on(client.ask(Question::Status)).map_err(|e| e.to_string())?;
            let Answer::Status(status) = answer else { return Err("no status".to_owned()) };
            if is_so(&status) { Ok(()) } else { Err(format!("node {node} sees {status:?}")) }
        });
    }
}

fn key(name: &str) -> Key {
    Key::new("default", name.as_bytes()).unwrap()
}

/// A write that is tried until it succeeds; the same write each time.
fn put(client: &Client, name: &str, value: &str, level: Level) {
    let key = key(name);
    eventually("a put succeeds", || {
        let put = client.put(&key, value.to_owned()).blind().level(level);
        let operation = u128::from(Token::of(&key).0);
        rt::block_on(put.operation(operation).send()).map_err(|error| error.to_string())
    });
}

fn get(client: &Client, name: &str, level: Level) -> Result<Got, ClientError> {
    rt::block_on(client.get(&key(name)).level(level).send())
}

fn values(got: &Got) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut values: Vec<_> = got.values.iter().map(|(_, value)| text(&value.bytes)).collect();
    values.sort();
    values
}

#[test]
fn one_node_keeps_what_it_acknowledged_over_kills_and_stops() {
    let mut cluster = Cluster::start(&[2]);
    let client = cluster.client(0);
    for number in 0..100 {
        put(&client, &format!("k{number}"), &format!("v{number}"), Level::All);
    }
    rt::block_on(client.delete(&key("k7")).send()).unwrap();
    for round in 0..2 {
        let node = cluster.nodes[0].take().unwrap();
        if round == 0 {
            node.kill()
        } else {
            node.stop()
        }
        cluster.start_node(0);
        let client = cluster.client(0);
        for number in 0..100 {
            let got = eventually("a get succeeds", || {
                get(&client, &format!("k{number}"), Level::Quorum).map_err(|e| e.to_string())
            });
            let expected = if number == 7 { vec![] } else { vec![format!("v{number}")] };
            assert_eq!(values(&got), expected);
        }
    }
}

#[test]
fn every_node_answers_at_every_level_whatever_their_shards() {
    let cluster = Cluster::start(&[1, 2, 4]);
    let clients: Vec<_> = (0..3).map(|node| cluster.client(node)).collect();
    for (node, client) in clients.iter().enumerate() {
        for (index, level) in
            [Level::One, Level::Quorum, Level::All, Level::Count(2)].iter().enumerate()
        {
            for number in 0..8 {
                let name = format!("{node}-{index}-{number}");
                put(client, &name, &name, *level);
                for other in &clients {
                    // What is on all disks is seen at any level; what is on a majority, by any majority.
                    let reading = if *level == Level::All { Level::One } else { Level::All };
                    assert_eq!(
                        values(&get(other, &name, reading).unwrap()),
                        std::slice::from_ref(&name)
                    );
                }
            }
        }
    }
    // Larger than any buffer, and as large as values may be.
    for len in [300_000, 3 << 20, 8 << 20] {
        let (name, value) = (key(&format!("large-{len}")), "x".repeat(len));
        rt::block_on(clients[0].put(&name, value.clone()).level(Level::All).send()).unwrap();
        let got = rt::block_on(clients[2].get(&name).level(Level::All).send()).unwrap();
        assert_eq!(got.bytes().map(|bytes| bytes.len()), Some(len));
        assert_eq!(got.bytes().unwrap(), value.as_bytes());
    }
    let Answer::Status(status) = rt::block_on(clients[1].ask(Question::Status)).unwrap() else {
        panic!("no status");
    };
    assert_eq!((status.health.as_str(), status.members_up, status.keys), ("healthy", 3, 99));
}

#[test]
fn a_killed_node_comes_back_and_catches_up() {
    let mut cluster = Cluster::start(&[2, 2, 2]);
    let client = cluster.client(0);
    for number in 0..50 {
        put(&client, &format!("before-{number}"), "old", Level::Quorum);
    }
    cluster.nodes[2].take().unwrap().kill();
    for number in 0..50 {
        put(&client, &format!("without-{number}"), "new", Level::Quorum);
    }
    cluster.start_node(2);
    cluster.wait_until_whole();
    let back = cluster.client(2);
    for number in 0..50 {
        for (name, value) in [("before", "old"), ("without", "new")] {
            let name = format!("{name}-{number}");
            assert_eq!(values(&get(&back, &name, Level::All).unwrap()), [value]);
        }
    }
    // Also what nobody reads: slot sync brings it, until every copy is the same.
    eventually("the copies become equal", || {
        for number in 0..50 {
            let question = Question::Explain {
                bucket: "default".to_owned(),
                key: format!("without-{number}").into_bytes(),
            };
            let answer = rt::block_on(back.ask(question)).map_err(|error| error.to_string())?;
            let Answer::Explain(told) = answer else { return Err("no explanation".to_owned()) };
            let holders = told.replicas.iter().filter(|replica| replica.values.len() == 1).count();
            if holders != 3 {
                return Err(format!("{holders} copies of without-{number}"));
            }
        }
        Ok(())
    });
}

#[test]
fn a_split_leaves_siblings_which_both_sides_see_once_it_heals() {
    let cluster = Cluster::start(&[1, 1, 1]);
    let (a, b, c) = (cluster.client(0), cluster.client(1), cluster.client(2));
    put(&a, "cart", "empty", Level::All);
    cluster.links.split(&[&cluster.addrs[..1], &cluster.addrs[1..]]);
    cluster.wait_for_up(0, 1);
    cluster.wait_for_up(1, 2);
    let alone = rt::block_on(a.put(&key("cart"), "tea").level(Level::Quorum).send());
    let refused = |error: &ClientError| match error {
        ClientError::Refused(failure) => failure.code == FailureCode::LevelNotMet,
        _ => false,
    };
    assert!(alone.as_ref().is_err_and(refused), "{alone:?}");
    rt::block_on(a.put(&key("cart"), "tea").level(Level::One).send()).unwrap();
    rt::block_on(b.put(&key("cart"), "milk").level(Level::Quorum).send()).unwrap();
    assert_eq!(values(&get(&a, "cart", Level::One).unwrap()), ["tea"]);
    assert_eq!(values(&get(&c, "cart", Level::Quorum).unwrap()), ["milk"]);
    cluster.links.heal();
    cluster.wait_until_whole();
    for client in [&a, &b, &c] {
        let got = eventually("both values are seen", || {
            let got = get(client, "cart", Level::All).map_err(|error| error.to_string())?;
            if got.values.len() == 2 { Ok(got) } else { Err(format!("{:?}", values(&got))) }
        });
        assert_eq!(values(&got), ["milk", "tea"]);
    }
    let found = eventually("the conflict is listed once", || {
        let question = Question::Siblings { bucket: None, limit: 10 };
        match rt::block_on(c.ask(question)).map_err(|error| error.to_string())? {
            Answer::Siblings(list) if list.missing.is_empty() => Ok(list.keys),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].key.as_slice(), found[0].siblings), (&b"cart"[..], 2));
    let got = get(&b, "cart", Level::Quorum).unwrap();
    let resolved = b.put(&key("cart"), "tea, milk").context(got.context).level(Level::All);
    rt::block_on(resolved.send()).unwrap();
    assert_eq!(values(&get(&a, "cart", Level::One).unwrap()), ["tea, milk"]);
}

/// A client by hand.
struct Raw {
    stream: TcpStream,
    read: BytesMut,
}

impl Raw {
    fn dial(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Raw { stream, read: BytesMut::new() }
    }

    fn connect(addr: SocketAddr) -> Self {
        let mut raw = Raw::dial(addr);
        let hello = Hello::new(Purpose::Client { name: "by hand".to_owned() });
        let mut bytes = Vec::new();
        Greeting::Hello(hello).encode(&mut bytes).unwrap();
        raw.stream.write_all(&bytes).unwrap();
        assert!(matches!(raw.greeting(), Greeting::Welcome(_)));
        raw
    }

    /// More bytes; `false` at the end.
    fn fill(&mut self) -> bool {
        let mut bytes = [0; 64 * 1024];
        let read = self.stream.read(&mut bytes).unwrap();
        self.read.extend_from_slice(&bytes[..read]);
        read > 0
    }

    fn greeting(&mut self) -> Greeting {
        loop {
            if let Some((header, body)) = wire::split_raw(&mut self.read).unwrap() {
                return Greeting::decode(header, &body).unwrap();
            }
            assert!(self.fill(), "closed without a greeting");
        }
    }

    /// The next frame; `None` at the end.
    fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = wire::split(&mut self.read).unwrap() {
                return Some(frame);
            }
            if !self.fill() {
                assert!(self.read.is_empty(), "closed in the middle of a frame");
                return None;
            }
        }
    }
}

fn encoded(request: u64, message: Message) -> Vec<u8> {
    // Slot, epoch and token of a client are not believed: these are wrong.
    let (token, epoch) = (Token(u64::MAX), Epoch(77));
    let frame = Frame { slot: token.slot(), epoch, request, token, message };
    let mut bytes = Vec::new();
    wire::encode(&frame, &mut bytes).unwrap();
    bytes
}

fn get_frame(request: u64, name: &str) -> Vec<u8> {
    let get = Get {
        key: key(name),
        floor: bytes::Bytes::new(),
        level: Level::One,
        timeout_ms: 0,
        forwarded: true,
    };
    encoded(request, Message::Get(get))
}

fn put_frame(client: &Client, request: u64, name: &str) -> Vec<u8> {
    encoded(request, client.put(&key(name), "v").into_message())
}

#[test]
fn whoever_sends_nonsense_is_told_and_closed_and_nobody_else_notices() {
    let cluster = Cluster::start(&[2]);
    let client = cluster.client(0);
    put(&client, "k", "v", Level::Quorum);

    let mut http = Raw::dial(cluster.addrs[0]);
    http.stream.write_all(b"GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n").unwrap();
    let Greeting::Refused(refused) = http.greeting() else { panic!("not refused") };
    assert_eq!(refused.why, Refusal::Malformed);
    assert!(!http.fill(), "closed");

    let mut corrupt = get_frame(9, "k");
    corrupt[20] ^= 1;
    // The first of the two waits for its sync when the second comes.
    let twice = [put_frame(&client, 9, "k"), put_frame(&client, 9, "k")].concat();
    for (nonsense, words) in [
        (vec![0xff; 100], "at most"),
        (corrupt, "checksum"),
        (encoded(9, Message::Stored), "out of place"),
        (twice, "under way"),
    ] {
        let mut raw = Raw::connect(cluster.addrs[0]);
        raw.stream.write_all(&nonsense).unwrap();
        // What follows is not looked at any more.
        raw.stream.write_all(&get_frame(10, "k")).unwrap();
        let mut failures = Vec::new();
        while let Some(frame) = raw.frame() {
            match frame.message {
                Message::Failure(failure) => failures.push(failure),
                Message::PutReply(_) => assert_eq!(frame.request, 9),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(failures.len(), 1, "{words}");
        assert_eq!(failures[0].code, FailureCode::Refused);
        assert!(failures[0].message.contains(words), "{}", failures[0].message);
    }
    assert_eq!(values(&get(&client, "k", Level::Quorum).unwrap()), ["v"]);
    let metrics = cluster.nodes[0].as_ref().unwrap().metrics();
    assert_eq!(metrics.clients_refused, 4);
}

#[test]
fn more_requests_than_may_be_under_way_are_answered_all_the_same() {
    let cluster = Cluster::start(&[2]);
    put(&cluster.client(0), "k", &"v".repeat(1000), Level::Quorum);
    let mut raw = Raw::connect(cluster.addrs[0]);
    let requests = 20_000;
    let mut writing = raw.stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        for request in 0..requests {
            writing.write_all(&get_frame(request, "k")).unwrap();
        }
    });
    let mut answered = BTreeSet::new();
    while answered.len() < requests as usize {
        let frame = raw.frame().unwrap();
        let Message::GetReply(reply) = frame.message else { panic!("{:?}", frame.message) };
        assert_eq!(reply.values[0].1.bytes.len(), 1000);
        assert!(answered.insert(frame.request), "answered twice");
    }
    writer.join().unwrap();
}

#[test]
fn a_directory_is_used_by_one_node_and_keeps_its_shards() {
    let mut cluster = Cluster::start(&[2]);
    let config = NodeConfig { listen: free_addr(), ..cluster.config(0) };
    let refused = Node::start(config.clone());
    assert!(matches!(refused, Err(StartError::Directory(_))), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains("in use by another process"));
    cluster.nodes[0].take().unwrap().stop();
    let other = Node::start(NodeConfig { shards: Some(4), ..config.clone() });
    assert!(matches!(other, Err(StartError::Shards { wanted: 4, has: 2 })), "{other:?}");
    Node::start(NodeConfig { shards: None, ..config }).unwrap().stop();
}

#[test]
fn acknowledgements_wait_for_the_disk_only_where_they_are_told_to() {
    for sync in [SyncMode::Always, SyncMode::Interval(Duration::from_secs(3600)), SyncMode::Os] {
        let directory = tempfile::tempdir().unwrap();
        let listen = free_addr();
        let pages = Some(directory.path().to_owned());
        let config =
            NodeConfig { listen, sync, pages, ..NodeConfig::new(directory.path().join("n")) };
        let node = Node::start(config.clone()).unwrap();
        let endpoint = [listen.to_string()];
        let connected = Client::connect(&endpoint, ClientOptions::default());
        let client = rt::block_on(connected).unwrap();
        put(&client, "k", "v", Level::Quorum);
        let before = node.metrics();
        for number in 0..20 {
            let name = key(&format!("k{number}"));
            rt::block_on(client.put(&name, "v").send()).unwrap();
        }
        let spent = node.metrics().since(&before);
        // One client that waits for each answer: an append each, and a sync each where they count.
        assert_eq!(spent.appends, 20);
        assert_eq!(spent.syncs, if sync == SyncMode::Always { 20 } else { 0 });
        node.stop();
        let node = Node::start(config).unwrap();
        let client = rt::block_on(Client::connect(&endpoint, ClientOptions::default())).unwrap();
        let got = eventually("a get succeeds", || {
            get(&client, "k19", Level::Quorum).map_err(|error| error.to_string())
        });
        assert_eq!(values(&got), ["v"]);
        node.stop();
    }
}

#[test]
fn a_damaged_log_is_refused_by_name_and_comes_back_from_the_peers_once_it_is_moved_aside() {
    let mut cluster = Cluster::start(&[1, 1, 1]);
    let client = cluster.client(0);
    for number in 0..20 {
        put(&client, &format!("k{number}"), &format!("v{number}"), Level::All);
    }
    cluster.nodes[2].take().unwrap().kill();
    let shard = cluster.directory.path().join("n2/shard-0");
    let segment = shard.join("00000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    // In the body of the first batch, which later ones say was synced.
    bytes[60] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let refused = Node::start(cluster.config(2)).unwrap_err();
    let StartError::Store { shard: 0, why: StoreError::Damaged { file, .. } } = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!(file, "00000001.seg");
    assert!(refused.to_string().contains("the body of batch 1 does not match"), "{refused}");
    assert_eq!(std::fs::read(&segment).unwrap(), bytes, "nothing was touched");

    std::fs::rename(&shard, cluster.directory.path().join("moved")).unwrap();
    cluster.start_node(2);
    cluster.wait_until_whole();
    let back = cluster.client(2);
    eventually("the shard has its keys again", || {
        for number in 0..20 {
            let question = Question::Explain {
                bucket: "default".to_owned(),
                key: format!("k{number}").into_bytes(),
            };
            let answer = rt::block_on(back.ask(question)).map_err(|error| error.to_string())?;
            let Answer::Explain(told) = answer else { return Err("no explanation".to_owned()) };
            let holders = told.replicas.iter().filter(|replica| replica.values.len() == 1).count();
            if holders != 3 {
                return Err(format!("{holders} copies of k{number}"));
            }
        }
        Ok(())
    });
    // The page remembers that there was more: the copy counts once it has heard the others.
    eventually("the copy counts again", || {
        let got = get(&back, "k7", Level::All).map_err(|error| error.to_string())?;
        if values(&got) == ["v7"] { Ok(()) } else { Err(format!("{got:?}")) }
    });
}

/// A small file system of its own, gone with this.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, and said so, when this process may not mount anything.
    fn mount(bytes: u32) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={bytes}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(directory.path())
            .output()
            .unwrap();
        if mounted.status.success() {
            return Some(SmallDisk(directory));
        }
        let why = String::from_utf8_lossy(&mounted.stderr);
        let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        assert!(!root, "root may mount a small file system: {why}");
        eprintln!(
            "SKIPPED: a full disk needs a file system to fill, and only root mounts one: {why}"
        );
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "it was mounted");
    }
}

#[test]
fn a_full_disk_refuses_writes_and_takes_them_again_once_there_is_space() {
    let Some(disk) = SmallDisk::mount(8 << 20) else { return };
    let listen = free_addr();
    let data = disk.0.path().join("node");
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 4 << 20]).unwrap();
    let pages = Some(disk.0.path().to_owned());
    let (segment_bytes, shards) = (1 << 20, Some(1));
    let config = NodeConfig { listen, segment_bytes, shards, pages, ..NodeConfig::new(data) };
    let node = Node::start(config.clone()).unwrap();
    let endpoint = [listen.to_string()];
    let client = rt::block_on(Client::connect(&endpoint, ClientOptions::default())).unwrap();
    put(&client, "first", "v", Level::Quorum);
    let (mut written, mut waits) = (0, false);
    let refused = loop {
        let name = key(&format!("k{written}"));
        match rt::block_on(client.put(&name, "x".repeat(50_000)).send()) {
            // One that overtakes the thread which finds the disk full is staged already: it waits for
            // space, is told as unknown, and is there when there is some.
            Ok(_) => written += 1,
            Err(ClientError::Unknown(_)) => (written, waits) = (written + 1, true),
            Err(ClientError::Refused(failure)) => break failure,
            Err(other) => panic!("after {written}: {other}"),
        }
        assert!(written < 200, "four megabytes hold no more");
    };
    assert!(written > 20);
    assert_eq!(refused.code, FailureCode::DiskFull);
    assert!(refused.message.contains("nothing was written"), "{}", refused.message);
    let gone = get(&client, &format!("k{written}"), Level::Quorum).unwrap();
    assert!(gone.values.is_empty(), "and nothing was");
    let last = format!("k{}", written - 1);
    assert_eq!(get(&client, &last, Level::Quorum).unwrap().values.len(), 1);
    // What is kept free for deletes is taken by one that waits, if there is one.
    if waits {
        std::fs::remove_file(&ballast).unwrap();
    }
    eventually("a delete succeeds", || {
        let deleted = rt::block_on(client.delete(&key("first")).send());
        let refused = deleted.as_ref().is_err_and(|error| error.to_string().contains("no room"));
        assert!(waits || !refused, "there is room for a delete: {deleted:?}");
        deleted.map_err(|error| error.to_string())
    });
    assert!(get(&client, "first", Level::Quorum).unwrap().values.is_empty());

    if !waits {
        std::fs::remove_file(&ballast).unwrap();
    }
    put(&client, "after", &"y".repeat(50_000), Level::Quorum);
    node.kill();
    let node = Node::start(config).unwrap();
    let client = rt::block_on(Client::connect(&endpoint, ClientOptions::default())).unwrap();
    for (name, values) in [("first", 0), (last.as_str(), 1), ("after", 1)] {
        let got = eventually("a get succeeds", || {
            get(&client, name, Level::Quorum).map_err(|error| error.to_string())
        });
        assert_eq!(got.values.len(), values, "{name}");
    }
    node.stop();
}

#[test]
fn who_is_stopped_in_order_is_known_to_be_and_comes_back() {
    let mut cluster = Cluster::start(&[1, 1, 1]);
    cluster.nodes[2].take().unwrap().stop();
    for node in [0, 1] {
        cluster.wait_for(node, |status| {
            status
                .sentences
                .iter()
                .any(|line| line.contains("n2") && line.contains("it was stopped"))
        });
    }
    cluster.start_node(2);
    cluster.wait_until_whole();
    // A kill says nothing.
    cluster.nodes[1].take().unwrap().kill();
    cluster.wait_for_up(0, 2);
    cluster.wait_for(0, |status| {
        let about = |line: &&String| line.starts_with("n1 ");
        status.sentences.iter().find(about).is_some_and(|line| !line.contains("it was stopped"))
    });
}
