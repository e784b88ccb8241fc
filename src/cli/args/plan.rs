//! What can be typed after `plan`.

use clap::{Args, Subcommand};

const PLAN_EXAMPLES: &str = "\
Examples:
  ringdove plan join --nodes 2 --zone cellar
  ringdove plan leave n3 n4
  ringdove plan replace n3
  ringdove plan --data 120000000000 weight n1 2

It shows who would hold how much, who would copy from whom, and what is at risk on the way. Nothing is
changed.";

/// `plan`
#[derive(Debug, Clone, Args)]
#[command(after_help = PLAN_EXAMPLES)]
pub(crate) struct PlanArgs {
    /// How many bytes one copy of all data has: amounts are shown in bytes, and how long it takes
    #[arg(long, value_name = "BYTES", env = "RINGDOVE_PLAN_DATA", hide_env = true, global = true)]
    pub data: Option<u64>,
    /// How many bytes a second a member copies or sends
    #[arg(
        long,
        value_name = "BYTES",
        env = "RINGDOVE_PLAN_RATE",
        hide_env = true,
        global = true,
        default_value_t = 50_000_000,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub rate: u64,
    /// What would be changed
    #[command(subcommand)]
    pub change: PlanChange,
}

/// A change that can be planned.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum PlanChange {
    /// Nodes join
    #[command(after_help = "Example:\n  ringdove plan join --nodes 2 --zone cellar")]
    Join {
        /// How many
        #[arg(long, value_name = "N", env = "RINGDOVE_PLAN_NODES", hide_env = true, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
        nodes: u16,
        /// Where they would stand
        #[arg(
            long,
            value_name = "ZONE",
            env = "RINGDOVE_PLAN_ZONE",
            hide_env = true,
            default_value = ""
        )]
        zone: String,
        /// Their share of the data, relative to the others'
        #[arg(long, value_name = "N", env = "RINGDOVE_PLAN_WEIGHT", hide_env = true, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        weight: u32,
    },
    /// Members leave
    #[command(after_help = "Example:\n  ringdove plan leave n3 n4")]
    Leave {
        /// Their names, or their ids
        #[arg(value_name = "NODE", required = true)]
        members: Vec<String>,
    },
    /// A new node takes the place of a member, which may be down
    #[command(after_help = "Example:\n  ringdove plan replace n3")]
    Replace {
        /// Its name, or its id
        #[arg(value_name = "NODE")]
        member: String,
        /// Where the new one would stand; where the old one does unless this is said
        #[arg(long, value_name = "ZONE", env = "RINGDOVE_PLAN_ZONE", hide_env = true)]
        zone: Option<String>,
    },
    /// A member gets another share of the data
    #[command(after_help = "Example:\n  ringdove plan weight n1 2")]
    Weight {
        /// Its name, or its id
        #[arg(value_name = "NODE")]
        member: String,
        /// Its share, relative to the others'
        #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        weight: u32,
    },
    /// A member stands somewhere else
    #[command(after_help = "Example:\n  ringdove plan zone n1 attic")]
    Zone {
        /// Its name, or its id
        #[arg(value_name = "NODE")]
        member: String,
        /// Where
        #[arg(value_name = "ZONE")]
        zone: String,
    },
}
