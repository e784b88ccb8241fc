//! What people ask of the control machine: who is in the cluster, who owns what, how it is.
//!
//! Invariant: answers follow from what the machine knows now; nothing is asked of anybody. A sentence says
//! what is wrong, what still works, and what to do next.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::membership::{Ignored, Known, Membership, fork_alarm};
use super::planning::moves;
use super::{Control, Now, Phase};
use crate::ring::{Change, Member, MemberNumber, Partition, Ring, SLOTS};
use crate::wire::datagram::Card;
use crate::wire::gossip::Rank;
use crate::wire::{MemberLine, PartitionShown, RingShown, Status};

impl Control {
    /// Who is in the cluster, by number. Before there is one: this node and those it hears, all `UJ`.
    pub fn members(&self) -> Vec<MemberLine> {
        match &self.phase {
            Phase::New | Phase::Booting | Phase::Left(_) => vec![joining(&self.me.card(), true)],
            Phase::Founding(founding) => {
                let mut cards = founding.present(self.me.now);
                let mine = self.me.card();
                cards.insert(mine.id, &mine);
                cards.values().map(|card| joining(card, card.id == mine.id)).collect()
            }
            Phase::Member(members) => {
                let shares = shares(&members.ring);
                let leader = members.leader();
                let line = |member| member_line(members, member, leader, &shares, self.me.now);
                members.ring.members.iter().map(line).collect()
            }
        }
    }

    /// Who owns what. Without partitions while there is no ring.
    pub fn ring_shown(&self) -> RingShown {
        let Phase::Member(members) = &self.phase else {
            let copies = self.me.config.copies;
            return RingShown { epoch: 0, copies, partitions: Vec::new(), paused: false };
        };
        let ring = &members.ring;
        let name = |owner: &MemberNumber| name_of(members, *owner);
        let partition = |(index, partition): (usize, &Partition)| PartitionShown {
            first: partition.first.number(),
            slots: ring.slots_of(index).count() as u16,
            owners: partition.row.iter().map(name).collect(),
            change: partition
                .change
                .as_ref()
                .map(|change| changing(change, name))
                .unwrap_or_default(),
            goal: partition.goal.iter().flatten().map(name).collect(),
            former: partition.former.iter().map(name).collect(),
            since: partition.since.0,
        };
        RingShown {
            epoch: ring.epoch.0,
            copies: ring.settings.copies,
            partitions: ring.partitions.iter().enumerate().map(partition).collect(),
            paused: ring.paused,
        }
    }

    /// How the cluster is: everything but what the shards count (keys, conflicts, hints).
    pub fn status_part(&self) -> Status {
        let Phase::Member(members) = &self.phase else { return self.status_waiting() };
        let ring = &members.ring;
        let tally = Tally::of(members);
        let up = members.known.values().filter(|known| known.usable()).count() + 1;
        let health = match &tally {
            Tally { unavailable: 1.., .. } => "unavailable",
            Tally { degraded: 1.., .. } => "degraded",
            Tally { .. } => "healthy",
        };
        Status {
            cluster_id: ring.cluster.to_string(),
            health: health.to_owned(),
            epoch: ring.epoch.0,
            members: ring.members.len() as u32,
            members_up: up as u32,
            copies: ring.settings.copies,
            partitions: ring.partitions.len() as u32,
            partitions_whole: tally.whole,
            partitions_degraded: tally.degraded,
            partitions_unavailable: tally.unavailable,
            survives: tally.slack,
            moves: moves(ring),
            hints_pending: 0,
            conflicts: 0,
            keys: 0,
            missing: Vec::new(),
            node: self.me.config.name.clone(),
            waiting: String::new(),
            sentences: self.sentences(members, &tally),
        }
    }

