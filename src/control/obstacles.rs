//! What keeps nodes from founding a cluster together, in sentences that say what to do.
//!
//! Invariant: each names who it is about, by seed or by name and address. Not here: when there is one (`founding`).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::wire::datagram::{Card, Hello, Stage};

/// A node, as sentences name it.
pub(super) fn shown(card: &Card) -> String {
    format!("{} ({})", card.name, card.addr)
}

/// A seed that leads to more than one node.
pub(super) fn several(seed: &str) -> String {
    format!("{seed} leads to several addresses or nodes; list each node by an address of its own")
}

/// A founder whose version deals the slots out differently.
pub(super) fn other_table(card: &Card) -> String {
    format!(
        "{} makes another ring of the same founders; run one version of ringdove on all of them",
        shown(card)
    )
}

/// What keeps this node from founding a cluster with that one.
pub(super) fn objection(mine: &Card, seed: &str, hello: &Hello) -> Option<String> {
    if let Stage::Founded { cluster, .. } | Stage::Ready { cluster } = hello.stage {
        return Some(format!(
            "{seed} already belongs to cluster {cluster}, or joins it; this node founds nothing with it, and cannot join \
             after it has voted for others, or while its seeds lead to two clusters: give the wrong one an empty directory"
        ));
    }
    if hello.card.id == mine.id {
        return Some(format!(
            "{seed} has the id of this node: it runs on a copy of this data directory; give it an empty one"
        ));
    }
    if hello.card.seeds != mine.seeds {
        return Some(format!("{seed} has another seed list: {}", hello.seeds));
    }
    if hello.card.copies != mine.copies {
        return Some(format!(
            "{seed} wants {} copies of everything, this node {}; give both the same setting",
            hello.card.copies, mine.copies
        ));
    }
    None
}

/// Two founders that say they are reached at one address.
pub(super) fn shared_address(mine: &Card, others: &[&Hello]) -> Option<String> {
    let mut by_addr: BTreeMap<SocketAddr, &Card> = BTreeMap::from([(mine.addr, mine)]);
    others.iter().find_map(|hello| {
        let before = by_addr.insert(hello.card.addr, &hello.card)?;
        Some(format!(
            "{} and {} both say that they are reached at {}; tell them apart with --advertise",
            before.name, hello.card.name, hello.card.addr
        ))
    })
}
