//! Whole Ringdove clusters on virtual time, network and disks, from one seed; and the promises, checked.
//!
//! The machines are the real ones: [`ringdove::shard::Shard`] over [`ringdove::storage::Store`], every
//! frame through the real codec. Everything around them is simulated: time, links, disks, the failure
//! detector, clients. A seed draws its own mixture of sizes, workload and faults; faults end, the
//! cluster must become quiet, and then the checkers judge what clients were told and what disks
//! hold. The method is that of FoundationDB's simulator (Zhou et al. 2021).
//!
//! Invariant: a seed and its options decide every byte of a run. Not here: real sockets, real disks,
//! real clocks; what the simulation's own model hides, tests with real processes must find.

mod amnesia;
pub mod batch;
pub mod canaries;
mod checkers;
mod clients;
mod closing;
mod counts;
mod detector;
mod dice;
mod disks;
mod export;
mod faults;
mod floors;
mod happening;
#[cfg(test)]
mod histories;
mod history;
mod idle;
mod mints;
mod mix;
mod moves;
mod network;
mod node;
mod process;
pub mod register;
mod rows;
mod setup;
mod trace;
mod value;
mod watch;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use ringdove::rules::Rule;

pub use checkers::Violation;
pub use counts::Counts;
pub use mix::Profile;
pub use world::Report;

/// How runs are made, besides their seed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// How many nodes; each seed draws its own number when `None`.
    pub nodes: Option<usize>,
    /// Which kinds of trouble.
    pub profile: Profile,
    /// Whether the trace is kept.
    pub trace: bool,
    /// Whether the history is kept, as JSON lines.
    pub export: bool,
    /// The rule that is switched off, if one is.
    pub broken: Option<Rule>,
}

/// One run. A panic of a machine is a violation like any other.
pub fn run(seed: u64, options: Options) -> Report {
    let run = AssertUnwindSafe(|| {
        let run = || world::World::new(seed, options).run();
        #[cfg(feature = "canaries")]
        if let Some(rule) = options.broken {
            return ringdove::rules::without(rule, run);
        }
        run()
    });
    catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let what = text.unwrap_or_else(|| "with no message".to_owned());
        Report { violations: vec![Violation::new("panic", what)], ..Report::default() }
    })
}
