//! A table in the making: partitions with the rows they come from and the rows they are to have.
//!
//! Members are known by their place in the ring's list. Invariant: `held` and `load` say what `rows` say.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::Planned;
use super::quota::Quota;
use crate::ring::{Change, Partition, Ring, SLOTS, Slot};

/// A place in the ring's list of members.
pub(super) type Place = usize;

/// One partition in the making.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub first: u16,
    pub slots: u16,
    /// Whether it may be cut: no change of it is under way.
    pub whole: bool,
    /// The row it has, or is changing to.
    pub base: Vec<Place>,
    /// The row it is to have. A seat that is given up and not filled yet is `None`.
    pub row: Vec<Option<Place>>,
}

impl Part {
    pub fn owners(&self) -> impl Iterator<Item = Place> {
        self.row.iter().copied().flatten()
    }
    pub fn has(&self, member: Place) -> bool {
        self.row.contains(&Some(member))
    }
}

pub(super) struct Draft<'a> {
    pub quota: &'a Quota,
    pub parts: Vec<Part>,
    /// The parts each member has a seat in.
    pub held: Vec<BTreeSet<usize>>,
    /// The slots each member holds.
    pub load: Vec<f64>,
}

/// The row that a partition has once the change under way, if any, is through.
pub fn heading_for(partition: &Partition) -> Vec<crate::ring::MemberNumber> {
    let mut row = partition.row.clone();
    match &partition.change {
        Some(Change::Prepare { incoming, outgoing: Some(outgoing) }) => {
            row.iter_mut().filter(|owner| *owner == outgoing).for_each(|owner| *owner = *incoming);
        }
        Some(Change::Prepare { incoming, outgoing: None }) => row.push(*incoming),
        Some(Change::Settle { .. } | Change::Cover { .. }) | None => {}
    }
    row
}

impl<'a> Draft<'a> {
    pub(super) fn of(ring: &Ring, quota: &'a Quota) -> Self {
        let place = |number| {
            let found = ring.members.binary_search_by_key(&number, |member| member.number);
            found.expect("a row names members, by the ring's check")
        };
        let part = |(at, partition): (usize, &Partition)| {
            let end = ring.partitions.get(at + 1).map_or(SLOTS, |next| next.first.number());
            let first = partition.first.number();
            let base: Vec<Place> = heading_for(partition).into_iter().map(place).collect();
            let row = base.iter().copied().map(Some).collect();
            Part { first, slots: end - first, whole: partition.change.is_none(), base, row }
        };
        let parts: Vec<Part> = ring.partitions.iter().enumerate().map(part).collect();
        let mut draft = Draft {
            quota,
            held: vec![BTreeSet::new(); ring.members.len()],
            load: vec![0.0; ring.members.len()],
            parts,
        };
        for at in 0..draft.parts.len() {
            let part = &draft.parts[at];
            for owner in part.owners() {
                draft.held[owner].insert(at);
                draft.load[owner] += f64::from(part.slots);
            }
        }
        draft
    }

    /// Cuts the largest partitions in halves until there are `wanted`, or none is left to cut.
    pub(super) fn cut(&mut self, wanted: usize) {
        let size = |(at, part): (usize, &Part)| (part.slots, Reverse(part.first), at);
        let parts = self.parts.iter().enumerate();
        let mut largest: BinaryHeap<_> =
            parts.filter(|(_, part)| part.whole && part.slots > 1).map(size).collect();
        while self.parts.len() < wanted {
            let Some((slots, _, at)) = largest.pop() else {
                return;
            };
            let new = self.cut_off(at, slots / 2);
            for at in [at, new] {
                if self.parts[at].slots > 1 {
                    largest.push(size((at, &self.parts[at])));
                }
            }
        }
    }

    /// Cuts a partition after its first `slots`; the place of the rest.
    pub(super) fn cut_off(&mut self, at: usize, slots: u16) -> usize {
        let part = &mut self.parts[at];
        assert!(part.whole && 0 < slots && slots < part.slots, "a cut leaves two parts");
        let mut rest = part.clone();
        (rest.first, rest.slots) = (part.first + slots, part.slots - slots);
        part.slots = slots;
        let place = self.parts.len();
        for owner in rest.owners() {
            self.held[owner].insert(place);
        }
        self.parts.push(rest);
        place
    }

    /// How far a member is above its quota, in slots.
    pub(super) fn excess(&self, member: Place) -> f64 {
        self.load[member] - self.quota.slots[member]
    }

    /// The same as a part of the quota. Who should hold nothing is infinitely far above.
    pub(super) fn excess_rate(&self, member: Place) -> f64 {
        let quota = self.quota.slots[member];
        if quota > 0.0 { self.excess(member) / quota } else { self.load[member] * f64::INFINITY }
    }

    /// How many owners of a part are in a zone.
    pub(super) fn in_zone(&self, part: &Part, zone: usize) -> usize {
        part.owners().filter(|owner| self.quota.zones[*owner] == zone).count()
    }

