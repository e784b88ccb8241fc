//! Real processes under load that is checked all the time: three nodes grow to six and shrink to four, and the leader of
//! each change is killed -9 in the middle of it.
//!
//! `RINGDOVE_GROW_STRICT=1 RINGDOVE_GROW_KEYS=100000 cargo test --test server growing -- --nocapture` prints balance, what
//! was moved against what had to be, and what became of the requests; it wants a machine that does nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringdove::client::{Client, ClientError, ClientOptions};
use ringdove::key::Key;
use ringdove::rt;
use ringdove::wire::{Level, RingShown};

use super::peers::Peer;
use super::{eventually, free_addr};

/// Keys that are there before anything moves, unless the environment says how many.
const KEYS: usize = 2_000;
/// Clients that write and read all the time, and keys that each of them writes.
const WORKERS: usize = 4;
const OWN_KEYS: usize = 50;
/// How long a request may take. A kill in the middle of a step costs the rows in that step their quorum until it is
/// noticed and the newcomer has pulled from those left.
const PATIENT: Duration = Duration::from_secs(30);
/// How long rows may take to come to rest on a machine that is merely slow.
const REST: Duration = Duration::from_secs(600);

/// What all clients share.
#[derive(Default)]
struct Shared {
    /// Where requests are sent.
    endpoints: Mutex<Vec<SocketAddr>>,
    /// Nodes that are killed, or were a moment ago.
    killed: Mutex<BTreeSet<SocketAddr>>,
    stop: AtomicBool,
    done: AtomicU64,
    /// The longest that one took, in milliseconds.
    slowest: AtomicU64,
    /// Requests that were on their way to or at a node that was killed.
    of_kills: AtomicU64,
    /// What else did not succeed.
    failed: Mutex<Vec<String>>,
}

/// One client: writes its own keys and reads them, and what was there before.
struct Worker {
    shared: Arc<Shared>,
    number: usize,
    keys: usize,
    /// The last write of each own key that was acknowledged, and what a later one must have seen.
    acked: BTreeMap<usize, (u64, Vec<u8>)>,
    /// Keys whose last write may or may not have happened.
    doubtful: BTreeSet<usize>,
    next: u64,
}

fn old_key(number: usize) -> Key {
    Key::new("old", format!("k{number}").as_bytes()).unwrap()
}

impl Worker {
    fn run(mut self) -> Self {
        while !self.shared.stop.load(Ordering::Acquire) {
            let endpoints = self.shared.endpoints.lock().unwrap().clone();
            let endpoint = endpoints[rand::random_range(0..endpoints.len())];
            let endpoints = [endpoint.to_string()];
            let options = ClientOptions { timeout: PATIENT, ..ClientOptions::default() };
            match rt::block_on(Client::connect(&endpoints, options)) {
                Ok(client) => self.use_for_a_while(&client, endpoint),
                Err(error) => self.not_done(endpoint, "a connection", &error),
            }
        }
        self
    }

