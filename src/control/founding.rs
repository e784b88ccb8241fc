//! How nodes that were started with one seed list become one cluster: by unanimous vote, and in no other way.
//!
//! Every node asks every listed address, in rounds, who is there and how far it is. Once a node has a fresh
//! card from *every* listed address, all with the same list, it votes for these cards, writes its vote
//! down, and then says so. The cluster is founded for a node that knows the votes of all for what it voted for
//! itself, or hears from one of them that it is founded.
//!
//! Invariants. A node id votes once, ever. A vote counts only if the voter said so in answer to a question of
//! the last [`FRESH`], so that a voter can take its word back by not giving it again. Nothing
//! happens merely because time has passed: a node that waits, waits.
//!
//! **Giving way.** A node may have voted for what can no longer come true: another founder lost its disk (its new self
//! has a new id) or was started anew with another name. When all listed addresses answer, nobody among them is
//! founded, and they bring other cards than those voted for, the voter *doubts*: it stops giving its word. After
//! [`QUIET`], when nobody can count its vote any more and everybody still says that they are not founded, it takes a new id,
//! which has not voted. Its old id is never used again, so no ring ever has it.
//!
//! Not here: what is written down and when (`Control`), and what the ring looks like ([`Proposal`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use super::myself::Myself;
use super::obstacles::{objection, other_table, several, shared_address, shown};
use super::proposal::seeds_hash;
use super::{ControlState, Effect, Now, Proposal};
use crate::ring::{ClusterId, NodeId, Ring};
use crate::rules::{Rule, holds};
use crate::wire::datagram::{Card, Hello, Stage};

/// How often all seeds are asked, with jitter of a quarter.
const ROUND: Duration = Duration::from_millis(400);
/// How long after the question its answer counts.
const FRESH: Duration = Duration::from_secs(3);
/// How long a doubting node keeps its word back before it takes a new id. Longer than [`FRESH`], with
/// a margin for clocks that run at different speeds.
const QUIET: Duration = Duration::from_secs(4);
/// How many rounds of questions are remembered: those of more than [`FRESH`].
const ROUNDS: usize = 32;
/// How many addresses of leaders are tried.
const LEADERS: usize = 8;

/// What is being written down. Until it is, the node goes on as before, or, with a new id, is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pending {
    /// Nothing.
    Nothing,
    /// The vote.
    Vote,
    /// The new id.
    NewId,
    /// The ring.
    Ring,
    /// That it is ready to join a cluster.
    Bound,
}

/// What a node should do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Wait.
    Wait,
    /// Vote for this.
    Vote(Proposal),
    /// Take a new id: what it voted for cannot come true.
    GiveWay,
    /// All have voted for what this node voted for.
    Found,
    /// The cluster exists already, and this node has voted for no other: join it.
    Join(ClusterId),
}

/// What a listed address answered, and when it was asked.
#[derive(Debug)]
struct Answer {
    hello: Hello,
    asked: Now,
}

/// The vote of this node, hashed once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ballot {
    proposal: u64,
    ring: u64,
}

impl Ballot {
    fn of(proposal: &Proposal) -> Self {
        Ballot { proposal: proposal.hash(), ring: proposal.ring().hash() }
    }
}

/// The founding of a cluster as one node goes through it.
#[derive(Debug)]
pub(super) struct Founding {
    pub pending: Pending,
    ballot: Option<Ballot>,
    round: u64,
    rounds: VecDeque<(u64, Now)>,
    next_round: Now,
    answers: BTreeMap<SocketAddr, Answer>,
    /// A co-founder says that the cluster is founded.
    told: bool,
    /// Why this node will not found, though all have voted.
    refusal: Option<String>,
    doubt: Option<Now>,
    /// Where the cluster that exists takes newcomers in, as its members say.
    leaders: BTreeSet<SocketAddr>,
}

