//! What is stuck, why, since when, and what to do about it.
//!
//! Every row on the move is looked at: whom its step waits for follows from the ring and from who lives, so any member can
//! tell, without asking anybody. Rows that wait for the same thing are told together.
//!
//! Invariant: a finding that is `bad` needs somebody to do something, and says what; one that `waits` goes on by itself.
//! Nothing is changed. Not here: how the cluster is as a whole (`status`).

use std::collections::{BTreeMap, BTreeSet};

use super::deciding::NoLeader;
use super::membership::{Known, Membership, fork_alarm};
use super::{Control, Now, Phase};
use crate::ring::{Change, MemberNumber, Partition, Ring};
use crate::wire::Finding;
use crate::wire::gossip::Rank;

/// So many lives that are over, and not listed, are worth a word.
const LIVES_WARN: usize = 16;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    Bad,
    Waits,
}

impl Grade {
    fn name(self) -> &'static str {
        match self {
            Grade::Bad => "bad",
            Grade::Waits => "waits",
        }
    }
}

/// What a row waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// Who is to copy it, or to settle in it, does not answer.
    NewcomerDown(MemberNumber),
    /// Too few of these owners answer for the newcomer to have all that was acknowledged.
    OwnersDown { newcomer: Option<MemberNumber>, needed: usize, down: Vec<MemberNumber> },
    /// Nobody that is to have a seat in it answers.
    NobodyComes(Vec<MemberNumber>),
    /// Changes are paused.
    Paused,
    /// Who keeps a copy drops it once these owners, who do not answer, have what is in it.
    KeptFor(Vec<MemberNumber>),
    /// It is being copied.
    Copies(MemberNumber),
    /// The newcomer pulls what the owners before it have.
    Settles(MemberNumber),
    /// The owners pull what a seat that is gone may have had alone.
    Covers,
    /// Its turn comes.
    Turn,
    /// Who had a seat is about to drop its copy.
    Drops(Vec<MemberNumber>),
}

impl Control {
    /// What is stuck and what is under way, the gravest first; nothing when all is well.
    pub fn doctor(&self) -> Vec<Finding> {
        if let Phase::Left(ring) = &self.phase {
            let (what, since_ms) = (format!("{}.", self.left(ring)), None);
            let (grade, next) = (Grade::Waits.name().to_owned(), String::new());
            return vec![Finding { grade, what, since_ms, members: Vec::new(), next }];
        }
        let Phase::Member(members) = &self.phase else {
            let waiting = self.status_part().waiting;
            return vec![Finding {
                grade: Grade::Bad.name().to_owned(),
                what: format!("This node is in no cluster: {waiting}."),
                since_ms: None,
                members: Vec::new(),
                next: "Start the nodes that it waits for, or see whether UDP and TCP pass between them."
                    .to_owned(),
            }];
        };
        let ward = Ward { members, ring: &members.ring, now: self.me.now };
        let mut findings: Vec<(Grade, Finding)> = Vec::new();
        findings.extend(members.forks().map(|known| ward.forked(known)));
        if let Err(why) = self.leading() {
            findings.push(ward.leaderless(why));
        }
        findings.extend(members.known.values().filter_map(|known| ward.member(known)));
        findings.extend(ward.lives_over(self.unlisted(), &self.unconfirmed()));
        let mut rows: BTreeMap<Why, (u32, Option<Now>)> = BTreeMap::new();
        for partition in &ward.ring.partitions {
            let Some(why) = ward.waits_for(partition) else { continue };
            let since = self.deciding.steps.since(partition);
            let (count, oldest) = rows.entry(why).or_insert((0, since));
            *count += 1;
            *oldest = (*oldest).min(since);
        }
        findings
            .extend(rows.into_iter().map(|(why, (count, since))| ward.rows(&why, count, since)));
        findings.sort_by_key(|(grade, _)| *grade);
        findings.into_iter().map(|(_, finding)| finding).collect()
    }
}

/// What is looked at.
struct Ward<'a> {
    members: &'a Membership,
    ring: &'a Ring,
    now: Now,
}

