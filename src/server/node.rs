//! A node, put together and taken apart.
//!
//! Invariant: nothing is served before the directory is this process's alone, its life is on the
//! disk, and every shard's log is read. However a node ends, its next start finds its place again.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_lite::FutureExt;
use rand::RngExt;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;

use super::accept;
use super::config::{NodeConfig, StartError};
use super::control::{ControlLoop, Waiting, control_box};
use super::dial::Dialler;
use super::driver::{Clock, Driver, Surroundings, poll};
use super::home::Home;
use super::house::{House, Identity};
use super::inbox::{Completion, Inbox, Mailbox, inbox};
use super::metrics::{Counters, Metrics};
use crate::control::{Control, ControlConfig, ControlState};
use crate::ring::NodeId;
use crate::rt;
use crate::shard::ShardConfig;
use crate::storage::{LogEnd, Options, Page, RealDisk, Store, StoreError, salvage};

/// How long clients' requests may go on once the node is told to stop.
const GRACE: Duration = Duration::from_secs(2);
/// Tries to find a free port for TCP and UDP alike, when any will do.
const PORT_TRIES: usize = 32;

/// A running node. Stops when it is dropped.
///
/// ```no_run
/// use ringdove::server::{Node, NodeConfig};
///
/// let node = Node::start(NodeConfig::new("data/here"))?;
/// println!("serving on {}", node.addr());
/// node.stop();
/// # Ok::<(), ringdove::server::StartError>(())
/// ```
pub struct Node {
    house: Arc<House>,
    counters: Vec<Arc<Counters>>,
    running: Option<Running>,
    failed: async_channel::Receiver<String>,
}

/// What has to be ended.
struct Running {
    drivers: Vec<JoinHandle<()>>,
    control: JoinHandle<()>,
    accepting: rt::Task<()>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("name", &self.house.name).field("addr", &self.addr()).finish()
    }
}

/// A driver and its shard, before its thread runs.
struct Prepared {
    poll: mio::Poll,
    inbox: Inbox,
    mailbox: Mailbox,
    counters: Arc<Counters>,
    store: Store<RealDisk>,
    position: Arc<AtomicU64>,
}