impl Founding {
    pub(super) fn new(state: &ControlState, now: Now) -> Self {
        Founding {
            pending: Pending::Nothing,
            ballot: state.vote.as_ref().map(Ballot::of),
            round: 0,
            rounds: VecDeque::new(),
            next_round: now,
            answers: BTreeMap::new(),
            told: false,
            refusal: None,
            doubt: None,
            leaders: BTreeSet::new(),
        }
    }

    /// The vote is on the disk: it may be told, and is, at once.
    pub(super) fn voted(&mut self, state: &ControlState, now: Now) {
        assert_eq!(self.pending, Pending::Vote, "only a vote that was given is written down");
        self.pending = Pending::Nothing;
        self.ballot = state.vote.as_ref().map(Ballot::of);
        self.next_round = now;
    }

    /// How far this node is; `None` while it must not speak. All votes being known is as good as being
    /// founded, and is told before the ring is on the disk: who hears it need not give way.
    fn stage(&self, me: &Myself) -> Option<Stage> {
        let Some(Ballot { proposal, ring }) = self.ballot else {
            let bound = me.state.bound.filter(|_| self.pending != Pending::Bound);
            return Some(bound.map_or(Stage::Gathering, |cluster| Stage::Ready { cluster }));
        };
        match (self.pending, &me.state.ring) {
            (Pending::NewId, _) => None,
            (Pending::Ring, Some(Ring { cluster, .. })) => {
                Some(Stage::Founded { cluster: *cluster, proposal, ring })
            }
            (Pending::Nothing | Pending::Vote | Pending::Ring | Pending::Bound, _)
                if self.doubt.is_some() =>
            {
                Some(Stage::Doubting)
            }
            (Pending::Nothing | Pending::Vote | Pending::Ring | Pending::Bound, _) => {
                Some(Stage::Voted { proposal, ring })
            }
        }
    }

    /// When [`Founding::ask`] is due; never while the node is silent.
    pub(super) fn due(&self, me: &Myself) -> Option<Now> {
        self.stage(me).map(|_| self.next_round)
    }

    /// Every address worth asking: the seeds', and once it has voted those of its co-founders.
    fn targets(&self, me: &Myself) -> BTreeSet<SocketAddr> {
        let mut addrs = me.seeds.addrs();
        let founders = me.state.vote.iter().flat_map(|vote| vote.cards());
        addrs.extend(founders.map(|card| card.addr));
        if me.state.bound.is_some() {
            addrs.extend(self.leaders.iter().chain(&me.state.contacts));
        }
        addrs.remove(&me.config.advertise);
        addrs
    }

    /// Asks everybody, when that is due.
    pub(super) fn ask(&mut self, me: &Myself, rng: &mut ChaCha8Rng, effects: &mut Vec<Effect>) {
        let Some(stage) = self.stage(me) else { return };
        if me.now < self.next_round {
            return;
        }
        self.round += 1;
        self.rounds.push_back((self.round, me.now));
        if self.rounds.len() > ROUNDS {
            self.rounds.pop_front();
        }
        self.next_round = me.now + ROUND.mul_f64(rng.random_range(0.75..1.25));
        for addr in self.targets(me) {
            let hello = me.hello(false, self.round, addr, stage, None);
            effects.push(Effect::Datagram(addr, hello.encode()));
        }
    }

    /// Somebody said who it is: answer if it asked, and remember what it says if it was asked.
    pub(super) fn hear(
        &mut self,
        me: &Myself,
        from: SocketAddr,
        hello: Hello,
        effects: &mut Vec<Effect>,
    ) {
        let Some(stage) = self.stage(me) else { return };
        if !hello.answer && !me.is_me(&hello) {
            let answer = me.hello(true, hello.round, hello.at, stage, None);
            effects.push(Effect::Datagram(from, answer.encode()));
        }
        self.hear_founded(me, &hello);
        if let (Stage::Founded { .. }, Some(leader)) = (hello.stage, hello.leader) {
            self.leaders.insert(leader);
            if self.leaders.len() > LEADERS {
                self.leaders.pop_first();
            }
        }
        // A question of this node's own that came back is an answer too: that address is its own.
        if hello.answer || me.is_me(&hello) {
            let asked = self.rounds.iter().find(|(round, _)| *round == hello.round);
            if let Some((_, asked)) = asked.copied()
                && self.targets(me).contains(&hello.at)
                && self.answers.get(&hello.at).is_none_or(|last| last.asked <= asked)
            {
                self.answers.insert(hello.at, Answer { hello, asked });
            }
        }
    }

