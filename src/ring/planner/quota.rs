//! How much each member should hold: its share by weight, as far as zones and rows allow.
//!
//! Invariant: the shares add up to all copies of all slots; no member's is above one copy of everything, and
//! no zone's above as many as a row may have there. What a member or a zone cannot take is shared by
//! the others, by weight.

use std::collections::BTreeMap;

use crate::ring::{Ring, SLOTS};

/// The shares of a ring's members, by ascending number.
#[derive(Debug)]
pub(super) struct Quota {
    /// The slots each should hold; 0 for one that leaves.
    pub slots: Vec<f64>,
    /// The zone of each. One without a zone is in a zone of its own.
    pub zones: Vec<usize>,
    /// How many owners a row has.
    pub copies: usize,
    /// How often a zone may stand in a row.
    pub zone_repeats: usize,
}

impl Quota {
    /// `None` when no member is to stay.
    pub(super) fn of(ring: &Ring) -> Option<Quota> {
        let zones = zones(ring);
        let weight = |at: usize| {
            let member = &ring.members[at];
            if member.leaving { 0.0 } else { f64::from(member.weight.max(1)) }
        };
        let staying: Vec<usize> = (0..ring.members.len()).filter(|at| weight(*at) > 0.0).collect();
        let copies = usize::from(ring.settings.copies).min(staying.len());
        if copies == 0 {
            return None;
        }
        let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
        staying.iter().for_each(|at| *sizes.entry(zones[*at]).or_default() += 1);
        let room = |repeats: usize| sizes.values().map(|size| repeats.min(*size)).sum::<usize>();
        let zone_repeats = (1..=copies).find(|repeats| room(*repeats) >= copies)?;
        let mut slots = vec![0.0; ring.members.len()];
        let all = f64::from(SLOTS);
        let (mut left, mut free) = (copies as f64 * all, staying);
        // Who would get more than it may gets just that, zones before members, and the rest is shared again.
        while !free.is_empty() {
            let sum: f64 = free.iter().map(|at| weight(*at)).sum();
            let share = |at: usize| left * weight(at) / sum;
            let fixed = too_much(&free, &zones, all * zone_repeats as f64, share)
                .or_else(|| free.iter().find(|at| share(**at) > all).map(|at| (vec![*at], all)));
            let (members, total) = fixed.unwrap_or_else(|| (free.clone(), left));
            share_out(&members, total, all, weight, &mut slots);
            left -= total;
            free.retain(|at| !members.contains(at));
        }
        Some(Quota { slots, zones, copies, zone_repeats })
    }
}

/// The zone whose share is furthest above what a zone may have: its members, and what they get.
fn too_much(
    free: &[usize],
    zones: &[usize],
    most: f64,
    share: impl Fn(usize) -> f64,
) -> Option<(Vec<usize>, f64)> {
    let mut sums: BTreeMap<usize, f64> = BTreeMap::new();
    free.iter().for_each(|at| *sums.entry(zones[*at]).or_default() += share(*at));
    let (zone, sum) = sums.into_iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    // A hair above is what rounding made of just enough.
    (sum > most * (1.0 + 1e-9)).then(|| {
        let members: Vec<usize> = free.iter().copied().filter(|at| zones[*at] == zone).collect();
        let room = most.min(members.len() as f64 * f64::from(SLOTS));
        (members, room)
    })
}

/// Shares `total` by weight, nobody more than `most`.
fn share_out(
    members: &[usize],
    mut total: f64,
    most: f64,
    weight: impl Fn(usize) -> f64,
    slots: &mut [f64],
) {
    let mut free = members.to_vec();
    while !free.is_empty() {
        let sum: f64 = free.iter().map(|at| weight(*at)).sum();
        let full = |at: &usize| total * weight(*at) / sum > most;
        let (over, rest): (Vec<usize>, Vec<usize>) = free.iter().partition(|at| full(at));
        if over.is_empty() {
            rest.iter().for_each(|at| slots[*at] = total * weight(*at) / sum);
            return;
        }
        over.iter().for_each(|at| slots[*at] = most);
        total -= most * over.len() as f64;
        free = rest;
    }
}

/// The zone of each member: that of the first member in it, and its own where none is named.
fn zones(ring: &Ring) -> Vec<usize> {
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let mut zones = Vec::with_capacity(ring.members.len());
    for (at, member) in ring.members.iter().enumerate() {
        let first = known.entry(&member.zone).or_insert(at);
        zones.push(if member.zone.is_empty() { at } else { *first });
    }
    zones
}
