//! The control machine's surroundings: one thread that feeds it datagrams, time and news of lanes,
//! and carries out what it wants.
//!
//! It has a thread of its own, because it writes what it decides to the disk and waits for that:
//! a slow disk may delay this node's heartbeats, never those of another node in the process, and never
//! the data plane. Invariant: what the machine wants written down is synced before it goes on.
//! Not here: what it decides (`control`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_lite::FutureExt;

use super::clients::frame_of;
use super::dial::Dialler;
use super::driver::Clock;
use super::home::Home;
use super::house::House;
use super::inbox::Completion;
use super::lanes::lane_count;
use super::lines::{Lines, Said};
use crate::causality::Actor;
use crate::control::{Ask, Control, Effect, Event, Outcome};
use crate::ring::steps::{Report, Verdict};
use crate::ring::{MemberNumber, NodeId};
use crate::rt::{self, TcpStream};
use crate::shard::event::Origin;
use crate::wire::{Answer, Failure, FailureCode, Frame, Message, Question};

/// Questions that may wait.
const ASKS: usize = 1024;
/// Messages of other control machines that may wait.
const SAID: usize = 64;
/// Larger than any datagram of ours; what is cut off at this length is none.
const DATAGRAM_BYTES: usize = 2048;

/// Everybody else's way to the control machine.
#[derive(Debug, Clone)]
pub(super) struct ControlBox {
    asks: async_channel::Sender<(Origin, Frame)>,
    /// Unbounded: lanes are few, each seed is looked up once at a time, and a shard reports each step of a row once,
    /// tells what it sees now and then, and answers what it is asked.
    news: async_channel::Sender<News>,
}

/// The control thread's end.
#[derive(Debug)]
pub(super) struct ControlInbox {
    asks: async_channel::Receiver<(Origin, Frame)>,
    news: async_channel::Receiver<News>,
    said: async_channel::Receiver<Said>,
}

#[derive(Debug)]
enum News {
    LaneOpened { member: MemberNumber, number: u16, shards: u16 },
    LaneLost { member: MemberNumber, number: u16 },
    LineOpened(NodeId, TcpStream),
    Resolved(String, Vec<SocketAddr>),
    Reported(u16, Report),
    Seen(u16, Vec<Actor>),
    Refused(u16, Vec<(Actor, Verdict)>),
    Stop { orderly: bool },
}

/// A way to the control machine, and its other end.
pub(super) fn control_box() -> (ControlBox, ControlInbox, Lines) {
    let (asks, asks_in) = async_channel::bounded(ASKS);
    let (news, news_in) = async_channel::unbounded();
    let (said, said_in) = async_channel::bounded(SAID);
    let inbox = ControlInbox { asks: asks_in, news: news_in, said: said_in };
    (ControlBox { asks, news }, inbox, Lines::new(said))
}

impl ControlBox {
    /// Asks a question; the answer goes to the driver that the origin names. `false` when too many
    /// wait.
    #[must_use]
    pub(super) fn ask(&self, origin: Origin, frame: Frame) -> bool {
        self.asks.try_send((origin, frame)).is_ok()
    }

    /// A lane to a member of so many shards is open.
    pub(super) fn lane_opened(&self, member: MemberNumber, number: u16, shards: u16) {
        self.tell(News::LaneOpened { member, number, shards });
    }

    /// A lane to a member broke.
    pub(super) fn lane_lost(&self, member: MemberNumber, number: u16) {
        self.tell(News::LaneLost { member, number });
    }

    /// Another node's control machine dialled.
    pub(super) fn line_opened(&self, from: NodeId, stream: TcpStream) {
        self.tell(News::LineOpened(from, stream));
    }

    /// A shard is so far with a row that changes.
    pub(super) fn reported(&self, shard: u16, report: Report) {
        self.tell(News::Reported(shard, report));
    }

    /// A shard's clocks name these lives.
    pub(super) fn seen(&self, shard: u16, actors: Vec<Actor>) {
        self.tell(News::Seen(shard, actors));
    }

    /// A shard says whether lives may be listed as dead.
    pub(super) fn refused(&self, shard: u16, said: Vec<(Actor, Verdict)>) {
        self.tell(News::Refused(shard, said));
    }

    /// Ends the control thread; orderly, the others are told first.
    pub(super) fn stop(&self, orderly: bool) {
        self.tell(News::Stop { orderly });
    }

    fn tell(&self, news: News) {
        // Only a node that has stopped does not listen any more.
        let _ = self.news.try_send(news);
    }
}

/// What happened next.
enum Next {
    Time,
    Datagram(io::Result<(usize, SocketAddr)>),
    News(News),
    Said(Said),
    Ask(Origin, Box<Frame>),
    Stop { orderly: bool },
}