    /// A co-founder that is founded settles it, however old the word: it never becomes untrue.
    fn hear_founded(&mut self, me: &Myself, hello: &Hello) {
        let (Some(vote), Some(ballot)) = (&me.state.vote, self.ballot) else { return };
        match hello.stage {
            Stage::Founded { proposal, ring, .. }
                if proposal == ballot.proposal && vote.card(hello.card.id).is_some() =>
            {
                if ring == ballot.ring {
                    self.told = true;
                } else {
                    self.refusal = Some(other_table(&hello.card));
                }
            }
            Stage::Founded { .. }
            | Stage::Gathering
            | Stage::Voted { .. }
            | Stage::Doubting
            | Stage::Ready { .. } => {}
        }
    }

    /// What follows from all that was heard.
    pub(super) fn decide(&mut self, me: &Myself) -> Decision {
        if self.pending != Pending::Nothing {
            return Decision::Wait;
        }
        match (&me.state.vote, self.ballot) {
            (Some(vote), Some(ballot)) => self.decide_voted(me, vote, ballot),
            (None, _) | (_, None) if me.state.bound.is_some() => Decision::Wait,
            (None, _) | (_, None) if !self.clusters(me).is_empty() => self.join(me),
            (None, _) | (_, None) => match self.proposal_to_vote_for(me) {
                Ok(proposal) => Decision::Vote(proposal),
                Err(_) => Decision::Wait,
            },
        }
    }

    /// The clusters that listed nodes say they are in.
    fn clusters(&self, me: &Myself) -> BTreeSet<ClusterId> {
        let seeds = me.seeds.addrs();
        let listed = self
            .answers
            .iter()
            .filter(|(at, answer)| seeds.contains(at) && answer.asked >= fresh(me.now));
        let cluster = |(_, answer): (&SocketAddr, &Answer)| match answer.hello.stage {
            Stage::Founded { cluster, .. } => Some(cluster),
            Stage::Gathering | Stage::Voted { .. } | Stage::Doubting | Stage::Ready { .. } => None,
        };
        listed.filter_map(cluster).collect()
    }

    /// A listed node belongs to a cluster: it was founded without this node, which joins it, if it is one.
    fn join(&self, me: &Myself) -> Decision {
        match self.clusters(me).into_iter().collect::<Vec<_>>().as_slice() {
            [cluster] => Decision::Join(*cluster),
            _ => Decision::Wait,
        }
    }

    fn decide_voted(&mut self, me: &Myself, vote: &Proposal, ballot: Ballot) -> Decision {
        let missing = self.votes_missing(me, vote, ballot).len();
        let majority = 2 * missing < vote.cards().len();
        if self.told || missing == 0 || (majority && !holds(Rule::Unanimous)) {
            return Decision::Found;
        }
        if !holds(Rule::VoteOnce)
            && let Ok(Gathered { proposal, .. }) = self.gather(me, fresh(me.now))
            && proposal != *vote
        {
            return Decision::Vote(proposal);
        }
        // Answers must be fresh; the last ones, before giving way, from after the quiet time.
        let changed =
            |since| self.gather(me, since).is_ok_and(|gathered| gathered.proposal != *vote);
        if !changed(fresh(me.now)) {
            if self.doubt.take().is_some() {
                self.next_round = me.now;
            }
            return Decision::Wait;
        }
        match self.doubt {
            None => {
                self.doubt = Some(me.now);
                Decision::Wait
            }
            Some(since) if me.now >= since + QUIET && changed(since + QUIET) => Decision::GiveWay,
            Some(_) => Decision::Wait,
        }
    }