    fn status_waiting(&self) -> Status {
        let waiting = match (&self.broken, &self.phase) {
            (Some(broken), _) => broken.clone(),
            (None, Phase::New | Phase::Booting) => {
                "waiting for the disk to keep the boot counter".to_owned()
            }
            (None, Phase::Founding(founding)) => founding.waiting(&self.me),
            (None, Phase::Left(ring)) => self.left(ring),
            (None, Phase::Member(_)) => unreachable!("a member does not wait for a ring"),
        };
        let sentence = format!(
            "Unavailable: this node is in no cluster yet and serves nothing: {waiting}. The nodes of a seed list \
             found their cluster when all of them answer and agree."
        );
        Status {
            cluster_id: String::new(),
            health: "unavailable".to_owned(),
            epoch: 0,
            members: 0,
            members_up: 0,
            copies: self.me.config.copies,
            partitions: 0,
            partitions_whole: 0,
            partitions_degraded: 0,
            partitions_unavailable: 0,
            survives: 0,
            moves: Vec::new(),
            hints_pending: 0,
            conflicts: 0,
            keys: 0,
            missing: Vec::new(),
            node: self.me.config.name.clone(),
            waiting,
            sentences: vec![sentence],
        }
    }

    fn sentences(&self, members: &Membership, tally: &Tally) -> Vec<String> {
        let mut sentences: Vec<String> = Vec::new();
        let forks = members.forks().map(|known| fork_alarm(&known.name, known.epoch));
        sentences.extend(forks);
        sentences.push(tally.sentence());
        sentences.extend(self.leader_sentence(members));
        sentences.extend(shape(&members.ring, tally));
        sentences
            .extend(members.known.values().flat_map(|known| known_sentences(known, self.me.now)));
        sentences.extend(namesakes(members));
        sentences.extend(self.ignored_sentences());
        sentences
    }

    /// Why nobody drives ring changes, if nobody does.
    fn leader_sentence(&self, members: &Membership) -> Option<String> {
        let why = match self.leading() {
            Ok(_) => return None,
            Err(why) => why.sentence(),
        };
        let epoch = members.ring.epoch;
        Some(format!(
            "Nobody leads: the ring stays at epoch {epoch}, for {why}. Reads and writes go on."
        ))
    }

    fn ignored_sentences(&self) -> impl Iterator<Item = String> {
        let sentence = |why: Ignored, text: &str| {
            self.ignored.get(&why).map(|count| format!("{count} heartbeats {text}"))
        };
        let kinds = [
            sentence(
                Ignored::Foreign,
                "from another cluster were ignored: two clusters know each other's addresses; check seeds and \
                 addresses.",
            ),
            sentence(
                Ignored::Stranger,
                "from nodes that are no members were ignored: a former member, or a copied ring?",
            ),
            sentence(
                Ignored::Doubled,
                "came from a second process with the id of a member: one data directory was copied. Stop one \
                 of the two and give it an empty directory.",
            ),
        ];
        kinds.into_iter().flatten()
    }
}

/// How many partitions have how many of their owners.
struct Tally {
    whole: u32,
    degraded: u32,
    unavailable: u32,
    /// How many more members may fail, whichever they are, until some partition has no quorum.
    slack: u32,
}

impl Tally {
    fn of(members: &Membership) -> Self {
        let is_up = |number: &MemberNumber| {
            *number == members.me || members.known.get(number).is_some_and(|known| known.usable())
        };
        let mut tally = Tally { whole: 0, degraded: 0, unavailable: 0, slack: u32::MAX };
        for partition in &members.ring.partitions {
            let quorum = partition.row.len() / 2 + 1;
            let up = partition.row.iter().filter(|number| is_up(number)).count();
            if up == partition.row.len() {
                tally.whole += 1;
            } else if up >= quorum {
                tally.degraded += 1;
            } else {
                tally.unavailable += 1;
            }
            tally.slack = tally.slack.min(up.saturating_sub(quorum) as u32);
        }
        tally
    }

    fn sentence(&self) -> String {
        let all = self.whole + self.degraded + self.unavailable;
        match self {
            Tally { unavailable: 0, degraded: 0, .. } => {
                format!(
                    "Healthy: all owners of all {all} partitions answer, so every key can be read and written."
                )
            }
            Tally { unavailable: 0, degraded, .. } => format!(
                "Degraded: {degraded} of {all} partitions miss an owner. All have a quorum, so every key can be read \
                 and written; the absent get what they missed when they are back."
            ),
            Tally { unavailable, .. } => format!(
                "Unavailable: {unavailable} of {all} partitions have no quorum of owners. Their keys can be read at \
                 level one where an owner is left, and written at levels that the members left can meet. Bring \
                 members back."
            ),
        }
    }
}

