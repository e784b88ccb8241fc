//! The sets of dots in messages, made usable: see [`Resolve`].
//!
//! Invariant: every set that a member's message brings in is resolved here, or stays bytes. Not here: what
//! clients are sent through this node, which only passes on; tokens, which are opened where they are used.

use super::{Ask, Clocks, Closing, Fetched, Glimpse, Inspected, Message, Page};
use crate::causality::{Dead, Resolve, Unresolved};

impl Resolve for Message {
    fn resolve(&mut self, dead: &Dead) -> Result<(), Unresolved> {
        match self {
            Message::Store(store) => store.delta.resolve(dead),
            Message::KeepHint(hint) => hint.delta.resolve(dead),
            Message::Fetched(Fetched { clock, entry, recovering: _ }) => {
                clock.resolve(dead)?;
                entry.resolve(dead)
            }
            Message::Clocks(Clocks { clocks }) => {
                clocks.iter_mut().try_for_each(|(_, clock)| clock.resolve(dead))
            }
            Message::Closing(Closing { listed: _, reports }) => {
                reports.iter_mut().try_for_each(|(_, report)| report.resolve(dead))
            }
            Message::Ask(ask) => ask.resolve(dead),
            Message::Page(page) => page.resolve(dead),
            Message::Inspected(inspected) => inspected.resolve(dead),
            // No sets, or none that this node looks at.
            Message::Put(_)
            | Message::PutReply(_)
            | Message::Get(_)
            | Message::GetReply(_)
            | Message::Failure(_)
            | Message::Question(_)
            | Message::Answer(_)
            | Message::Stored
            | Message::Declined(_)
            | Message::Fetch(_)
            | Message::Summary(_)
            | Message::SlotHashes(_)
            | Message::ClocksWanted(_)
            | Message::ClosingWanted(_)
            | Message::Inspect(_)
            | Message::Count(_)
            | Message::Counted(_) => Ok(()),
        }
    }
}

impl Resolve for Ask {
    fn resolve(&mut self, dead: &Dead) -> Result<(), Unresolved> {
        let Ask { nonce: _, clock, after: _, began } = self;
        clock.resolve(dead)?;
        began.resolve(dead)
    }
}

impl Resolve for Page {
    fn resolve(&mut self, dead: &Dead) -> Result<(), Unresolved> {
        let Page { nonce: _, clock, began, after: _, upto: _, entries, deletes: _, mark } = self;
        clock.resolve(dead)?;
        began.resolve(dead)?;
        mark.resolve(dead)?;
        entries.iter_mut().try_for_each(|(_, entry)| entry.resolve(dead))
    }
}

impl Resolve for Inspected {
    fn resolve(&mut self, dead: &Dead) -> Result<(), Unresolved> {
        let Inspected { clock, entry, hints } = self;
        clock.resolve(dead)?;
        entry.resolve(dead)?;
        hints.iter_mut().try_for_each(|(_, delta)| delta.resolve(dead))
    }
}

impl Resolve for Glimpse {
    fn resolve(&mut self, dead: &Dead) -> Result<(), Unresolved> {
        self.meta.resolve(dead)
    }
}
