//! The value that all siblings came from, if anybody still holds it.
//!
//! A replaced value is dropped, so usually nobody does. But an owner that was away when it was
//! replaced may hold it still, or a hint that waits for such an owner. Then `explain` shows it, whole
//! if it is short, and every sibling's writer is known to have seen it.
//!
//! Invariant: an ancestor is a value that every sibling's context covers, and no other such value had
//! been written by somebody who had seen it. Where two are equally late there is none.

use std::collections::BTreeMap;

use crate::wire::{Explanation, ValueShown};

/// What is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ancestor {
    /// Somebody holds it: the member's name, the value's dot and bytes.
    Held { by: String, shown: Box<ValueShown> },
    /// Somebody holds it, but it is longer than what is shown of values.
    TooLong { by: String, len: u64 },
    /// Nobody who answered holds it.
    Nowhere,
}

/// The common ancestor of the siblings with these dots.
pub(super) fn ancestor(explanation: &Explanation, siblings: &[String]) -> Ancestor {
    let mut held: BTreeMap<&str, (&str, &ValueShown)> = BTreeMap::new();
    for replica in &explanation.replicas {
        let hinted = replica.hints.iter().flat_map(|hint| &hint.values);
        for value in replica.values.iter().chain(hinted) {
            // A value that could not be read is shown without all that is told of it elsewhere.
            let more = |other: &ValueShown| {
                (value.saw.len(), value.head.len()) > (other.saw.len(), other.head.len())
            };
            match held.get_mut(value.dot.as_str()) {
                Some((by, shown)) if more(shown) => (*by, *shown) = (&replica.name, value),
                Some(_) => {}
                None => drop(held.insert(&value.dot, (&replica.name, value))),
            }
        }
    }
    let saw = |dot: &str, other: &str| {
        held.get(dot).is_some_and(|(_, value)| value.saw.iter().any(|seen| seen == other))
    };
    let common: Vec<&str> = held
        .keys()
        .copied()
        .filter(|dot| siblings.iter().all(|sibling| sibling != dot && saw(sibling, dot)))
        .collect();
    let latest: Vec<&&str> =
        common.iter().filter(|dot| !common.iter().any(|later| saw(later, dot))).collect();
    let [latest] = latest.as_slice() else { return Ancestor::Nowhere };
    let (by, shown) = held[**latest];
    let by = by.to_owned();
    match shown.head.len() as u64 == shown.len {
        true => Ancestor::Held { by, shown: Box::new(shown.clone()) },
        false => Ancestor::TooLong { by, len: shown.len },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::MemberNumber;
    use crate::wire::{HintShown, ReplicaShown};

    fn value(dot: &str, saw: &[&str]) -> ValueShown {
        ValueShown {
            dot: dot.to_owned(),
            via: "ann".to_owned(),
            written_by: "cli".to_owned(),
            operation: String::new(),
            written_at_ms: 0,
            saw: saw.iter().map(|dot| (*dot).to_owned()).collect(),
            context: String::new(),
            head: dot.as_bytes().to_vec(),
            len: dot.len() as u64,
        }
    }

    fn explained(replicas: Vec<Vec<ValueShown>>) -> Explanation {
        let replica = |(number, values)| ReplicaShown {
            member: MemberNumber(number),
            name: format!("n{number}"),
            owner: true,
            clock: String::new(),
            residual: String::new(),
            values,
            replaced: Vec::new(),
            hints: Vec::new(),
        };
        Explanation {
            bucket: String::new(),
            key: String::new(),
            token: String::new(),
            slot: 0,
            owners: Vec::new(),
            replicas: (1..).zip(replicas).map(replica).collect(),
            missing: Vec::new(),
            names: Vec::new(),
        }
    }

    fn found(explanation: &Explanation) -> String {
        match ancestor(explanation, &["s1".to_owned(), "s2".to_owned()]) {
            Ancestor::Held { by, shown } => format!("{} at {by}", shown.dot),
            Ancestor::TooLong { by, len } => format!("{len} bytes at {by}"),
            Ancestor::Nowhere => "nowhere".to_owned(),
        }
    }

    #[test]
    fn it_is_what_every_sibling_saw_and_nothing_that_was_replaced_before() {
        let (s1, s2) = (value("s1", &["old", "older"]), value("s2", &["old", "older", "other"]));
        let both = vec![s1.clone(), s2.clone()];
        assert_eq!(found(&explained(vec![both.clone()])), "nowhere");
        let other = vec![value("other", &[])];
        assert_eq!(found(&explained(vec![both.clone(), other])), "nowhere", "s1 has not seen it");
        let stale = vec![value("old", &["older"])];
        let staler = vec![value("older", &[])];
        assert_eq!(found(&explained(vec![both.clone(), stale.clone()])), "old at n2");
        assert_eq!(found(&explained(vec![both.clone(), staler.clone(), stale])), "old at n3");
        let concurrent = vec![value("old", &[])];
        assert_eq!(found(&explained(vec![both.clone(), staler, concurrent])), "nowhere", "two");
        assert_eq!(found(&explained(vec![vec![s1]])), "nowhere", "s2 is not explained");

        let long = vec![ValueShown { len: 1000, ..value("old", &[]) }];
        assert_eq!(found(&explained(vec![both.clone(), long])), "1000 bytes at n2");
        let mut hinted = explained(vec![both, Vec::new()]);
        let values = vec![value("old", &[])];
        hinted.replicas[1].hints.push(HintShown { owed_to: String::new(), dots: vec![], values });
        assert_eq!(found(&hinted), "old at n2");
    }
}