    fn use_for_a_while(&mut self, client: &Client, endpoint: SocketAddr) {
        for _ in 0..100 {
            if self.shared.stop.load(Ordering::Acquire) {
                return;
            }
            let began = Instant::now();
            if let Err((what, error)) = self.request(client) {
                return self.not_done(endpoint, what, &error);
            }
            self.shared.slowest.fetch_max(began.elapsed().as_millis() as u64, Ordering::Relaxed);
            self.shared.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request failed: is it one that a kill took with it?
    fn not_done(&self, endpoint: SocketAddr, what: &str, error: &ClientError) {
        let told = matches!(error, ClientError::Refused(_) | ClientError::Invalid(_));
        if !told && self.shared.killed.lock().unwrap().contains(&endpoint) {
            self.shared.of_kills.fetch_add(1, Ordering::Relaxed);
        } else {
            self.shared.failed.lock().unwrap().push(format!("{what} at {endpoint}: {error}"));
        }
    }

    fn request(&mut self, client: &Client) -> Result<(), (&'static str, ClientError)> {
        match rand::random_range(0..3) {
            0 => {
                let number = rand::random_range(0..self.keys);
                let got = client.get(&old_key(number)).level(Level::Quorum).send();
                let got = rt::block_on(got).map_err(|error| ("a read of what was there", error))?;
                assert_eq!(super::values(&got), [format!("v{number}")], "key {number} of old");
            }
            1 => {
                let number = rand::random_range(0..OWN_KEYS);
                self.check(client, number).map_err(|error| ("a read of its own", error))?;
            }
            _ => {
                let number = rand::random_range(0..OWN_KEYS);
                if self.doubtful.contains(&number) {
                    self.check(client, number).map_err(|error| ("a read of its own", error))?;
                }
                self.write(client, number).map_err(|error| ("a write", error))?;
            }
        }
        Ok(())
    }

    fn own_key(&self, number: usize) -> Key {
        Key::new("own", format!("w{}-{number}", self.number).as_bytes()).unwrap()
    }

    fn write(&mut self, client: &Client, number: usize) -> Result<(), ClientError> {
        self.next += 1;
        let (_, seen) = self.acked.get(&number).cloned().unwrap_or_default();
        let put = client.put(&self.own_key(number), self.next.to_string());
        let put = if seen.is_empty() { put.blind() } else { put.context(seen) };
        match rt::block_on(put.level(Level::Quorum).strict().send()) {
            Ok(done) => {
                self.acked.insert(number, (self.next, done.context.to_vec()));
                Ok(())
            }
            Err(error) => {
                self.doubtful.insert(number);
                Err(error)
            }
        }
    }

    /// What is read is what was acknowledged last, or something later whose outcome nobody knows.
    fn check(&mut self, client: &Client, number: usize) -> Result<(), ClientError> {
        let got = rt::block_on(client.get(&self.own_key(number)).level(Level::Quorum).send())?;
        let values: Vec<u64> = super::values(&got).iter().map(|v| v.parse().unwrap()).collect();
        let (acked, _) = self.acked.get(&number).cloned().unwrap_or_default();
        let newest = values.iter().copied().max().unwrap_or(0);
        assert!(newest >= acked, "own key {number}: {values:?}, and {acked} was acknowledged");
        if !self.doubtful.contains(&number) {
            let expected: Vec<u64> = (acked > 0).then_some(acked).into_iter().collect();
            assert_eq!(values, expected, "own key {number}");
        } else if newest > 0 {
            // From here on it is known what is there, unless a write is still on its way.
            self.acked.insert(number, (newest, got.context.to_vec()));
        }
        Ok(())
    }
}

/// The cluster of processes, and who uses it.
struct Farm<'a> {
    directory: &'a Path,
    addrs: Vec<SocketAddr>,
    peers: BTreeMap<usize, Peer>,
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<Worker>>,
}

impl Farm<'_> {
    fn start(&mut self, place: usize) {
        let peer =
            Peer::start(self.directory, &format!("n{place}"), self.addrs[place], &self.addrs[..3]);
        self.peers.insert(place, peer);
    }

    fn peer(&self) -> &Peer {
        let killed = self.shared.killed.lock().unwrap();
        self.peers.values().find(|peer| !killed.contains(&peer.addr)).unwrap()
    }

    fn use_endpoints(&self, places: &[usize]) {
        *self.shared.endpoints.lock().unwrap() = places.iter().map(|at| self.addrs[*at]).collect();
    }

    fn load(&self, keys: usize) {
        let client = self.peer().client();
        let numbers: Vec<usize> = (0..keys).collect();
        for some in numbers.chunks(200) {
            let puts = some.iter().map(|number| {
                let put = client.put(&old_key(*number), format!("v{number}")).blind();
                let message = put.level(Level::Quorum).into_message();
                rt::block_on(client.start(message)).unwrap()
            });
            let pending: Vec<_> = puts.collect();
            pending.into_iter().for_each(|one| drop(rt::block_on(one).unwrap()));
        }
    }

