//! What an explanation means: which value was written having seen which, which live, which conflict.
//!
//! Invariant: every conclusion follows from dots, contexts and clocks alone. Stamps choose an order
//! among values that causality leaves open, so that people read them in a likely order, and are
//! compared only to be shown.

use std::collections::{BTreeMap, BTreeSet};

use crate::wire::{Explanation, ReplicaShown, ValueShown};

/// A key's history, as far as the members that answered still know it.
#[derive(Debug)]
pub(super) struct Story<'a> {
    /// What it is told from.
    pub explanation: &'a Explanation,
    /// Every value that any member holds or keeps for another, each after all that it had seen.
    pub values: Vec<Told<'a>>,
    /// How actors are called: by their node's name, and by their life too where a node has several.
    actors: BTreeMap<String, String>,
}

/// One value in the story.
#[derive(Debug)]
pub(super) struct Told<'a> {
    /// What is known of it.
    pub shown: &'a ValueShown,
    /// `#1` for a live value, `old 1` for one that was replaced.
    pub label: String,
    /// The values among the story's that its writer had seen, by index. All come before it.
    pub saw: Vec<usize>,
    /// Those of `saw` that no other of `saw` had seen: what a line is drawn from.
    pub parents: Vec<usize>,
    /// What else its writer had seen: writes of which no member has a value any more.
    pub earlier: Dots,
    /// Whether nothing is known to have replaced it.
    pub live: bool,
    /// Another dot of the same operation: this is a second attempt at one write.
    pub attempt_of: Option<usize>,
}

impl<'a> Story<'a> {
    pub(super) fn of(explanation: &'a Explanation) -> Self {
        let shown = ordered(all_values(explanation));
        let index: BTreeMap<&str, usize> =
            shown.iter().enumerate().map(|(at, value)| (value.dot.as_str(), at)).collect();
        let saw: Vec<Vec<usize>> = shown
            .iter()
            .map(|value| {
                let seen = value.saw.iter().filter_map(|dot| index.get(dot.as_str()).copied());
                seen.collect::<BTreeSet<_>>().into_iter().collect()
            })
            .collect();
        let covered = covered(explanation);
        let seen_later: BTreeSet<usize> = saw.iter().flatten().copied().collect();
        let live =
            |at: usize| !seen_later.contains(&at) && !covered.contains(shown[at].dot.as_str());

        let mut values = Vec::with_capacity(shown.len());
        let (mut living, mut replaced) = (0, 0);
        for (at, value) in shown.iter().copied().enumerate() {
            let label = if live(at) {
                living += 1;
                format!("#{living}")
            } else {
                replaced += 1;
                format!("old {replaced}")
            };
            let parents = saw[at].iter().copied();
            let parents =
                parents.filter(|parent| !saw[at].iter().any(|w| saw[*w].contains(parent)));
            let mut earlier = Dots::parse(&value.context);
            saw[at].iter().for_each(|seen| earlier.remove(&shown[*seen].dot));
            let same = |other: &&ValueShown| {
                !value.operation.is_empty() && other.operation == value.operation
            };
            values.push(Told {
                shown: value,
                label,
                parents: parents.collect(),
                saw: saw[at].clone(),
                earlier,
                live: live(at),
                attempt_of: shown[..at].iter().position(same),
            });
        }
        number_by_stamp(&mut values);
        let actors = actor_names(explanation, &values);
        Story { explanation, values, actors }
    }

