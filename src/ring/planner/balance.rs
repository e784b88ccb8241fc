//! Evening out: seats go from who has too much to who has too little.
//!
//! Invariant: every step brings the two members nearer to their quotas than they were, taken together, so it ends; a
//! step that moves a seat which is new in this plan anyway comes first, for it costs nothing.

use super::draft::{Draft, Place};

/// Parts per member that cuts for the sake of balance may lead to.
pub(super) const MOST_PER_MEMBER: usize = 24;

/// How far from its quota a member may stay: one part in a hundred, or half a slot.
const TOLERANCE: f64 = 0.01;

/// With how many others a detour by way of a third member is tried.
const DETOURS: usize = 4;

/// A part, and the seat in it that changes hands.
type Seat = (usize, usize);

impl Draft<'_> {
    /// Evens out until nobody is too far from its quota, or nothing helps; cuts parts up to `most`.
    pub(super) fn even_out(&mut self, most: usize) {
        let mut stuck = vec![false; self.load.len()];
        while let Some(member) = self.furthest(&stuck) {
            stuck[member] = !self.help(member, most);
        }
    }

    /// Brings a member nearer to its quota, with whoever is furthest on the other side and can.
    fn help(&mut self, member: Place, most: usize) -> bool {
        let over = self.excess(member) > 0.0;
        let mut tried = vec![false; self.load.len()];
        let mut pairs = Vec::new();
        tried[member] = true;
        while let Some(other) = self.other_side(over, &tried) {
            tried[other] = true;
            let (from, to) = if over { (member, other) } else { (other, member) };
            if self.excess(from) - self.excess(to) <= 1.0 {
                break;
            }
            if self.hand_over(from, to, most) {
                return true;
            }
            pairs.push((from, to));
        }
        pairs.into_iter().take(DETOURS).any(|(from, to)| self.hand_on(from, to))
    }

    /// Who is furthest from its quota, beyond the tolerance.
    fn furthest(&self, stuck: &[bool]) -> Option<Place> {
        let away = |member: &Place| self.excess(*member).abs();
        let beyond = |member: &Place| {
            !stuck[*member] && away(member) > (TOLERANCE * self.quota.slots[*member]).max(0.5)
        };
        let rate = |member: &Place| self.excess_rate(*member).abs();
        let members = (0..self.load.len()).filter(|member| self.quota.slots[*member] > 0.0);
        members.filter(beyond).max_by(|a, b| rate(a).total_cmp(&rate(b)).then(b.cmp(a)))
    }

    /// Who is furthest on the other side, in slots.
    fn other_side(&self, over: bool, tried: &[bool]) -> Option<Place> {
        let away = |member: &Place| self.excess(*member) * if over { -1.0 } else { 1.0 };
        let members = (0..self.load.len()).filter(|m| !tried[*m] && self.quota.slots[*m] > 0.0);
        members.max_by(|a, b| away(a).total_cmp(&away(b)).then(b.cmp(a)))
    }

    /// Gives one seat of `from` to `to`, if that helps: a part that fits, or what is cut off one.
    fn hand_over(&mut self, from: Place, to: Place, most: usize) -> bool {
        let apart = self.excess(from) - self.excess(to);
        let (spare, lack) = (self.excess(from).max(0.0), (-self.excess(to)).max(0.0));
        let wanted = if spare.min(lack) >= 1.0 { spare.min(lack) } else { apart / 2.0 };
        let wanted = wanted.round().max(1.0);
        let fitting = |at: &usize| self.fits(&self.parts[*at], to, Some(from));
        let size = |at: usize| f64::from(self.parts[at].slots);
        // What is new to `from` anyway first, then the largest that is not too large.
        let free = |at: usize| {
            let base = &self.parts[at].base;
            base.contains(&to) || !base.contains(&from)
        };
        let rank = |at: usize| (free(at), self.parts[at].slots, spread(at, to));
        let held = self.held[from].iter().copied();
        let fitting: Vec<usize> = held.filter(fitting).collect();
        let best =
            fitting.iter().copied().filter(|at| size(*at) <= wanted).max_by_key(|at| rank(*at));
        let whole = |at: &usize| self.parts[*at].whole && self.parts.len() < most;
        let cut = fitting.iter().copied().filter(|at| size(*at) > wanted).filter(whole);
        let cut = cut.min_by_key(|at| (!free(*at), self.parts[*at].slots, spread(*at, to)));
        let least = fitting.iter().copied().filter(|at| size(*at) < apart);
        let least = least.min_by_key(|at| (self.parts[*at].slots, spread(*at, to)));
        let at = match (best, cut, least) {
            (Some(at), _, _) => at,
            (None, Some(at), _) => {
                self.cut_off(at, wanted as u16);
                at
            }
            (None, None, Some(at)) => at,
            (None, None, None) => return false,
        };
        let seat = self.seat_of(at, from);
        self.seat(at, seat, to);
        true
    }

    /// Gives a seat of `from` to a third member, which gives one just as large to `to`: where zones leave no other way.
    fn hand_on(&mut self, from: Place, to: Place) -> bool {
        let apart = self.excess(from) - self.excess(to);
        let fits = |at: usize, giver, taker| self.fits(&self.parts[at], taker, Some(giver));
        let found = (0..self.load.len()).find_map(|middle| {
            let second = self.held[middle].iter().copied().filter(|at| fits(*at, middle, to));
            let second: Vec<usize> = second.collect();
            let first = self.held[from].iter().copied().filter(|at| fits(*at, from, middle));
            let mut pairs = first.flat_map(|at| second.iter().map(move |other| (at, *other)));
            let seats = pairs.find(|(a, b)| {
                let (a, b) = (f64::from(self.parts[*a].slots), f64::from(self.parts[*b].slots));
                a == b && a < apart
            })?;
            (middle != from && middle != to && seats.0 != seats.1).then_some((middle, seats))
        });
        let Some((middle, (first, second))) = found else {
            return false;
        };
        let seats: [Seat; 2] =
            [(first, self.seat_of(first, from)), (second, self.seat_of(second, middle))];
        self.seat(seats[0].0, seats[0].1, middle);
        self.seat(seats[1].0, seats[1].1, to);
        true
    }

    pub(super) fn seat_of(&self, at: usize, member: Place) -> usize {
        let seat = self.parts[at].row.iter().position(|owner| *owner == Some(member));
        seat.expect("who holds a part has a seat in it")
    }
}

/// Mixes a part and a member, so that a member's seats lie with many others and not all with one.
fn spread(at: usize, member: Place) -> u64 {
    let mut x = (at as u64) << 20 ^ member as u64;
    // The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