    fn work(&mut self, keys: usize) {
        for number in 0..WORKERS {
            let (acked, doubtful) = (BTreeMap::new(), BTreeSet::new());
            let shared = Arc::clone(&self.shared);
            let worker = Worker { shared, number, keys, acked, doubtful, next: 0 };
            self.workers.push(std::thread::spawn(move || worker.run()));
        }
    }

    /// Kills the leader once so many partitions have changed hands since `before`, and starts it again after a while.
    fn kill_the_leader(&mut self, before: &RingShown, seats: usize) {
        eventually("rows are on the move", || {
            let moved = moved(before, &self.peer().ring()?);
            if moved >= seats { Ok(()) } else { Err(format!("{moved} seats have changed hands")) }
        });
        let leader = eventually("somebody leads", || {
            let members = self.peer().members();
            let leader = members.iter().find(|line| line.leader).ok_or("nobody leads")?;
            self.addrs
                .iter()
                .position(|addr| addr.to_string() == leader.addr)
                .ok_or("who is it?")
                .map_err(str::to_owned)
        });
        self.shared.killed.lock().unwrap().insert(self.addrs[leader]);
        self.peers.get_mut(&leader).unwrap().kill();
        println!("killed n{leader}, the leader");
        std::thread::sleep(Duration::from_secs(3));
        self.start(leader);
        let peer = &self.peers[&leader];
        eventually("the killed one is back", || peer.command(&["status", "--check"]).map(drop));
        self.shared.killed.lock().unwrap().remove(&self.addrs[leader]);
    }