    /// The live values, in the order of their numbers.
    pub(super) fn live(&self) -> Vec<&Told<'a>> {
        self.numbered().into_iter().map(|at| &self.values[at]).collect()
    }

    /// The indices of the live values, in the order of their numbers.
    pub(super) fn numbered(&self) -> Vec<usize> {
        self.indices(|told| told.live)
    }

    /// How many different writes are live: two attempts at one write are no conflict.
    pub(super) fn live_writes(&self) -> usize {
        let operations: BTreeSet<&str> = self
            .values
            .iter()
            .filter(|told| told.live)
            .map(|told| match told.shown.operation.as_str() {
                "" => told.shown.dot.as_str(),
                operation => operation,
            })
            .collect();
        operations.len()
    }

    /// A dot or a set of dots with nodes' names for numbers.
    pub(super) fn named(&self, text: &str) -> String {
        let name = |word: &str| match word.split_once(':') {
            Some((actor, counters)) => match self.actors.get(actor) {
                Some(name) => format!("{name}:{counters}"),
                None => word.to_owned(),
            },
            None => word.to_owned(),
        };
        let inside = text.trim_matches(['{', '}']);
        let words: Vec<String> = inside.split(' ').map(name).collect();
        match text.len() - inside.len() {
            0 => words.join(" "),
            _ => format!("{{{}}}", words.join(" ")),
        }
    }

    /// The labels of these values; a run of four or more as one, `#1-#9`.
    pub(super) fn labels<'s>(&'s self, values: impl IntoIterator<Item = &'s usize>) -> Vec<String> {
        let labels: Vec<&str> =
            values.into_iter().map(|at| self.values[*at].label.as_str()).collect();
        let follows = |pair: &[&str]| {
            let parts = |label: &str| {
                let digits = label.trim_start_matches(|c: char| !c.is_ascii_digit());
                (label.len() - digits.len(), digits.parse::<usize>().unwrap_or(0))
            };
            let ((front, number), (other_front, next)) = (parts(pair[0]), parts(pair[1]));
            front == other_front && number + 1 == next
        };
        let runs = labels.chunk_by(|one, next| follows(&[one, next]));
        runs.flat_map(|run| match run {
            [first, _, _, .., last] => vec![format!("{first}-{last}")],
            few => few.iter().map(ToString::to_string).collect(),
        })
        .collect()
    }

    /// The names of the members that did not answer, in order.
    pub(super) fn missing(&self) -> Vec<String> {
        let mut missing = self.explanation.missing.clone();
        missing.sort();
        missing
    }

    /// The owners' names, answered or not, in order: a row gives no owner a rank.
    pub(super) fn owners(&self) -> Vec<String> {
        let names: BTreeMap<_, _> =
            self.explanation.names.iter().map(|(number, name)| (*number, name)).collect();
        let name = |number: &crate::ring::MemberNumber| match names.get(number) {
            Some(name) => (*name).clone(),
            None => format!("member {number}"),
        };
        let mut owners: Vec<String> = self.explanation.owners.iter().map(name).collect();
        owners.sort();
        owners
    }

    /// The values that a replica holds as its own, as indices into the story.
    pub(super) fn held_by(&self, replica: &ReplicaShown) -> Vec<usize> {
        let held: BTreeSet<&str> = replica.values.iter().map(|value| value.dot.as_str()).collect();
        self.indices(|told| held.contains(told.shown.dot.as_str()))
    }

    /// The values that a replica has applied and no longer holds.
    pub(super) fn replaced_at(&self, replica: &ReplicaShown) -> Vec<usize> {
        self.indices(|told| replica.replaced.contains(&told.shown.dot))
    }

    /// The live values that a replica has never applied.
    pub(super) fn lacked_by(&self, replica: &ReplicaShown) -> Vec<usize> {
        let (held, replaced) = (self.held_by(replica), self.replaced_at(replica));
        let mut lacked = self.indices(|told| told.live);
        lacked.retain(|at| !held.contains(at) && !replaced.contains(at));
        lacked
    }

    fn indices(&self, wanted: impl Fn(&Told<'_>) -> bool) -> Vec<usize> {
        let mut indices: Vec<usize> =
            (0..self.values.len()).filter(|at| wanted(&self.values[*at])).collect();
        indices.sort_by_key(|at| {
            let told = &self.values[*at];
            (!told.live, told.shown.written_at_ms, told.shown.dot.clone())
        });
        indices
    }
}