/// The control machine and what it is connected to.
pub(super) struct ControlLoop {
    pub(super) control: Control,
    pub(super) inbox: ControlInbox,
    pub(super) udp: rt::UdpSocket,
    pub(super) home: Arc<Home>,
    pub(super) house: Arc<House>,
    pub(super) clock: Clock,
    pub(super) dialler: Dialler,
    /// Its connections to other control machines.
    pub(super) lines: Lines,
    /// How far each shard's log is synced.
    pub(super) positions: Vec<Arc<AtomicU64>>,
    /// The lanes to each member.
    pub(super) lanes: BTreeMap<MemberNumber, Lanes>,
    /// Who waits for what takes a while, by the number that the machine knows them under.
    pub(super) waiting: Waiting,
}

/// Clients that wait for the outcome of what they asked for.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    next: u64,
    origins: BTreeMap<u64, Origin>,
}

impl Waiting {
    fn add(&mut self, origin: Origin) -> u64 {
        self.next += 1;
        self.origins.insert(self.next, origin);
        self.next
    }
}

/// The lanes between this node and a member, those of all its drivers.
#[derive(Debug)]
pub(super) struct Lanes {
    open: BTreeSet<u16>,
    /// How many there are to be.
    count: u16,
}

impl Lanes {
    fn whole(&self) -> bool {
        self.open.len() == usize::from(self.count)
    }
}

impl ControlLoop {
    /// Runs until the node stops.
    pub(super) fn run(mut self) {
        rt::block_on(async {
            let mut bytes = vec![0; DATAGRAM_BYTES];
            let mut positions = Vec::new();
            self.step(Event::Tick).await;
            loop {
                let next = self.next(&mut bytes).await;
                match next {
                    Next::Time => {}
                    Next::Datagram(Ok((len, from))) => {
                        if self.house.links.open(from, self.house.advertise) {
                            self.step(Event::Datagram(from, bytes[..len].to_vec())).await;
                        }
                    }
                    // What an earlier datagram came to (nobody listens there) is no news.
                    Next::Datagram(Err(error)) => log::debug!("UDP: {error}"),
                    Next::News(news) => self.on_news(news).await,
                    Next::Said((from, message)) => self.step(Event::Told(from, message)).await,
                    Next::Ask(origin, frame) => match ask(&frame.message) {
                        Some(ask) => {
                            let waits = self.waiting.add(origin);
                            self.step(Event::Asked(waits, ask)).await;
                        }
                        None => self.answer(origin, &frame),
                    },
                    Next::Stop { orderly } => {
                        if orderly {
                            self.step(Event::Stop).await;
                        }
                        return;
                    }
                }
                let now: Vec<u64> =
                    self.positions.iter().map(|at| at.load(Ordering::Acquire)).collect();
                if now != positions {
                    positions.clone_from(&now);
                    self.step(Event::LogPosition(now)).await;
                }
                if self.control.next_deadline() <= self.clock.now().elapsed {
                    self.step(Event::Tick).await;
                }
            }
        });
    }

    async fn next(&self, bytes: &mut [u8]) -> Next {
        let wait = self.control.next_deadline().saturating_sub(self.clock.now().elapsed);
        let time = async {
            rt::sleep(wait).await;
            Next::Time
        };
        let datagram = async { Next::Datagram(self.udp.recv_from(bytes).await) };
        let news = async {
            match self.inbox.news.recv().await {
                Ok(News::Stop { orderly }) => Next::Stop { orderly },
                Err(_) => Next::Stop { orderly: false },
                Ok(news) => Next::News(news),
            }
        };
        let said = async {
            match self.inbox.said.recv().await {
                Ok(said) => Next::Said(said),
                Err(_) => Next::Stop { orderly: false },
            }
        };
        let ask = async {
            match self.inbox.asks.recv().await {
                Ok((origin, frame)) => Next::Ask(origin, Box::new(frame)),
                Err(_) => Next::Stop { orderly: false },
            }
        };
        // Time first: however much comes in, the machine's own deadlines are kept.
        time.or(news.or(said.or(datagram.or(ask)))).await
    }

    async fn on_news(&mut self, news: News) {
        match news {
            News::LaneOpened { member, number, shards } => {
                let count = lane_count(self.house.shards, shards);
                let lanes = self.lanes.entry(member);
                let lanes = lanes.or_insert(Lanes { open: BTreeSet::new(), count });
                lanes.open.insert(number);
                if lanes.whole() {
                    self.step(Event::Lane(member, true)).await;
                }
            }
            News::LaneLost { member, number } => {
                let Some(lanes) = self.lanes.get_mut(&member) else { return };
                let was_whole = lanes.whole();
                if lanes.open.remove(&number) && was_whole {
                    self.step(Event::Lane(member, false)).await;
                }
            }
            News::LineOpened(from, stream) => self.lines.opened(&self.house, from, stream),
            News::Resolved(seed, addrs) => self.step(Event::Resolved(seed, addrs)).await,
            News::Reported(shard, report) => self.step(Event::Reported(shard, report)).await,
            News::Seen(shard, actors) => self.step(Event::Seen(shard, actors)).await,
            News::Refused(shard, said) => self.step(Event::Refused(shard, said)).await,
            News::Stop { .. } => {}
        }
    }