/// What the size of the cluster means for its safety.
fn shape(ring: &Ring, tally: &Tally) -> Option<String> {
    let (members, copies) = (ring.members.len(), usize::from(ring.settings.copies));
    if members == 1 {
        return Some(
            "One node holds the only copy of everything: when its disk is lost, so are the data. For copies, found \
             a cluster of three or more: start new nodes with one seed list that names them all."
                .to_owned(),
        );
    }
    if tally.unavailable > 0 {
        return None;
    }
    if tally.slack > 0 {
        let (n, nodes) = (tally.slack, if tally.slack == 1 { "member" } else { "members" });
        return Some(format!(
            "Any {n} more {nodes} may fail, and reads and writes at quorum go on."
        ));
    }
    Some(match (members, copies) {
        (_, 1) => "One copy of everything is wanted (copies = 1): every member that fails takes its part with it."
            .to_owned(),
        (2, _) | (_, 2) => "There are two copies of everything, and a quorum needs both: reads and writes at quorum \
                            stop when one member fails; level one goes on. With three copies a quorum survives it."
            .to_owned(),
        (_, _) => "If one more member fails, some reads and writes at quorum stop. Bring the absent back first."
            .to_owned(),
    })
}

fn known_sentences(known: &Known, now: Now) -> Vec<String> {
    let (name, addr) = (&known.name, known.addr);
    let mut sentences = Vec::new();
    if !known.up {
        sentences.push(match known.heard {
            _ if known.rank() == Some(Rank::Left) => {
                format!("{name} ({addr}) is down: it was stopped. Start it again on its data directory.")
            }
            _ if known.unreachable && known.rank() == Some(Rank::Alive) => format!(
                "{name} ({addr}) does not answer this node, though others hear it: the way between the two is cut. \
                 Data go there through the others. Look at the network between here and there."
            ),
            Some(heard) => format!(
                "{name} ({addr}) is down: it last answered {} s ago. If its process runs, look at the network \
                 between here and there; if not, start it again on its data directory.",
                now.saturating_sub(heard).as_secs()
            ),
            None => format!(
                "{name} ({addr}) has not been heard since this node started {} s ago. Is it running, and can UDP \
                 pass?",
                now.saturating_sub(known.since).as_secs()
            ),
        });
    } else if known.lane == Some(false) {
        sentences.push(no_lane(known));
    }
    if known.rolled_back {
        sentences.push(format!(
            "{name} came back with a shorter log than it had: its disk was restored from an older copy, or lost \
             synced writes. It is told so, and catches up before it counts for reads again."
        ));
    }
    if known.doubled {
        sentences.push(format!("A second process speaks with the id of {name}; see below."));
    }
    sentences
}

/// A member that is heard and cannot be used.
fn no_lane(known: &Known) -> String {
    format!(
        "{} ({}) answers heartbeats, but its data connections are not open: they are being dialled. If this \
         lasts, can TCP pass?",
        known.name, known.addr
    )
}

fn namesakes(members: &Membership) -> Vec<String> {
    let mut names: BTreeMap<String, u32> = BTreeMap::new();
    for member in &members.ring.members {
        *names.entry(name_of(members, member.number)).or_default() += 1;
    }
    let double = names.into_iter().filter(|(_, count)| *count > 1);
    double
        .map(|(name, count)| {
            format!("{count} members are called {name}; start them again with a --name each.")
        })
        .collect()
}