/// Every value once, whoever shows it.
fn all_values(explanation: &Explanation) -> Vec<&ValueShown> {
    let mut by_dot: BTreeMap<&str, &ValueShown> = BTreeMap::new();
    for replica in &explanation.replicas {
        let hinted = replica.hints.iter().flat_map(|hint| &hint.values);
        for value in replica.values.iter().chain(hinted) {
            by_dot.entry(&value.dot).or_insert(value);
        }
    }
    by_dot.into_values().collect()
}

/// Dots that some member has applied and holds no more.
fn covered(explanation: &Explanation) -> BTreeSet<&str> {
    explanation.replicas.iter().flat_map(|replica| &replica.replaced).map(String::as_str).collect()
}

/// Each value after all that it had seen; where that leaves a choice, by stamp, then by dot.
fn ordered(mut left: Vec<&ValueShown>) -> Vec<&ValueShown> {
    left.sort_by_key(|value| (value.written_at_ms, value.dot.as_str()));
    let mut placed = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waiting: BTreeSet<&str> = left.iter().map(|value| value.dot.as_str()).collect();
        let ready = |value: &&ValueShown| {
            !value.saw.iter().any(|dot| *dot != value.dot && waiting.contains(dot.as_str()))
        };
        // "Had seen" has no circles; were an answer to claim one, the earliest stamp goes first.
        let next = left.iter().position(ready).unwrap_or(0);
        placed.push(left.remove(next));
    }
    placed
}