    /// The founders whose word for this vote is missing. A vote for the same cards that makes another
    /// ring of them counts for nothing: two versions that disagree must not found.
    fn votes_missing<'v>(&self, me: &Myself, vote: &'v Proposal, ballot: Ballot) -> Vec<&'v Card> {
        let Ballot { proposal, ring } = ballot;
        let given = |id: NodeId| {
            id == me.state.id
                || self.answers.values().any(|answer| {
                    answer.asked >= fresh(me.now)
                        && answer.hello.card.id == id
                        && answer.hello.stage == Stage::Voted { proposal, ring }
                })
        };
        vote.cards().iter().filter(|card| !given(card.id)).collect()
    }

    /// A founder that has voted for the same cards and makes another ring of them.
    fn dissent(&self, me: &Myself) -> Option<String> {
        let ballot = self.ballot?;
        self.answers.values().find_map(|answer| match answer.hello.stage {
            Stage::Voted { proposal, ring } if answer.asked >= fresh(me.now) => {
                let other = proposal == ballot.proposal && ring != ballot.ring;
                other.then(|| other_table(&answer.hello.card))
            }
            Stage::Voted { .. }
            | Stage::Gathering
            | Stage::Doubting
            | Stage::Ready { .. }
            | Stage::Founded { .. } => None,
        })
    }

    /// What to vote for, or who or what stands in the way, in sentences.
    fn proposal_to_vote_for(&self, me: &Myself) -> Result<Proposal, Vec<String>> {
        let gathered = self.gather(me, fresh(me.now))?;
        let mut obstacles = Vec::new();
        let ballot = Ballot::of(&gathered.proposal);
        for hello in gathered.others {
            let who = shown(&hello.card);
            match hello.stage {
                Stage::Gathering => {}
                Stage::Voted { proposal, ring } if proposal == ballot.proposal => {
                    if ring != ballot.ring {
                        obstacles.push(other_table(&hello.card));
                    }
                }
                Stage::Voted { .. } => {
                    obstacles.push(format!("{who} has voted for other founders before"));
                }
                Stage::Doubting => obstacles.push(format!("{who} is about to take a new id")),
                Stage::Founded { .. } | Stage::Ready { .. } => {
                    unreachable!("gathering refuses who is in a cluster, or about to be")
                }
            }
        }
        if obstacles.is_empty() { Ok(gathered.proposal) } else { Err(obstacles) }
    }

    /// The cards of all listed addresses, from answers to questions asked at `since` or later; or what
    /// stands in the way, in sentences.
    fn gather<'s>(&'s self, me: &Myself, since: Now) -> Result<Gathered<'s>, Vec<String>> {
        let mine = me.card();
        let mut obstacles = Vec::new();
        let mut silent = Vec::new();
        let mut seats: BTreeMap<NodeId, (&String, Option<&Hello>)> = BTreeMap::new();
        if mine.seeds != seeds_hash(&me.config.seeds) {
            obstacles.push(
                "this node has voted to found a cluster with another seed list; start it with that list, \
                 or with an empty data directory"
                    .to_owned(),
            );
        }
        for (seed, lookup) in me.seeds.iter() {
            let there = self.at_seed(me, &lookup.addrs, since);
            let (id, hello) = match there.as_slice() {
                _ if lookup.ambiguous() => {
                    obstacles.push(several(seed));
                    continue;
                }
                [] if lookup.failed => {
                    silent.push(format!("{seed} (the name is not found)"));
                    continue;
                }
                [] => {
                    silent.push(format!("{seed} (no answer yet)"));
                    continue;
                }
                [one] => *one,
                [_, _, ..] => {
                    obstacles.push(several(seed));
                    continue;
                }
            };
            if let Some(hello) = hello {
                obstacles.extend(objection(&mine, seed, hello));
            }
            if let Some((other, _)) = seats.insert(id, (seed, hello)) {
                obstacles.push(format!(
                    "{other} and {seed} are one node, or use copies of one data directory; list each node once"
                ));
            }
        }
        if !silent.is_empty() {
            obstacles.insert(0, format!("waiting for {}", silent.join(", ")));
        } else if obstacles.is_empty() && !seats.contains_key(&me.state.id) {
            obstacles.push(
                "this node is not in its seed list; it joins their cluster when they have founded it"
                    .to_owned(),
            );
        }
        let others: Vec<&Hello> = seats.values().filter_map(|(_, hello)| *hello).collect();
        obstacles.extend(shared_address(&mine, &others));
        if !obstacles.is_empty() {
            return Err(obstacles);
        }
        let cards = others.iter().map(|hello| hello.card.clone()).chain([mine]).collect();
        Ok(Gathered { proposal: Proposal::new(cards), others })
    }

    /// Who listens at these addresses of one seed, each node once; this node itself without a hello.
    fn at_seed(
        &self,
        me: &Myself,
        addrs: &[SocketAddr],
        since: Now,
    ) -> Vec<(NodeId, Option<&Hello>)> {
        let mut there: Vec<(NodeId, Option<&Hello>)> = Vec::new();
        for addr in addrs {
            let one = if *addr == me.config.advertise {
                Some((me.state.id, None))
            } else {
                self.answers.get(addr).filter(|answer| answer.asked >= since).map(|answer| {
                    let hello = &answer.hello;
                    (hello.card.id, (!me.is_me(hello)).then_some(hello))
                })
            };
            there.extend(one.filter(|one| there.iter().all(|(id, _)| *id != one.0)));
        }
        there
    }

    /// Whom or what this node waits for, as a sentence.
    pub(super) fn waiting(&self, me: &Myself) -> String {
        if let Some(refusal) = &self.refusal {
            return refusal.clone();
        }
        if let Some(dissent) = self.dissent(me) {
            return dissent;
        }
        match self.pending {
            Pending::Vote => return "waiting for the disk to keep this node's vote".to_owned(),
            Pending::NewId => return "waiting for the disk to keep this node's new id".to_owned(),
            Pending::Ring => return "waiting for the disk to keep the founding ring".to_owned(),
            Pending::Bound => {
                return "waiting for the disk to keep that this node joins".to_owned();
            }
            Pending::Nothing => {}
        }
        if let Some(cluster) = me.state.bound {
            return format!(
                "this node is ready to join cluster {cluster}; waiting for the oldest member there, which needs a \
                 majority of the others, to take it in"
            );
        }
        let gathered = self.gather(me, fresh(me.now));
        match (&me.state.vote, self.ballot, gathered) {
            (Some(_), Some(_), _) if self.doubt.is_some() => {
                "this node voted for founders of whom one has changed; it takes a new id and votes again soon"
                    .to_owned()
            }
            (Some(vote), Some(ballot), Ok(_)) => {
                let missing = self.votes_missing(me, vote, ballot);
                let names: Vec<_> = missing.into_iter().map(shown).collect();
                format!("this node has voted; waiting for the vote of {}", names.join(", "))
            }
            (_, _, Err(obstacles)) => obstacles.join("; "),
            (_, _, Ok(_)) => match self.proposal_to_vote_for(me) {
                Ok(_) => "all listed nodes have answered; about to vote".to_owned(),
                Err(obstacles) => obstacles.join("; "),
            },
        }
    }

    /// The nodes that answer at listed addresses, but this one.
    pub(super) fn present(&self, now: Now) -> BTreeMap<NodeId, &Card> {
        let answers = self.answers.values().filter(|answer| answer.asked >= fresh(now));
        answers.map(|answer| (answer.hello.card.id, &answer.hello.card)).collect()
    }
}

/// The cards of all listed nodes.
struct Gathered<'s> {
    proposal: Proposal,
    others: Vec<&'s Hello>,
}

/// The oldest question whose answer still counts.
fn fresh(now: Now) -> Now {
    now.saturating_sub(FRESH)
}