impl Node {
    /// Starts a node. Blocks while it reads its logs; when this returns it listens. It takes requests
    /// once it has a ring: at once on its own, or when all founders have been heard.
    pub fn start(config: NodeConfig) -> Result<Node, StartError> {
        let (mut home, mut state) = Home::open(&config.data, config.shards)?;
        let mut page = home.page(config.pages.as_deref())?;
        let (tcp, udp, addr) = rt::block_on(listen(config.listen))?;
        let advertise = config.advertise.unwrap_or(addr);
        let name = config.name.clone().unwrap_or_else(|| advertise.to_string());
        let control = ControlConfig {
            name: name.clone(),
            advertise,
            zone: config.zone.clone(),
            seeds: config.seeds.clone(),
            copies: config.copies,
            shards: home.shards,
        };
        let last_life = home.last_life();
        let options = Options { segment_bytes: config.segment_bytes, last_life };
        let mut prepared = prepare(&home, options, config.salvage)?;
        let lacks = config.restored || home.lacks(page.as_ref(), &ends(&prepared))?;
        if lacks || prepared.iter().any(|one| one.store.recovering()) {
            doubt(&home, &mut state, &mut prepared, config.keep_id)?;
        }
        let id = state.id;
        let control = Control::new(control, state, rand::rng().random())?;
        let ends = ends(&prepared);
        let life = home.begin(page.as_mut(), &ends)?;

        let (control_box, control_inbox, lines) = control_box();
        let house = Arc::new(House {
            name,
            advertise,
            shards: home.shards,
            links: config.links.clone(),
            drivers: prepared.iter().map(|one| one.mailbox.clone()).collect(),
            control: control_box,
            clients: Arc::new(AtomicUsize::new(0)),
            halfway: Arc::new(AtomicUsize::new(0)),
            closed: AtomicBool::new(false),
            identity: Mutex::new(Identity { id, ring: None }),
        });
        let counters = prepared.iter().map(|one| Arc::clone(&one.counters)).collect();
        let positions = prepared.iter().map(|one| Arc::clone(&one.position)).collect();
        let clock = Clock::start();
        let (failing, failed) = async_channel::unbounded();
        let drivers = drive(&house, (life, page), &config, clock, prepared, &failing)?;
        let looped = ControlLoop {
            control,
            inbox: control_inbox,
            udp,
            home: Arc::new(home),
            house: Arc::clone(&house),
            clock,
            dialler: Dialler::default(),
            lines,
            positions,
            lanes: BTreeMap::new(),
            waiting: Waiting::default(),
        };
        let watch = Watch { what: "the control thread".to_owned(), failing, ended: false };
        let control = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            looped.run();
            watch.dismiss();
        })?;
        let accepting = rt::spawn(accept::run(tcp, Arc::clone(&house)));
        let running = Some(Running { drivers, control, accepting });
        Ok(Node { house, counters, running, failed })
    }

    /// Where others reach it.
    pub fn addr(&self) -> SocketAddr {
        self.house.advertise
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.house.name
    }

    /// The name of its data directory.
    pub fn id(&self) -> NodeId {
        self.house.id()
    }

    /// Whether it has a ring, and so takes requests.
    pub fn is_serving(&self) -> bool {
        self.house.ring().is_some()
    }

    /// What its drivers have done so far.
    pub fn metrics(&self) -> Metrics {
        let mut sum = Metrics::default();
        self.counters.iter().for_each(|counters| counters.add_to(&mut sum));
        sum
    }

    /// Stops in order: no new requests, those under way answered (for two seconds at most),
    /// everything written made durable. Blocks until it is done.
    pub fn stop(mut self) {
        self.end(true);
    }

    /// Ends as if the process were killed: nothing more is answered, written or made durable.
    pub fn kill(mut self) {
        self.end(false);
    }

    /// Waits until the process is asked to stop (SIGINT, SIGTERM), then stops. Blocks.
    ///
    /// An error says which part of the node failed; what was acknowledged is on the disk.
    pub fn run_until_signal(mut self) -> io::Result<()> {
        let failed = self.failed.clone();
        let ended = rt::block_on(async {
            let mut signals = rt::StopSignals::listen()?;
            let signal = async { signals.next().await.map(|name| format!("stopping on {name}")) };
            let failure = async {
                match failed.recv().await {
                    Ok(why) => Err(io::Error::other(why)),
                    Err(_) => std::future::pending().await,
                }
            };
            signal.or(failure).await
        });
        if let Ok(why) = &ended {
            log::info!("{why}");
        }
        self.end(true);
        ended.map(drop)
    }

    fn end(&mut self, orderly: bool) {
        let Some(Running { drivers, control, accepting }) = self.running.take() else { return };
        self.house.closed.store(true, Ordering::Release);
        rt::block_on(accepting.cancel());
        if orderly {
            self.wait_for_clients();
        }
        self.house.control.stop(orderly);
        for driver in self.house.drivers.iter() {
            driver.complete(if orderly { Completion::End } else { Completion::Kill });
        }
        for thread in drivers.into_iter().chain([control]) {
            if thread.join().is_err() {
                log::error!("a thread of node {} panicked", self.house.name);
            }
        }
    }

    fn wait_for_clients(&self) {
        let (quiet, all_quiet) = crossbeam_channel::bounded(0);
        for driver in self.house.drivers.iter() {
            driver.complete(Completion::Stop(quiet.clone()));
        }
        drop(quiet);
        if all_quiet.recv_deadline(Instant::now() + GRACE)
            == Err(crossbeam_channel::RecvTimeoutError::Timeout)
        {
            log::warn!("node {} stops while clients still wait for answers", self.house.name);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end(true);
    }
}

/// Reports a thread that ends before it should.
struct Watch {
    what: String,
    failing: async_channel::Sender<String>,
    ended: bool,
}

impl Watch {
    /// The thread ends as it should.
    fn dismiss(mut self) {
        self.ended = true;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.failing.try_send(format!("{} ended before its time", self.what));
        }
    }
}

