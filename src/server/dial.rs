//! Dialling: keeps the lanes to other members open, for ever.
//!
//! The node with the lower id dials, so that a pair of shards has one lane and no two that race.
//! Lane 0 goes first: the welcome says how many shards the member has, and so how many lanes there
//! are to be. Invariant: a lane that broke is dialled again, after a pause that grows to a second and
//! no further, until its member leaves the routes. Not here: what makes a lane break.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::FutureExt;
use rand::RngExt;

use super::greet;
use super::house::House;
use super::inbox::{Completion, NewLane};
use super::lanes::{lane_count, shards_of_lane};
use crate::control::Route;
use crate::ring::MemberNumber;
use crate::rt::{self, TcpStream};
use crate::wire::{Greeting, Hello, Purpose, Welcome};

const CONNECT: Duration = Duration::from_secs(3);
const HANDSHAKE: Duration = Duration::from_secs(3);
const PAUSE_FIRST: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Dropped to end what dials for a route.
type Leash = async_channel::Sender<Infallible>;

/// Whoever is to be dialled.
#[derive(Debug, Default)]
pub(super) struct Dialler {
    routes: BTreeMap<MemberNumber, (Route, Leash)>,
}

impl Dialler {
    /// Keeps lanes to exactly these members.
    pub(super) fn keep(&mut self, house: &Arc<House>, routes: Vec<Route>) {
        self.routes.retain(|_, (known, _)| routes.contains(known));
        for route in routes {
            if house.id() >= route.id || self.routes.contains_key(&route.member) {
                continue;
            }
            let (leash, dropped) = async_channel::bounded::<Infallible>(1);
            self.routes.insert(route.member, (route.clone(), leash));
            let dialling = keep_member(Arc::clone(house), route, dropped.clone());
            let ended = async move {
                let _ = dropped.recv().await;
            };
            rt::spawn(dialling.or(ended)).detach();
        }
    }
}

/// Keeps all lanes to one member: lane 0 itself, the others once their number is known.
async fn keep_member(house: Arc<House>, route: Route, leash: async_channel::Receiver<Infallible>) {
    let mut count = 1;
    let mut lane = KeptLane::new(house, route, 0);
    loop {
        let theirs = lane.keep_open().await;
        let wanted = lane_count(lane.house.shards, theirs);
        for number in count..wanted {
            let other = KeptLane::new(Arc::clone(&lane.house), lane.route.clone(), number);
            let leash = leash.clone();
            let ended = async move {
                let _ = leash.recv().await;
            };
            let dialling = async move {
                let mut other = KeptLane { theirs, ..other };
                loop {
                    other.keep_open().await;
                    other.gone().await;
                }
            };
            rt::spawn(dialling.or(ended)).detach();
        }
        count = count.max(wanted);
        lane.gone().await;
    }
}

/// One lane that is dialled again whenever it breaks.
struct KeptLane {
    house: Arc<House>,
    route: Route,
    number: u16,
    /// How many shards the member has, as far as is known.
    theirs: u16,
    pause: Duration,
    /// What went wrong last, so that people read it once.
    trouble: Option<String>,
    /// Ends when the lane that is open breaks.
    open: Option<async_channel::Receiver<Infallible>>,
}

impl KeptLane {
    fn new(house: Arc<House>, route: Route, number: u16) -> Self {
        let (theirs, pause) = (1, PAUSE_FIRST);
        KeptLane { house, route, number, theirs, pause, trouble: None, open: None }
    }

    /// Dials until the lane is open and its driver has it. How many shards the member has.
    async fn keep_open(&mut self) -> u16 {
        loop {
            match self.dial().await {
                Ok((stream, welcome)) => match self.hand_over(stream, &welcome) {
                    Ok(()) => {
                        (self.pause, self.trouble) = (PAUSE_FIRST, None);
                        return welcome.shards;
                    }
                    Err(error) => self.note(&error.to_string()),
                },
                Err(error) => self.note(&error.to_string()),
            }
            self.rest().await;
        }
    }

    /// Waits until the lane that is open breaks, and a moment longer.
    async fn gone(&mut self) {
        if let Some(open) = self.open.take() {
            let _ = open.recv().await;
        }
        self.rest().await;
    }

    async fn rest(&mut self) {
        // Jitter, so that those who lost the same peer do not all come back at once.
        let factor = rand::rng().random_range(0.75..1.25);
        rt::sleep(self.pause.mul_f64(factor)).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    fn note(&mut self, trouble: &str) {
        if self.trouble.as_deref() != Some(trouble) {
            let Route { member, addr, .. } = &self.route;
            log::info!("lane {} to member {member} at {addr}: {trouble}", self.number);
            self.trouble = Some(trouble.to_owned());
        }
    }

    async fn dial(&self) -> io::Result<(TcpStream, Welcome)> {
        let (house, route) = (&self.house, &self.route);
        if !house.links.open(house.advertise, route.addr) || !house.hears(route.id) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody answers"));
        }
        let (shard, to_shard) = shards_of_lane(self.number, house.shards, self.theirs);
        let from = house.caller(route.id);
        let shards = house.shards;
        let hello = Hello::new(Purpose::Lane { from, shard, shards, to_shard });
        let mut stream = rt::connect(route.addr, CONNECT).await?;
        let handshake = async {
            greet::write(&mut stream, &Greeting::Hello(hello.clone())).await?;
            greet::read(&mut stream).await
        };
        match rt::timeout(HANDSHAKE, handshake).await?? {
            Greeting::Welcome(welcome) => {
                welcome.check(&hello).map_err(io::Error::other)?;
                Ok((stream, welcome))
            }
            Greeting::Refused(refused) => Err(io::Error::other(refused)),
            Greeting::Hello(_) => Err(io::Error::other("a hello was answered with a hello")),
        }
    }

    fn hand_over(&mut self, stream: TcpStream, welcome: &Welcome) -> io::Result<()> {
        let (alive, open) = async_channel::bounded(1);
        let socket = rt::into_std(stream)?;
        let (member, number, shards) = (self.route.member, self.number, welcome.shards);
        let lane = NewLane { member, number, shards, socket, alive: Some(alive) };
        let (shard, _) = shards_of_lane(number, self.house.shards, shards);
        self.house.drivers[usize::from(shard)].complete(Completion::Lane(lane));
        self.open = Some(open);
        Ok(())
    }
}
