//! What can be typed about changes of the ring: `plan`, `apply`, and what stops, goes on or forces.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{positive_duration, switch};

const PLAN_EXAMPLES: &str = "\
Examples:
  ringdove plan join --nodes 2 --zone cellar
  ringdove plan leave n3 n4
  ringdove plan replace n3
  ringdove plan --data 120000000000 weight n1 2

It shows who would hold how much, who would copy from whom, and what is at risk on the way. Nothing is
changed. `ringdove apply` does it. Nodes join by themselves, when they are started with the address of a
member as their seed: there is nothing to apply for that.";

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
    /// Rows are planned anew for who is a member now
    #[command(after_help = "Example:\n  ringdove plan rebalance")]
    Rebalance,
}

const APPLY_EXAMPLES: &str = "\
Examples:
  ringdove apply leave n3                     n3 gives away all it owns, then leaves
  ringdove apply --wait 10m leave n3 n4       and shows how far it is, until that is done
  ringdove apply --plan 3f9ac201 leave n3     only if the plan that was shown still holds
  ringdove apply replace n3 n6                n6, a member, takes the place of n3, which may be down
  ringdove apply leave --lost n3              n3's disk is gone for good: nobody waits for it
  ringdove apply joins manual                 who joins owns nothing until `apply rebalance`

All of a change is decided by a majority of the members, or nothing is. Rows then go from owner to owner
one seat at a time, while reads and writes go on; any crash is survived. `ringdove status` says how far it
is, `doctor` what it waits for; `pause`, `resume` and `abort` do what they say.";

/// `apply`
#[derive(Debug, Clone, Args)]
#[command(after_help = APPLY_EXAMPLES)]
pub(crate) struct ApplyArgs {
    /// Only if this plan still holds, as `plan` printed it
    #[arg(
        long,
        value_name = "PLAN",
        env = "RINGDOVE_APPLY_PLAN",
        hide_env = true,
        global = true,
        default_value = ""
    )]
    pub plan: String,
    /// Show how far rows are until all have changed owners, at most this long; exit with 8 if they have not
    #[arg(
        long,
        value_name = "TIME",
        env = "RINGDOVE_APPLY_WAIT",
        hide_env = true,
        global = true,
        value_parser = positive_duration
    )]
    pub wait: Option<Duration>,
    /// What is changed
    #[command(subcommand)]
    pub change: ApplyChange,
}

/// A change that can be made.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ApplyChange {
    /// Members leave, whether they answer or not
    #[command(after_help = "Example:\n  ringdove apply leave n3 n4")]
    Leave {
        /// Their names, or their ids
        #[arg(value_name = "NODE", required = true)]
        members: Vec<String>,
        /// Their disks are gone for good: what only they had is given up, and nobody waits for them
        #[arg(long, env = "RINGDOVE_APPLY_LOST", hide_env = true, value_parser = switch())]
        lost: bool,
    },
    /// A member takes the place of another one, which may be down
    #[command(after_help = "Example:\n  ringdove apply replace n3 n6")]
    Replace {
        /// The name or id of who leaves
        #[arg(value_name = "OLD")]
        member: String,
        /// The name or id of who takes its place: it is a member already, for nodes join by themselves
        #[arg(value_name = "NEW")]
        with: String,
        /// Its disk is gone for good: what only it had is given up, and nobody waits for it
        #[arg(long, env = "RINGDOVE_APPLY_LOST", hide_env = true, value_parser = switch())]
        lost: bool,
    },
    /// A member gets another share of the data
    #[command(after_help = "Example:\n  ringdove apply weight n1 2")]
    Weight {
        /// Its name, or its id
        #[arg(value_name = "NODE")]
        member: String,
        /// Its share, relative to the others'
        #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        weight: u32,
    },
    /// A member stands somewhere else
    #[command(after_help = "Example:\n  ringdove apply zone n1 attic")]
    Zone {
        /// Its name, or its id
        #[arg(value_name = "NODE")]
        member: String,
        /// Where
        #[arg(value_name = "ZONE")]
        zone: String,
    },
    /// Rows are planned anew for who is a member now
    #[command(after_help = "Example:\n  ringdove apply rebalance")]
    Rebalance,
    /// Whether rows go to a node that joins at once, or wait for `apply rebalance`
    #[command(after_help = "Example:\n  ringdove apply joins manual")]
    Joins {
        /// At once, or when an operator says so
        #[arg(value_enum, value_name = "automatic|manual", hide_possible_values = true)]
        how: Joins,
    },
}

/// When rows go to a node that joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Joins {
    /// At once.
    Automatic,
    /// When an operator rebalances.
    Manual,
}

const PAUSE_EXAMPLES: &str = "\
Examples:
  ringdove pause
  ringdove resume

Rows that are in the middle of a step end it: no row is left without a quorum.";

/// `pause`
#[derive(Debug, Clone, Args)]
#[command(after_help = PAUSE_EXAMPLES)]
pub(crate) struct PauseArgs {}

const RESUME_EXAMPLES: &str = "\
Examples:
  ringdove resume
  ringdove resume --wait 10m         and shows how far it is, until that is done";

/// `resume`
#[derive(Debug, Clone, Args)]
#[command(after_help = RESUME_EXAMPLES)]
pub(crate) struct ResumeArgs {
    /// Show how far rows are until all have changed owners, at most this long; exit with 8 if they have not
    #[arg(
        long,
        value_name = "TIME",
        env = "RINGDOVE_RESUME_WAIT",
        hide_env = true,
        value_parser = positive_duration
    )]
    pub wait: Option<Duration>,
}

const ABORT_EXAMPLES: &str = "\
Examples:
  ringdove abort

Rows that have changed owners keep the new ones; those that have not, stay. Who was to leave stays.";

/// `abort`
#[derive(Debug, Clone, Args)]
#[command(after_help = ABORT_EXAMPLES)]
pub(crate) struct AbortArgs {}

const FORCE_EXAMPLES: &str = "\
Examples:
  ringdove force-epoch --endpoint n1:7400 --left n1,n2 --others-are-gone

The last resort, when a majority of the members is gone for good, so that nothing about the ring can be
decided any more (reads and writes of what is left go on without it). The members named go on alone;
what only the others had is lost; when one of the others comes back it is kept out. Never run it on two
sides of a split: there would be two clusters.";

/// `force-epoch`
#[derive(Debug, Clone, Args)]
#[command(after_help = FORCE_EXAMPLES)]
pub(crate) struct ForceArgs {
    /// The names or ids of all members that are left; the asked node is one of them
    #[arg(
        long,
        value_name = "NODE,…",
        env = "RINGDOVE_FORCE_LEFT",
        hide_env = true,
        value_delimiter = ',',
        required = true
    )]
    pub left: Vec<String>,
    /// You made sure that no process of the other members runs, and none will
    #[arg(long, env = "RINGDOVE_FORCE_OTHERS_ARE_GONE", hide_env = true, value_parser = switch())]
    pub others_are_gone: bool,
}

const DOCTOR_EXAMPLES: &str = "\
Examples:
  ringdove doctor
  ringdove doctor --check            exits with 8 if something needs you
  ringdove doctor -o json

It looks at every member and every row on the move: which waits for whom, since when, what to do.";

/// `doctor`
#[derive(Debug, Clone, Args)]
#[command(after_help = DOCTOR_EXAMPLES)]
pub(crate) struct DoctorArgs {
    /// Exit with 8 if something needs somebody to do something
    #[arg(long, env = "RINGDOVE_DOCTOR_CHECK", hide_env = true, value_parser = switch())]
    pub check: bool,
}