    /// Takes seats from who leaves, from a zone that stands too often in a row, and from rows that are too long.
    pub(super) fn give_up(&mut self) {
        for at in 0..self.parts.len() {
            while let Some(seat) = self.one_too_many(at) {
                let part = &mut self.parts[at];
                let owner = part.row[seat].take().expect("a seat that somebody has");
                self.load[owner] -= f64::from(part.slots);
                self.held[owner].remove(&at);
            }
            let part = &mut self.parts[at];
            let mut free = part.row.len().saturating_sub(self.quota.copies);
            part.row.retain(|seat| {
                seat.is_some() || free == 0 || {
                    free -= 1;
                    false
                }
            });
            part.row.resize(self.quota.copies, None);
        }
    }

    /// The seat of a row that has to be given up first, if one has to.
    fn one_too_many(&self, at: usize) -> Option<usize> {
        let part = &self.parts[at];
        let too_long = part.owners().count() > self.quota.copies;
        let goes = |owner: Place| {
            let repeats = self.in_zone(part, self.quota.zones[owner]);
            self.quota.slots[owner] <= 0.0 || repeats > self.quota.zone_repeats
        };
        let seats = || (0..part.row.len()).filter_map(|seat| Some((seat, part.row[seat]?)));
        let worst = |a: &(usize, Place), b: &(usize, Place)| {
            self.excess_rate(a.1).total_cmp(&self.excess_rate(b.1)).then(b.cmp(a))
        };
        let must = seats().filter(|(_, owner)| goes(*owner)).max_by(worst);
        must.or_else(|| seats().max_by(worst).filter(|_| too_long)).map(|(seat, _)| seat)
    }

    /// Gives each missing seat to who lacks most in the zone that lacks most, the largest parts first.
    pub(super) fn fill(&mut self) {
        let mut lacking = Lacking::of(self);
        let mut order: Vec<usize> = (0..self.parts.len()).collect();
        order.sort_by_key(|at| (Reverse(self.parts[*at].slots), self.parts[*at].first));
        for at in order {
            while let Some(seat) = self.parts[at].row.iter().position(Option::is_none) {
                let part = &self.parts[at];
                let best = lacking.most().find(|member| self.fits(part, *member, None));
                let member = best.expect("zones repeat as often as it takes to fill a row");
                lacking.gets(self, member, part.slots);
                self.seat(at, seat, member);
            }
        }
    }

    /// Whether a member may have a seat in a part that `instead` gives up.
    pub(super) fn fits(&self, part: &Part, member: Place, instead: Option<Place>) -> bool {
        let zone = self.quota.zones[member];
        let given = instead.is_some_and(|instead| self.quota.zones[instead] == zone);
        self.quota.slots[member] > 0.0
            && !part.has(member)
            && self.in_zone(part, zone) < self.quota.zone_repeats + usize::from(given)
    }

    /// Gives a seat to a member.
    pub(super) fn seat(&mut self, at: usize, seat: usize, member: Place) {
        let slots = f64::from(self.parts[at].slots);
        if let Some(old) = self.parts[at].row[seat].replace(member) {
            self.load[old] -= slots;
            self.held[old].remove(&at);
        }
        self.load[member] += slots;
        self.held[member].insert(at);
    }

    /// The finished table.
    pub(super) fn planned(&self, ring: &Ring) -> Vec<Planned> {
        let number = |place: Place| ring.members[place].number;
        let planned = |part: &Part| Planned {
            first: Slot::new(part.first).expect("parts begin at slots"),
            slots: part.slots,
            row: part.owners().map(number).collect(),
        };
        let mut planned: Vec<Planned> = self.parts.iter().map(planned).collect();
        planned.sort_by_key(|partition| partition.first);
        planned
    }
}

/// Zones and the members in each, who lacks most first.
struct Lacking {
    zones: BTreeSet<(i64, usize)>,
    /// By zone.
    lacks: Vec<i64>,
    members: Vec<BTreeSet<(i64, Place)>>,
}

/// What an order needs of a number of slots: a whole number, and fine enough.
fn fine(slots: f64) -> i64 {
    (slots * 1024.0).round() as i64
}

impl Lacking {
    fn of(draft: &Draft<'_>) -> Lacking {
        let zones = draft.load.len();
        let mut lacking = Lacking {
            zones: BTreeSet::new(),
            lacks: vec![0; zones],
            members: vec![BTreeSet::new(); zones],
        };
        for member in (0..zones).filter(|member| draft.quota.slots[*member] > 0.0) {
            let (zone, excess) = (draft.quota.zones[member], fine(draft.excess(member)));
            lacking.lacks[zone] += excess;
            lacking.members[zone].insert((excess, member));
        }
        let some = |zone: &usize| !lacking.members[*zone].is_empty();
        lacking.zones = (0..zones).filter(some).map(|zone| (lacking.lacks[zone], zone)).collect();
        lacking
    }

    fn most(&self) -> impl Iterator<Item = Place> {
        let zones = self.zones.iter().map(|(_, zone)| *zone);
        zones.flat_map(|zone| self.members[zone].iter().map(|(_, member)| *member))
    }

    /// Notes, before it happens, that a member gets some slots.
    fn gets(&mut self, draft: &Draft<'_>, member: Place, slots: u16) {
        let (zone, more) = (draft.quota.zones[member], fine(f64::from(slots)));
        self.zones.remove(&(self.lacks[zone], zone));
        self.lacks[zone] += more;
        self.zones.insert((self.lacks[zone], zone));
        let excess = draft.excess(member);
        self.members[zone].remove(&(fine(excess), member));
        self.members[zone].insert((fine(excess + f64::from(slots)), member));
    }
}
