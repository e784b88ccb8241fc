//! The seed list and the addresses behind it.
//!
//! Invariant: an address that was found stays until a later look-up finds others: a name server that is away
//! for a while changes nothing. Not here: looking names up ([`Effect::Resolve`]), and who answers there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::{Effect, Now};

/// How often names are looked up again.
const EVERY: Duration = Duration::from_secs(5);
/// The most addresses of one name that are tried.
const MOST: usize = 16;

/// What is known of one seed's addresses.
#[derive(Debug, Clone, Default)]
pub(super) struct Lookup {
    /// Where it may listen.
    pub addrs: Vec<SocketAddr>,
    /// Whether the last look-up found nothing.
    pub failed: bool,
}

impl Lookup {
    /// Whether there are probably several nodes behind this name: which of them the list means cannot be known,
    /// and one that answers first must not be taken for all. One address of each family may be one node.
    pub(super) fn ambiguous(&self) -> bool {
        let far = |addr: &&SocketAddr| !addr.ip().is_loopback();
        let v4 = self.addrs.iter().filter(far).filter(|addr| addr.is_ipv4()).count();
        let v6 = self.addrs.iter().filter(far).filter(|addr| addr.is_ipv6()).count();
        v4 > 1 || v6 > 1
    }
}

/// The seed list, in its one order and spelling, with addresses.
#[derive(Debug)]
pub(super) struct Seeds {
    lookups: BTreeMap<String, Lookup>,
    next: Now,
}

impl Seeds {
    pub(super) fn new(list: &[String]) -> Self {
        let lookup = |seed: &String| {
            let addrs = seed.parse().map(|addr| vec![addr]).unwrap_or_default();
            (seed.clone(), Lookup { addrs, failed: false })
        };
        Seeds { lookups: list.iter().map(lookup).collect(), next: Duration::ZERO }
    }

    /// The seeds and what is known of each.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Lookup)> {
        self.lookups.iter()
    }

    /// Every address behind the list.
    pub(super) fn addrs(&self) -> BTreeSet<SocketAddr> {
        self.lookups.values().flat_map(|lookup| lookup.addrs.iter().copied()).collect()
    }

    fn named(&self) -> impl Iterator<Item = &String> {
        self.lookups.keys().filter(|seed| seed.parse::<SocketAddr>().is_err())
    }

    /// Asks for the addresses of every name when that is due.
    pub(super) fn look_up(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if now >= self.next {
            effects.extend(self.named().map(|seed| Effect::Resolve(seed.clone())));
            self.next = now + EVERY;
        }
    }

    /// When [`Seeds::look_up`] is due; never when there are no names.
    pub(super) fn due(&self) -> Option<Now> {
        self.named().next().map(|_| self.next)
    }

    pub(super) fn resolved(&mut self, seed: &str, mut addrs: Vec<SocketAddr>) {
        let Some(lookup) = self.lookups.get_mut(seed) else { return };
        lookup.failed = addrs.is_empty();
        if !lookup.failed {
            addrs.sort_unstable();
            addrs.dedup();
            addrs.truncate(MOST);
            lookup.addrs = addrs;
        }
    }
}