impl Ward<'_> {
    fn lives(&self, number: MemberNumber) -> bool {
        number == self.members.me || self.members.known.get(&number).is_some_and(|known| known.up)
    }

    fn down(&self, set: &[MemberNumber]) -> Vec<MemberNumber> {
        set.iter().copied().filter(|number| !self.lives(*number)).collect()
    }

    fn name(&self, number: MemberNumber) -> String {
        self.ring.member(number).map_or_else(|| number.to_string(), |member| member.name.clone())
    }

    fn names(&self, set: &[MemberNumber]) -> String {
        set.iter().map(|number| self.name(*number)).collect::<Vec<_>>().join(", ")
    }

    fn finding(&self, grade: Grade, what: String, next: &str) -> (Grade, Finding) {
        let (members, next) = (Vec::new(), next.to_owned());
        (grade, Finding { grade: grade.name().to_owned(), what, since_ms: None, members, next })
    }

    fn ms_since(&self, since: Now) -> Option<u64> {
        Some(self.now.saturating_sub(since).as_millis() as u64)
    }

    fn forked(&self, known: &Known) -> (Grade, Finding) {
        let next = "Ring changes stop until this is resolved: stop the side that is to be given up, and run \
                    `ringdove force-epoch` on the other.";
        self.finding(Grade::Bad, fork_alarm(&known.name, known.epoch), next)
    }

    fn leaderless(&self, why: NoLeader) -> (Grade, Finding) {
        let what =
            format!("Nobody drives ring changes: {}. Reads and writes go on.", why.sentence());
        if why == NoLeader::Waiting {
            return self.finding(Grade::Waits, what, "");
        }
        let next = "Bring members back until most of them answer. If most are gone for good: `ringdove force-epoch`.";
        self.finding(Grade::Bad, what, next)
    }

    /// A member that cannot be used.
    fn member(&self, known: &Known) -> Option<(Grade, Finding)> {
        let name = &known.name;
        if known.usable() {
            return None;
        }
        let (what, next) = if known.up {
            (
                format!("{name} answers heartbeats, but its data connections are not open."),
                "See whether TCP passes between here and there.".to_owned(),
            )
        } else if known.rank() == Some(Rank::Left) {
            (
                format!("{name} was stopped."),
                format!("Start it again, or let it leave: `ringdove apply leave {name}`."),
            )
        } else {
            (
                format!("{name} does not answer."),
                format!("Start it again, or let it leave: `ringdove apply leave {name}`."),
            )
        };
        let (grade, mut finding) = self.finding(Grade::Bad, what, &next);
        finding.members.push(name.clone());
        finding.since_ms = self.ms_since(known.since);
        Some((grade, finding))
    }

    /// Lives that are over, and that clocks and tokens name for as long as somebody is missing.
    fn lives_over(
        &self,
        count: usize,
        unconfirmed: &BTreeSet<MemberNumber>,
    ) -> Option<(Grade, Finding)> {
        if count < LIVES_WARN {
            return None;
        }
        let all: Vec<MemberNumber> = self.ring.members.iter().map(|it| it.number).collect();
        let down = self.down(&all);
        let what = format!(
            "{count} lives of members are over, and each makes all clocks and tokens a little longer until every \
             member has confirmed that it can do without it."
        );
        if down.is_empty() {
            let unconfirmed: Vec<MemberNumber> = unconfirmed.iter().copied().collect();
            let (grade, mut finding) = self.finding(Grade::Waits, what, "");
            finding.members = unconfirmed.iter().map(|number| self.name(*number)).collect();
            if !unconfirmed.is_empty() {
                let names = self.names(&unconfirmed);
                finding.next = format!(
                    "If it stays like this, look at {names}: who only reads, or keeps hints that nobody takes, \
                     confirms nothing."
                );
            }
            return Some((grade, finding));
        }
        let next = format!("Start {}, or let leave who is gone for good.", self.names(&down));
        let (grade, mut finding) = self.finding(Grade::Bad, what, &next);
        finding.members = down.iter().map(|number| self.name(*number)).collect();
        Some((grade, finding))
    }

    /// What a row waits for; `None` when it does not change.
    fn waits_for(&self, at: &Partition) -> Option<Why> {
        let too_few = |newcomer: Option<MemberNumber>, set: &[MemberNumber]| {
            let (needed, down) = (self.ring.needed(set), self.down(set));
            (set.len() - down.len() < needed).then_some(Why::OwnersDown { newcomer, needed, down })
        };
        match &at.change {
            Some(Change::Prepare { incoming, .. }) => Some(if !self.lives(*incoming) {
                Why::NewcomerDown(*incoming)
            } else if let Some(few) = too_few(Some(*incoming), &at.row) {
                few
            } else if self.ring.paused {
                Why::Paused
            } else {
                Why::Copies(*incoming)
            }),
            Some(Change::Settle { incoming, before }) => Some(if !self.lives(*incoming) {
                Why::NewcomerDown(*incoming)
            } else if let Some(few) = before.iter().find_map(|set| too_few(Some(*incoming), set)) {
                few
            } else {
                Why::Settles(*incoming)
            }),
            Some(Change::Cover { lost, before }) => {
                let majority = at.row.len() / 2 + 1;
                let down = self.down(&at.row);
                let covers = self.lives(*lost) || too_few(None, before).is_none();
                let few = at.row.len() - down.len() < majority || !covers;
                Some(if few {
                    Why::OwnersDown { newcomer: None, needed: majority, down }
                } else {
                    Why::Covers
                })
            }
            None => self.rests(at),
        }
    }

    /// What a row waits for in which no seat changes hands.
    fn rests(&self, at: &Partition) -> Option<Why> {
        if let Some(goal) = &at.goal {
            let coming = |number: &&MemberNumber| !at.row.contains(number);
            let coming: Vec<MemberNumber> = goal.iter().filter(coming).copied().collect();
            let nobody = !coming.is_empty() && self.down(&coming).len() == coming.len();
            return Some(match nobody {
                _ if self.ring.paused => Why::Paused,
                true => Why::NobodyComes(coming),
                false => Why::Turn,
            });
        }
        let down = self.down(&at.row);
        match at.former.as_slice() {
            [] => None,
            former if down.is_empty() => Some(Why::Drops(former.to_vec())),
            _ => Some(Why::KeptFor(down)),
        }
    }

    /// Rows that wait for one thing.
    fn rows(&self, why: &Why, count: u32, since: Option<Now>) -> (Grade, Finding) {
        let rows =
            if count == 1 { "1 partition".to_owned() } else { format!("{count} partitions") };
        let back = |set: &[MemberNumber]| format!("Start {} again", self.names(set));
        let leave = |set: &[MemberNumber], lost: &str| {
            format!("`ringdove apply leave {}{lost}`", self.names(set).replace(", ", " "))
        };
        let (grade, what, next, members) = match why {
            Why::NewcomerDown(newcomer) => {
                let (name, set) = (self.name(*newcomer), [*newcomer]);
                (
                    Grade::Bad,
                    format!("{rows} cannot go on: {name}, which is to own them, does not answer."),
                    format!("{}; if it is gone for good, {}.", back(&set), leave(&set, "")),
                    set.to_vec(),
                )
            }
            Why::OwnersDown { newcomer, needed, down } => {
                let who = newcomer.map_or("the owners left".to_owned(), |number| self.name(number));
                (
                    Grade::Bad,
                    format!(
                        "{rows} cannot go on: {needed} owners must answer for {who} to have all that was acknowledged, \
                         and {} do not.",
                        self.names(down)
                    ),
                    format!(
                        "{}; if their disks are gone for good, {}, which gives up what only they had.",
                        back(down),
                        leave(down, " --lost")
                    ),
                    down.clone(),
                )
            }
            Why::NobodyComes(coming) => (
                Grade::Bad,
                format!(
                    "{rows} cannot begin: {} are to own them, and do not answer.",
                    self.names(coming)
                ),
                format!("{}; if they are gone for good, {}.", back(coming), leave(coming, "")),
                coming.clone(),
            ),
            Why::KeptFor(down) => (
                Grade::Waits,
                format!(
                    "{rows}: copies that are not needed any more are kept, for {} may lack what is in them.",
                    self.names(down)
                ),
                format!("{}.", back(down)),
                down.clone(),
            ),
            Why::Paused => (
                Grade::Waits,
                format!("{rows} wait, for an operator has paused changes of owners."),
                "`ringdove resume`, or `ringdove abort` to give up what has not happened yet."
                    .to_owned(),
                Vec::new(),
            ),
            Why::Copies(newcomer) => (
                Grade::Waits,
                format!("{} copies {rows}.", self.name(*newcomer)),
                String::new(),
                vec![*newcomer],
            ),
            Why::Settles(newcomer) => (
                Grade::Waits,
                format!(
                    "{} has a seat in {rows}, and pulls what the owners before it have.",
                    self.name(*newcomer)
                ),
                String::new(),
                vec![*newcomer],
            ),
            Why::Covers => (
                Grade::Waits,
                format!("{rows} lost a seat, and their owners pull what that may have had alone."),
                String::new(),
                Vec::new(),
            ),
            Why::Turn => (
                Grade::Waits,
                format!("{rows} wait for their turn to change owners."),
                String::new(),
                Vec::new(),
            ),
            Why::Drops(former) => (
                Grade::Waits,
                format!(
                    "{} still keeps copies of {rows}, until all owners have what is in them.",
                    self.names(former)
                ),
                String::new(),
                former.clone(),
            ),
        };
        let (grade, mut finding) = self.finding(grade, what, &next);
        finding.members = members.iter().map(|number| self.name(*number)).collect();
        finding.since_ms = since.and_then(|since| self.ms_since(since));
        (grade, finding)
    }
}
