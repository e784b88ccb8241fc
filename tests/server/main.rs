//! Whole nodes in one process, over real sockets and real disks: what clients and peers notice.

#![allow(clippy::unwrap_used)]

mod continuity;
mod disks;
mod growing;
mod hostile;
mod joining;
mod lives;
mod lost;
mod peers;
mod rollback;
mod split;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ringdove::client::{Client, ClientError, ClientOptions, Got};
use ringdove::key::Key;
use ringdove::ring::Token;
use ringdove::rt;
use ringdove::server::{Links, Node, NodeConfig};
use ringdove::wire::{Answer, FailureCode, Level, Question, Status};

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
