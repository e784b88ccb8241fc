//! Passing on: seats that move in this plan anyway go elsewhere, for nothing, until the loads are even.
//!
//! A seat that a member would get in this plan may as well go to another. Often not to the one that lacks, which has
//! a seat in that row already, but to a third, which passes on another of its new seats, and so on: an augmenting path
//! (Ford, Fulkerson 1956). Only what no path of new seats evens out costs a move.
//!
//! Invariant: every path takes slots from who has too many to who has too few, and all between hold what
//! they held; so it ends. Parts with a change under way are left alone. Not here: seats that have to move for the sake
//! of balance alone (`balance`).

use std::collections::VecDeque;

use super::draft::{Draft, Place};

/// So many seats times members are looked at for a path; beyond that direct moves have to do.
const PAIRS_MAX: usize = 1 << 20;

/// A seat in a part, and who is to have it.
#[derive(Debug, Clone, Copy)]
struct Pass {
    at: usize,
    from: Place,
    to: Place,
}

impl Draft<'_> {
    /// Passes new seats on until no path of them leads from who has a slot too many to who has one too few; cuts parts
    /// up to `most`.
    pub(super) fn pass_on(&mut self, most: usize) {
        let new = (0..self.parts.len()).flat_map(|at| self.new_seats(at)).count();
        if new.saturating_mul(self.load.len()) > PAIRS_MAX {
            return;
        }
        let mut stuck = vec![false; self.load.len()];
        while let Some(from) = self.fullest(&stuck) {
            match self.path(from, most) {
                Some(path) => self.follow(&path),
                None => stuck[from] = true,
            }
        }
    }

    /// Who has a new seat in a part.
    fn new_seats(&self, at: usize) -> impl Iterator<Item = Place> {
        let part = &self.parts[at];
        part.owners().filter(|owner| !part.base.contains(owner))
    }

    /// Who has most slots too many, at least one.
    fn fullest(&self, stuck: &[bool]) -> Option<Place> {
        let members = (0..self.load.len()).filter(|at| !stuck[*at] && self.excess(*at) >= 1.0);
        members.max_by(|a, b| self.excess(*a).total_cmp(&self.excess(*b)).then(b.cmp(a)))
    }

    /// The shortest way for slots of `from` to somebody who lacks some, new seat by new seat.
    fn path(&self, from: Place, most: usize) -> Option<Vec<Pass>> {
        let mut came: Vec<Option<Pass>> = vec![None; self.load.len()];
        let mut next = VecDeque::from([from]);
        while let Some(giver) = next.pop_front() {
            for to in 0..self.load.len() {
                if to == from || came[to].is_some() || self.quota.slots[to] <= 0.0 {
                    continue;
                }
                let path = trace(&came, from, giver);
                // Every pass may cut a part.
                if self.parts.len() + path.len() >= most {
                    return None;
                }
                let Some(at) = self.new_seat(giver, to, &path) else { continue };
                came[to] = Some(Pass { at, from: giver, to });
                if self.excess(to) <= -1.0 {
                    return Some(trace(&came, from, to));
                }
                next.push_back(to);
            }
        }
        None
    }

    /// The largest part in which a member has a new seat that another could have, and that is not passed already.
    fn new_seat(&self, giver: Place, to: Place, path: &[Pass]) -> Option<usize> {
        let fits = |at: &usize| {
            let part = &self.parts[*at];
            part.whole
                && !part.base.contains(&giver)
                && self.fits(part, to, Some(giver))
                && path.iter().all(|pass| pass.at != *at)
        };
        let held = self.held[giver].iter().copied().filter(fits);
        held.max_by_key(|at| self.parts[*at].slots)
    }

    /// Passes as many slots along a path as both ends and every part on it allow.
    fn follow(&mut self, path: &[Pass]) {
        let (first, last) = (path[0].from, path[path.len() - 1].to);
        let both = self.excess(first).min(-self.excess(last)).round() as u16;
        let least = path.iter().map(|pass| self.parts[pass.at].slots).min();
        let slots = least.unwrap_or(1).min(both).max(1);
        for Pass { at, from, to } in path {
            if self.parts[*at].slots > slots {
                self.cut_off(*at, slots);
            }
            let seat = self.seat_of(*at, *from);
            self.seat(*at, seat, *to);
        }
    }
}

/// How slots came from `from` to `to`.
fn trace(came: &[Option<Pass>], from: Place, to: Place) -> Vec<Pass> {
    let (mut path, mut at) = (Vec::new(), to);
    while at != from {
        let Some(pass) = came[at] else { break };
        path.push(pass);
        at = pass.from;
    }
    path.reverse();
    path
}