/// Opens the shards, all at once: each reads its whole log.
fn prepare(home: &Home, options: Options, salvage: bool) -> Result<Vec<Prepared>, StartError> {
    std::thread::scope(|scope| {
        let opening: Vec<_> = (0..home.shards)
            .map(|shard| scope.spawn(move || prepare_one(home, shard, options, salvage)))
            .collect();
        let opened = opening.into_iter().map(|thread| match thread.join() {
            Ok(prepared) => prepared,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        opened.collect()
    })
}

fn prepare_one(
    home: &Home,
    shard: u16,
    options: Options,
    salvage: bool,
) -> Result<Prepared, StartError> {
    let started = Instant::now();
    let dir = home.shard(shard);
    RealDisk::finish_replacing(&dir)?;
    let mut opened = Store::open(RealDisk::open(&dir)?, options);
    if let Err(why @ StoreError::Damaged { .. }) = &opened
        && salvage
    {
        log::warn!("shard {shard}: {why}");
        salvage_one(&dir, shard, options)?;
        opened = Store::open(RealDisk::open(&dir)?, options);
    }
    let (store, opened) = opened.map_err(|why| StartError::Store { shard, why })?;
    log::info!(
        "shard {shard}: {} keys, {} batches read in {:?}, {} bytes of a torn tail cut",
        store.key_count(),
        opened.batches,
        started.elapsed(),
        opened.torn_bytes
    );
    let (poll, waker) = poll()?;
    let counters = Arc::new(Counters::default());
    let (mailbox, inbox) = inbox(waker, Arc::clone(&counters));
    let position = Arc::new(AtomicU64::new(store.synced().0));
    Ok(Prepared { poll, inbox, mailbox, counters, store, position })
}

/// Puts what can be saved of a damaged log in its place, and the damaged log beside it.
fn salvage_one(dir: &Path, shard: u16, options: Options) -> Result<(), StartError> {
    let (mut damaged, spare) = (RealDisk::open(dir)?, RealDisk::open_spare(dir)?);
    let saved = salvage(&mut damaged, spare, options);
    let saved = saved.map_err(|why| StartError::Store { shard, why })?;
    drop(damaged);
    let kept = RealDisk::replace(dir)?;
    log::warn!("shard {shard}: {saved}; the damaged log is kept in {}", kept.display());
    Ok(())
}

/// Where the logs end.
fn ends(prepared: &[Prepared]) -> Vec<LogEnd> {
    prepared.iter().map(|one| one.store.end()).collect()
}

/// Synced data are missing, and with them may be what this node promised: it is not the member any more that it was, and
/// goes on as somebody new, who takes that one's place with what data there are. A cluster of one promised
/// nobody anything, and an operator may know better: then it only catches up.
fn doubt(
    home: &Home,
    state: &mut ControlState,
    prepared: &mut [Prepared],
    keep_id: bool,
) -> Result<(), StartError> {
    let others = state.ring.as_ref().is_some_and(|ring| ring.members.len() > 1);
    if others && !keep_id {
        let old = state.id;
        state.reborn(&mut UnwrapErr(SysRng));
        home.save_control(state)
            .map_err(|why| StartError::Notes { dir: home.path().to_owned(), why })?;
        log::warn!(
            "synced data are missing here, so this is not member {old} any more; it joins the cluster again as {}, and \
             takes that one's place with the data it has",
            state.id
        );
    }
    begin_recovering(prepared)
}

/// Writes down that synced data are missing, before the page says that all is as it should be.
fn begin_recovering(prepared: &mut [Prepared]) -> Result<(), StartError> {
    for (shard, one) in (0..).zip(prepared) {
        one.store.begin_recovering().map_err(|why| StartError::Store { shard, why })?;
    }
    Ok(())
}

/// Starts the drivers' threads.
fn drive(
    house: &Arc<House>,
    (life, page): (u64, Option<Page>),
    config: &NodeConfig,
    clock: Clock,
    prepared: Vec<Prepared>,
    failing: &async_channel::Sender<String>,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let start = |(number, one): (usize, Prepared)| {
        let number = number as u16;
        let around = Surroundings {
            number,
            drivers: Arc::clone(&house.drivers),
            control: house.control.clone(),
            links: house.links.clone(),
            sync: config.sync,
            clock,
            counters: one.counters,
            position: one.position,
            page: page.clone(),
        };
        let shard = ShardConfig {
            shard: number,
            shards: house.shards,
            life,
            seed: rand::rng().random(),
            requests_max: config.limits.requests,
            request_bytes_max: config.limits.request_bytes,
            hint_bytes_max: config.limits.hint_bytes,
            ..ShardConfig::default()
        };
        let driver = Driver::new(around, (one.poll, one.inbox), one.store, shard)?;
        let what = format!("the driver of shard {number}");
        let watch = Watch { what, failing: failing.clone(), ended: false };
        let run = move || match driver.run() {
            Ok(()) => watch.dismiss(),
            Err(error) => log::error!("{}: {error}", watch.what),
        };
        Ok(std::thread::Builder::new().name(format!("shard-{number}")).spawn(run)?)
    };
    prepared.into_iter().enumerate().map(start).collect()
}

/// Listens for TCP and UDP on one port.
async fn listen(
    addr: SocketAddr,
) -> Result<(rt::TcpListener, rt::UdpSocket, SocketAddr), StartError> {
    let refused = |why| StartError::Listen { addr, why };
    for _ in 1..PORT_TRIES {
        let tcp = rt::TcpListener::bind(addr).await.map_err(refused)?;
        let bound = tcp.local_addr().map_err(refused)?;
        match rt::UdpSocket::bind(bound).await {
            Ok(udp) => return Ok((tcp, udp, bound)),
            Err(why) if addr.port() == 0 && why.kind() == io::ErrorKind::AddrInUse => {}
            Err(why) => return Err(refused(why)),
        }
    }
    let why = format!("no port is free for TCP and UDP alike after {PORT_TRIES} tries");
    Err(refused(io::Error::other(why)))
}
