//! A switch between the nodes of one process: which of them can hear which.
//!
//! A demonstration or a test gives clones of one [`Links`] to several nodes and cuts them from each
//! other. Sockets stay real; what would cross a cut is lost on its way, datagrams and frames alike,
//! and nobody is told. So a cut looks like what it stands for: a network that drops everything.
//!
//! Invariant: with nothing cut (always, outside demonstrations and tests) the price of asking is
//! one load of a flag. Not here: clients, who are never cut off from any node.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Which nodes of this process can hear which, by the addresses that they advertise. All, at first.
#[derive(Debug, Clone, Default)]
pub struct Links(Arc<Switch>);

#[derive(Debug, Default)]
struct Switch {
    any: AtomicBool,
    /// (from, to): nothing that `from` sends reaches `to`.
    cut: RwLock<BTreeSet<(SocketAddr, SocketAddr)>>,
}

impl Links {
    /// All links open.
    pub fn new() -> Self {
        Links::default()
    }

    /// Cuts two nodes from each other, both ways.
    pub fn cut(&self, a: SocketAddr, b: SocketAddr) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Loses everything that `from` sends to `to`, and nothing that `to` sends to `from`.
    pub fn cut_one_way(&self, from: SocketAddr, to: SocketAddr) {
        let mut cut = self.0.cut.write().unwrap_or_else(PoisonError::into_inner);
        cut.insert((from, to));
        self.0.any.store(true, Ordering::Release);
    }

    /// Cuts every node of one group from every node of every other.
    pub fn split(&self, groups: &[&[SocketAddr]]) {
        for (index, group) in groups.iter().enumerate() {
            for other in &groups[index + 1..] {
                for (a, b) in group.iter().flat_map(|a| other.iter().map(move |b| (a, b))) {
                    self.cut(*a, *b);
                }
            }
        }
    }

    /// Opens all links.
    pub fn heal(&self) {
        let mut cut = self.0.cut.write().unwrap_or_else(PoisonError::into_inner);
        cut.clear();
        self.0.any.store(false, Ordering::Release);
    }

    /// Whether nothing is cut.
    pub(super) fn all_open(&self) -> bool {
        !self.0.any.load(Ordering::Acquire)
    }

    /// Whether what `from` sends reaches `to`.
    pub fn open(&self, from: SocketAddr, to: SocketAddr) -> bool {
        if self.all_open() {
            return true;
        }
        let cut = self.0.cut.read().unwrap_or_else(PoisonError::into_inner);
        !cut.contains(&(from, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_cuts_across_groups_only_and_heals() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let links = Links::new();
        links.split(&[&[at(1), at(2)], &[at(3)]]);
        assert!(links.open(at(1), at(2)));
        assert!(!links.open(at(1), at(3)) && !links.open(at(3), at(2)));
        links.heal();
        assert!(links.open(at(3), at(2)));
        links.cut_one_way(at(1), at(2));
        assert!(!links.open(at(1), at(2)) && links.open(at(2), at(1)));
    }
}