    /// Steps the machine, carries out what it wants, and steps it with what comes of that.
    async fn step(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut effects = Vec::new();
            self.control.step(self.clock.now().elapsed, event, &mut effects);
            for effect in effects {
                self.carry_out(effect, &mut events).await;
            }
        }
    }

    async fn carry_out(&mut self, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::Datagram(to, bytes) => {
                if self.house.links.open(self.house.advertise, to)
                    && let Err(error) = self.udp.send_to(&bytes, to).await
                {
                    log::debug!("a datagram to {to} was not sent: {error}");
                }
            }
            Effect::Tell { to, at, message } => self.lines.tell(&self.house, to, at, &message),
            Effect::Persist(number, state) => {
                events.push_back(match self.home.save_control(&state) {
                    Ok(()) => {
                        self.house.set_id(state.id);
                        if let Some(ring) = state.ring {
                            self.house.set_ring(Arc::new(ring));
                        }
                        Event::Persisted(number)
                    }
                    Err(error) => Event::PersistFailed(number, error.to_string()),
                });
            }
            Effect::Resolve(seed) => {
                let news = self.house.control.news.clone();
                let resolve = async move {
                    let addrs = rt::resolve(&seed).await.unwrap_or_else(|error| {
                        log::warn!("seed {seed} cannot be resolved: {error}");
                        Vec::new()
                    });
                    let _ = news.send(News::Resolved(seed, addrs)).await;
                };
                rt::spawn(resolve).detach();
            }
            Effect::Publish(view) => {
                self.house.set_ring(Arc::clone(&view.ring));
                for driver in self.house.drivers.iter() {
                    driver.publish(view.clone());
                }
            }
            Effect::Dial(routes) => {
                // Who answers heartbeats is not up before data can be sent there, too.
                let closed = |member| !self.lanes.get(&member).is_some_and(Lanes::whole);
                let waited_for = routes.iter().map(|route| route.member);
                let waited_for = waited_for.filter(|member| closed(*member));
                events.extend(waited_for.map(|member| Event::Lane(member, false)));
                self.dialler.keep(&self.house, routes);
            }
            Effect::Refuse(actors) => {
                for driver in self.house.drivers.iter() {
                    driver.complete(Completion::Refuse(actors.clone()));
                }
            }
            Effect::Answer(waits, outcome) => {
                let Some(origin) = self.waiting.origins.remove(&waits) else { return };
                self.reply(
                    origin,
                    match outcome {
                        Outcome::Decided(changed) => Message::Answer(Answer::Changed(changed)),
                        Outcome::Refused(why) => {
                            Message::Failure(Failure::new(FailureCode::Refused, why))
                        }
                        Outcome::Undecided(why) => Message::Answer(Answer::Undecided(why)),
                    },
                );
            }
            Effect::Log(level, text) => log::log!(level, "{}: {text}", self.house.name),
        }
    }

    fn answer(&self, origin: Origin, frame: &Frame) {
        if let Message::Question(Question::Plan { changes }) = &frame.message {
            let message = match self.control.plan_shown(changes) {
                Ok(plan) => Message::Answer(Answer::Plan(plan)),
                Err(why) => Message::Failure(Failure::new(FailureCode::Refused, why)),
            };
            return self.reply(origin, message);
        }
        let answer = match &frame.message {
            Message::Question(Question::Status) => Some(Answer::Status(self.control.status_part())),
            Message::Question(Question::Doctor) => Some(Answer::Doctor(self.control.doctor())),
            Message::Question(Question::Members) => Some(Answer::Members(self.control.members())),
            Message::Question(Question::Ring) => {
                // Without a ring there is nothing to show yet.
                let ring = self.control.view().map(|_| self.control.ring_shown());
                ring.map(Answer::Ring)
            }
            other => {
                log::error!("a {} is no question for the control machine", other.kind());
                None
            }
        };
        let message = match answer {
            Some(answer) => Message::Answer(answer),
            None => {
                let waiting = self.control.status_part().waiting;
                let words = format!("there is no ring yet: {waiting}");
                Message::Failure(Failure::new(FailureCode::NotReady, words))
            }
        };
        self.reply(origin, message);
    }

    fn reply(&self, origin: Origin, message: Message) {
        let reply = Completion::Reply(origin, Box::new(frame_of(origin.request, message)));
        self.house.drivers[usize::from(origin.driver)].complete(reply);
    }
}

/// What a question asks for that takes a while, if it is such a question.
fn ask(message: &Message) -> Option<Ask> {
    match message {
        Message::Question(Question::Change { basis, changes }) => {
            Some(Ask::Change { basis: basis.clone(), changes: changes.clone() })
        }
        Message::Question(Question::Force { left }) => Some(Ask::Force { left: left.clone() }),
        _ => None,
    }
}
