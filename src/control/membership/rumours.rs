//! What is still to be passed on: one slot for each member, the least told first.
//!
//! Invariant: a member's newest news replaces older ones in its slot; each is told only so often, so every
//! rumour ends. Not here: what is news (`claims`), and the datagrams that carry it (`voice`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::ring::MemberNumber;
use crate::wire::gossip::News;

/// How often rumours are told to a few members, while there are any.
pub(super) const EVERY: Duration = Duration::from_millis(100);
/// To how many.
pub(super) const TOLD: usize = 3;

/// Members of whom there is something to tell.
#[derive(Debug, Default)]
pub(super) struct Rumours {
    slots: BTreeMap<MemberNumber, Place>,
    queue: BTreeSet<(Place, MemberNumber)>,
    order: u64,
}

/// Where in the queue: how often it was told, then the age, the newest first.
type Place = (u32, u64);

impl Rumours {
    /// There is something new to tell of this member.
    pub fn start(&mut self, of: MemberNumber) {
        self.order += 1;
        self.put(of, (0, u64::MAX - self.order));
    }

    fn put(&mut self, of: MemberNumber, place: Place) {
        self.end(of);
        self.slots.insert(of, place);
        self.queue.insert((place, of));
    }

    /// There is nothing to tell of this member any more.
    pub fn end(&mut self, of: MemberNumber) {
        if let Some(place) = self.slots.remove(&of) {
            self.queue.remove(&(place, of));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// What fits into so much room, the least told first; each is told `limit` times.
    pub fn take(
        &mut self,
        mut room: usize,
        limit: u32,
        news: impl Fn(MemberNumber) -> Option<News>,
    ) -> Vec<News> {
        let mut taken = Vec::new();
        for (_, of) in &self.queue {
            let Some(news) = news(*of) else { continue };
            if news.bytes() > room {
                break;
            }
            room -= news.bytes();
            taken.push(news);
        }
        for news in &taken {
            let (told, order) = self.slots[&news.of];
            if told + 1 < limit {
                self.put(news.of, (told + 1, order));
            } else {
                self.end(news.of);
            }
        }
        taken
    }
}

/// How often a rumour is told in a cluster of so many members: enough for all to hear it almost surely.
pub(super) fn limit(members: usize) -> u32 {
    (1.5 * ((members + 1) as f64).log2()).ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::gossip::Claim;

    fn news(of: MemberNumber) -> Option<News> {
        let claim = Claim::alive(1, 0);
        Some(News { of, claim, accusers: Vec::new(), essentials: None, details: None })
    }

    #[test]
    fn the_least_told_goes_first_and_each_ends() {
        assert_eq!([limit(2), limit(10), limit(100), limit(1000)], [3, 6, 10, 15]);
        let mut rumours = Rumours::default();
        let room = news(MemberNumber(1)).map_or(0, |news| news.bytes());
        let mut told = BTreeMap::new();
        let mut say = |rumours: &mut Rumours| {
            let taken = rumours.take(room, 3, news);
            for news in &taken {
                *told.entry(news.of.0).or_insert(0) += 1;
            }
            taken.first().map(|news| news.of.0)
        };
        rumours.start(MemberNumber(1));
        assert_eq!(say(&mut rumours), Some(1));
        rumours.start(MemberNumber(2));
        assert_eq!(say(&mut rumours), Some(2), "the newest, untold");
        while say(&mut rumours).is_some() {}
        assert!(rumours.is_empty());
        assert_eq!(told, BTreeMap::from([(1, 3), (2, 3)]));
    }
}