/// The step that a row is in.
fn changing(change: &Change, name: impl Fn(&MemberNumber) -> String) -> String {
    match change {
        Change::Prepare { incoming, outgoing: Some(outgoing) } => {
            format!("{} copies it, to take the seat of {}", name(incoming), name(outgoing))
        }
        Change::Prepare { incoming, outgoing: None } => {
            format!("{} copies it, for a seat more", name(incoming))
        }
        Change::Settle { incoming, .. } => {
            format!(
                "{} settles: it has the seat, and pulls what the owners before it have",
                name(incoming)
            )
        }
        Change::Cover { .. } => {
            "the owners cover what a seat that is gone may have had alone".to_owned()
        }
    }
}

fn name_of(members: &Membership, number: MemberNumber) -> String {
    if number == members.me {
        return members.voice.name.clone();
    }
    members.known.get(&number).map(|known| known.name.clone()).unwrap_or_default()
}

/// How many slots each member has a copy of.
fn shares(ring: &Ring) -> BTreeMap<MemberNumber, u32> {
    let mut shares = BTreeMap::new();
    for (index, partition) in ring.partitions.iter().enumerate() {
        let slots = ring.slots_of(index).count() as u32;
        partition.row.iter().for_each(|owner| *shares.entry(*owner).or_default() += slots);
    }
    shares
}

fn member_line(
    members: &Membership,
    member: &Member,
    leader: MemberNumber,
    shares: &BTreeMap<MemberNumber, u32>,
    now: Now,
) -> MemberLine {
    let me = member.number == members.me;
    let known = members.known.get(&member.number);
    // Whom no data can be sent to is of no use, whatever it answers.
    let up = me || known.is_some_and(Known::usable);
    let note = known.filter(|known| known.up && !known.usable()).map(no_lane).unwrap_or_default();
    let total = f64::from(shares.values().sum::<u32>().max(u32::from(SLOTS)));
    let share = shares.get(&member.number).copied().unwrap_or_default();
    MemberLine {
        name: name_of(members, member.number),
        id: member.id.to_string(),
        addr: known.map_or(members.voice.addr, |known| known.addr).to_string(),
        zone: member.zone.clone(),
        state: state(members, member, up).to_owned(),
        leader: leader == member.number,
        me,
        number: member.number.0,
        share_percent: format!("{:.1}", f64::from(share) / total * 100.0),
        seen_ms: known
            .and_then(|known| known.heard)
            .map(|heard| now.saturating_sub(heard).as_millis() as u64),
        note,
    }
}

/// How a member is, in two letters: whether it answers, and what becomes of it.
fn state(members: &Membership, member: &Member, up: bool) -> &'static str {
    let number = member.number;
    let mut partitions = members.ring.partitions.iter();
    let comes = |at: &Partition| {
        !at.row.contains(&number) && at.goal.iter().flatten().any(|n| *n == number)
    };
    match up {
        true if member.leaving => "UL",
        false if member.leaving => "DL",
        true if partitions.any(comes) => "UJ",
        true => "UN",
        false => "DN",
    }
}

fn joining(card: &Card, me: bool) -> MemberLine {
    MemberLine {
        name: card.name.clone(),
        id: card.id.to_string(),
        addr: card.addr.to_string(),
        zone: card.zone.clone(),
        state: "UJ".to_owned(),
        leader: false,
        me,
        number: 0,
        share_percent: "0.0".to_owned(),
        seen_ms: None,
        note: String::new(),
    }
}

/// What to tell when datagrams are ignored for this reason for the first time; those that are quite
/// ordinary are only counted.
pub(super) fn first_ignored(why: Ignored, from: SocketAddr) -> Option<(log::Level, String)> {
    let warn =
        |text: &str| Some((log::Level::Warn, format!("{text} (the first came from {from})")));
    match why {
        Ignored::Malformed => warn("ignoring datagrams that are malformed or of another protocol"),
        Ignored::Foreign => warn("ignoring heartbeats from another cluster"),
        Ignored::Stranger => warn("ignoring heartbeats from a node that is no member"),
        Ignored::Doubled => Some((
            log::Level::Error,
            format!(
                "a second process, at {from}, speaks with the id of a member: one data directory was copied; stop \
                 one of the two and give it an empty directory"
            ),
        )),
        Ignored::Misdirected | Ignored::Stale | Ignored::Early => None,
    }
}