    /// Until nothing changes any more, and so many members are left.
    fn rest(&self, members: usize) -> RingShown {
        let end = Instant::now() + REST;
        loop {
            let listed = self.peer().members();
            let ring = self.peer().ring().unwrap();
            let moving = ring
                .partitions
                .iter()
                .filter(|at| !at.change.is_empty() || !at.goal.is_empty() || !at.former.is_empty());
            let moving = moving.count();
            if (listed.len(), moving) == (members, 0) {
                let shares: Vec<String> = listed
                    .iter()
                    .map(|line| format!("{} {} %", line.name, line.share_percent))
                    .collect();
                println!(
                    "at rest with {members} members, epoch {}: {}",
                    ring.epoch,
                    shares.join(", ")
                );
                for line in &listed {
                    let (share, fair) =
                        (line.share_percent.parse::<f64>().unwrap(), 100.0 / members as f64);
                    assert!((share - fair).abs() <= fair * 0.02, "{line:?} is off {fair} %");
                }
                return ring;
            }
            let doctor = self.peer().command(&["doctor"]);
            assert!(Instant::now() < end, "{moving} partitions still move: {doctor:?}");
            self.still_well();
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn still_well(&self) {
        let ended = self.workers.iter().filter(|worker| worker.is_finished()).count();
        assert_eq!(ended, 0, "a client stopped: what it read was wrong");
    }

    /// What became of all requests.
    fn account(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        let doubtful: usize =
            self.workers.drain(..).map(|worker| worker.join().unwrap().doubtful.len()).sum();
        let failed = self.shared.failed.lock().unwrap();
        println!(
            "{} requests succeeded, the slowest in {} ms; {} were a killed node's own ({doubtful} keys in doubt meanwhile), {} failed",
            self.shared.done.load(Ordering::Acquire),
            self.shared.slowest.load(Ordering::Acquire),
            self.shared.of_kills.load(Ordering::Acquire),
            failed.len()
        );
        // A machine that is too busy makes members doubt each other, and a quorum may be out of reach for a moment.
        let done = self.shared.done.load(Ordering::Acquire) as usize;
        let allowed =
            if std::env::var_os("RINGDOVE_GROW_STRICT").is_some() { 0 } else { done / 50 };
        assert!(failed.len() <= allowed, "{failed:#?}");
    }
}

/// How many seats somebody else has than in an earlier ring, cuts aside.
fn moved(before: &RingShown, after: &RingShown) -> usize {
    let seats = seats_moved(before, after);
    seats.iter().filter(|(_, slots)| *slots > 0).map(|(seats, _)| seats).sum()
}

/// For each partition of the later ring: new owners, and how many slots they have got.
fn seats_moved(before: &RingShown, after: &RingShown) -> Vec<(usize, usize)> {
    let owners_at = |first: u16| {
        let at = before.partitions.partition_point(|partition| partition.first <= first) - 1;
        &before.partitions[at].owners
    };
    let new = |at: &ringdove::wire::PartitionShown| {
        let old = owners_at(at.first);
        let seats = at.owners.iter().filter(|owner| !old.contains(owner)).count();
        (seats, seats * usize::from(at.slots))
    };
    after.partitions.iter().map(new).collect()
}

/// What was moved between two rings at rest, and what had to be at least: what newcomers own, or who left owned.
fn told(what: &str, before: &RingShown, after: &RingShown, least: usize) {
    let slots: usize = seats_moved(before, after).iter().map(|(_, slots)| slots).sum();
    let percent = |slots: usize| slots as f64 * 100.0 / 16_384.0;
    println!(
        "{what}: {:.1} % of one copy of everything was moved, {:.1} % had to be ({:.3} times)",
        percent(slots),
        percent(least),
        slots as f64 / least as f64
    );
    // Where few members are left, seats that need not move sometimes do: at most 1.094 times in 2,000 plans.
    assert!(slots as f64 <= least as f64 * 1.10, "{slots} slots moved, {least} had to be");
}

#[test]
fn three_grow_to_six_and_shrink_to_four_under_load_though_leaders_are_killed() {
    let keys = std::env::var("RINGDOVE_GROW_KEYS").map_or(KEYS, |keys| keys.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let mut farm = Farm {
        directory: directory.path(),
        addrs: (0..6).map(|_| free_addr()).collect(),
        peers: BTreeMap::new(),
        shared: Arc::default(),
        workers: Vec::new(),
    };
    (0..3).for_each(|place| farm.start(place));
    farm.peers[&0].wait_for(3);
    farm.load(keys);
    farm.use_endpoints(&[0, 1, 2]);
    farm.work(keys);
    let three = farm.rest(3);

    (3..6).for_each(|place| farm.start(place));
    farm.kill_the_leader(&three, 20);
    let six = farm.rest(6);
    told("3 to 6 members", &three, &six, 16_384 * 3 / 2);

    // Clients of who is to leave go elsewhere first.
    farm.use_endpoints(&[0, 2, 3, 5]);
    println!("{}", farm.peer().command(&["plan", "leave", "n1", "n4"]).unwrap());
    eventually("two are to leave", || farm.peer().command(&["apply", "leave", "n1", "n4"]));
    farm.kill_the_leader(&six, 20);
    let four = farm.rest(4);
    let left = |at: &ringdove::wire::PartitionShown| {
        at.owners.iter().filter(|name| ["n1", "n4"].contains(&name.as_str())).count()
            * usize::from(at.slots)
    };
    told("6 to 4 members", &six, &four, six.partitions.iter().map(left).sum());
    farm.account();

    let client = farm.peers[&5].client();
    for number in 0..keys {
        // A node that is held up for a moment is only late.
        let got = eventually("a key is read at level all", || {
            let got = rt::block_on(client.get(&old_key(number)).level(Level::All).send());
            got.map_err(|error| error.to_string())
        });
        assert_eq!(super::values(&got), [format!("v{number}")], "key {number} at level all");
    }
    println!("all {keys} keys are at all their owners");
}