/// Numbers follow the stamps, as in `siblings show`, whatever order the drawing needs.
fn number_by_stamp(values: &mut [Told<'_>]) {
    let mut live: Vec<usize> = (0..values.len()).filter(|at| values[*at].live).collect();
    live.sort_by(|a, b| {
        let key = |at: &usize| (values[*at].shown.written_at_ms, values[*at].shown.dot.clone());
        key(a).cmp(&key(b))
    });
    for (number, at) in live.into_iter().enumerate() {
        values[at].label = format!("#{}", number + 1);
    }
}

/// Names for all actors that occur. The member's name alone, if it writes under one life only.
fn actor_names(explanation: &Explanation, values: &[Told<'_>]) -> BTreeMap<String, String> {
    let mut actors: BTreeSet<String> = BTreeSet::new();
    let mut collect = |text: &str| actors.extend(Dots::parse(text).0.into_keys());
    for told in values {
        collect(&told.shown.context);
        collect(&format!("{{{}}}", told.shown.dot));
    }
    for replica in &explanation.replicas {
        collect(&replica.clock);
        collect(&replica.residual);
    }
    let member = |actor: &str| actor.split('~').next().unwrap_or(actor).to_owned();
    let mut lives: BTreeMap<String, usize> = BTreeMap::new();
    actors.iter().for_each(|actor| *lives.entry(member(actor)).or_default() += 1);
    let names: BTreeMap<String, &String> =
        explanation.names.iter().map(|(number, name)| (number.to_string(), name)).collect();
    let name = |actor: String| {
        let number = member(&actor);
        let life = actor.split_once('~').map_or("", |(_, life)| life);
        let name = names.get(&number).map_or(number.as_str(), |name| name.as_str());
        let name = if lives[&number] > 1 { format!("{name}~{life}") } else { name.to_owned() };
        (actor, name)
    };
    actors.into_iter().map(name).collect()
}

/// A set of dots read from its text, `{1~00a1b2:1-7,9 2~00c3d4:1}`: runs of counters by actor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Dots(BTreeMap<String, Vec<(u64, u64)>>);

impl Dots {
    /// Reads what `DotSet`'s `Display` wrote. What cannot be read is left out.
    pub(super) fn parse(text: &str) -> Self {
        let mut dots = BTreeMap::new();
        for row in text.trim_matches(['{', '}']).split_whitespace() {
            let Some((actor, runs)) = row.split_once(':') else { continue };
            let run = |run: &str| match run.split_once('-') {
                Some((first, last)) => Some((first.parse().ok()?, last.parse().ok()?)),
                None => run.parse().ok().map(|one| (one, one)),
            };
            dots.insert(actor.to_owned(), runs.split(',').filter_map(run).collect());
        }
        Dots(dots)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds everything that is in `other`.
    pub(super) fn add(&mut self, other: &Dots) {
        for (actor, runs) in &other.0 {
            let mine = self.0.entry(actor.clone()).or_default();
            mine.extend(runs);
            mine.sort_unstable();
            let mut merged: Vec<(u64, u64)> = Vec::with_capacity(mine.len());
            for &(first, last) in mine.iter() {
                match merged.last_mut() {
                    Some(before) if first <= before.1.saturating_add(1) => {
                        before.1 = before.1.max(last);
                    }
                    _ => merged.push((first, last)),
                }
            }
            *mine = merged;
        }
    }

    /// Takes one dot out.
    fn remove(&mut self, dot: &str) {
        let Some((actor, counter)) = dot.rsplit_once(':') else { return };
        let Ok(counter) = counter.parse::<u64>() else { return };
        let Some(runs) = self.0.get_mut(actor) else { return };
        let without = |&(first, last): &(u64, u64)| {
            let parts = if (first..=last).contains(&counter) {
                [(first, counter.wrapping_sub(1)), (counter + 1, last)]
            } else {
                [(first, last), (1, 0)]
            };
            parts.into_iter().filter(|(first, last)| first <= last && *last > 0)
        };
        *runs = runs.iter().flat_map(without).collect();
        if runs.is_empty() {
            self.0.remove(actor);
        }
    }

    /// What is in both.
    pub(super) fn and(&self, other: &Dots) -> Dots {
        let mut both = BTreeMap::new();
        for (actor, runs) in &self.0 {
            let theirs = other.0.get(actor).map(Vec::as_slice).unwrap_or_default();
            let common: Vec<(u64, u64)> = runs
                .iter()
                .flat_map(|a| theirs.iter().map(move |b| (a.0.max(b.0), a.1.min(b.1))))
                .filter(|(first, last)| first <= last)
                .collect();
            if !common.is_empty() {
                both.insert(actor.clone(), common);
            }
        }
        Dots(both)
    }
}

impl std::fmt::Display for Dots {
    /// `1~00a1b2:1-7,9 2~00c3d4:1`: as a set of dots is written, without the braces.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (actor, runs)) in self.0.iter().enumerate() {
            write!(f, "{}{actor}:", if index > 0 { " " } else { "" })?;
            for (index, (first, last)) in runs.iter().enumerate() {
                let comma = if index > 0 { "," } else { "" };
                if first == last {
                    write!(f, "{comma}{first}")?;
                } else {
                    write!(f, "{comma}{first}-{last}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_come_back_from_their_text() {
        let mut dots = Dots::parse("{1~00a1b2:1-7,9 2~00c3d4:1 closed=3}");
        assert_eq!(dots.to_string(), "1~00a1b2:1-7,9 2~00c3d4:1");
        dots.remove("1~00a1b2:3");
        dots.remove("2~00c3d4:1");
        assert_eq!(dots.to_string(), "1~00a1b2:1-2,4-7,9");
        let both = dots.and(&Dots::parse("{1~00a1b2:2-5 3~0:1}"));
        assert_eq!(both.to_string(), "1~00a1b2:2,4-5");
        dots.remove("1~00a1b2:1");
        assert_eq!(dots.to_string(), "1~00a1b2:2,4-7,9");
        dots.add(&Dots::parse("{1~00a1b2:1,3 3~0:1}"));
        assert_eq!(dots.to_string(), "1~00a1b2:1-7,9 3~0:1");
        assert!(Dots::parse("{}").is_empty());
    }
}
