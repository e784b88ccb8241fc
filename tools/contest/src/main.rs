//! Ringdove's membership beside others, in one simulated network: what it costs, how fast and how often wrong it is.
//!
//! `cargo run --release -p ringdove-contest -- idle --sizes 10,100` prints a table; `README.md` has them all, with what they mean.
//! Contestants: Ringdove's control machine, `foca` 2 (plain SWIM) and `kinship-core` 0.4 (SWIM with Lifeguard, with memberlist's
//! constants), each with its own settings for a local network. Everything follows from `--seed`.

mod contestant;
mod lifeguard;
mod measures;
mod network;
mod ringdove;
mod swim;

use std::io::Write;

use clap::{Parser, ValueEnum};

use contestant::Contestant;
use lifeguard::Lifeguard;
use measures::{Moment, Rate};
use ringdove::Ringdove;
use swim::Swim;

/// Compares membership protocols in one simulated network.
#[derive(Debug, Parser)]
struct Args {
    /// What to measure.
    ask: Question,
    /// How many nodes, each.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100])]
    sizes: Vec<usize>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds: runs, of what takes a time; also of `mistakes` and `slow`.
    #[arg(long, default_value_t = 5)]
    seeds: u64,
    /// Parts in a hundred of all datagrams that are lost, where that is varied.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 10, 30])]
    loss: Vec<u32>,
    /// How many seconds: of each run of `mistakes` and `slow`, of a pause, of a split, of a mass restart.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Who takes part.
    #[arg(long, value_delimiter = ',', default_values_t = ["ringdove", "foca", "kinship"].map(str::to_owned))]
    only: Vec<String>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Question {
    /// Bytes while nothing happens.
    Idle,
    /// Bytes while one in a hundred is restarted each minute.
    Churn,
    /// Time until a restart is known.
    Change,
    /// Time until a crash is known.
    Crash,
    /// Healthy nodes held for down, while datagrams are lost.
    Mistakes,
    /// The same while some nodes are slow.
    Slow,
    /// One node is held up.
    Pause,
    /// Two halves do not reach each other for a while.
    Split,
    /// All are restarted, one after the other.
    Restart,
    /// Idle, change and crash in one cluster, with nothing lost: for a thousand nodes.
    Brief,
}

impl Question {
    fn heading(self) -> &'static str {
        match self {
            Question::Idle | Question::Churn => {
                "mean B/s per node | 99 of 100 node-seconds below | longest datagram"
            }
            Question::Change => {
                "lost | somebody knows | half know | all know | gossip ticks to all"
            }
            Question::Crash => "lost | first suspects | all suspect | down for half | down for all",
            Question::Mistakes => "lost | node-hours | false downs | an hour | suspected, an hour",
            Question::Slow => "slow | node-hours | false downs | an hour | suspected, an hour",
            Question::Pause => "held by it for down | alive again for all",
            Question::Split => "one view again | mean B/s per node 30 s later",
            Question::Restart => "one view after the last",
            Question::Brief => {
                "mean B/s per node | 99 of 100 node-seconds below | longest datagram | restart: somebody knows | half | all | \
                 crash: first suspects | all suspect | down for half | down for all"
            }
        }
    }
}

fn main() {
    let args = Args::parse();
    let heading = args.ask.heading();
    line(&format!("| N | who | {heading} |"));
    line(&format!("|{}", "---|".repeat(2 + heading.split('|').count())));
    for count in args.sizes.iter().copied() {
        run::<Ringdove>("ringdove", 0.1, count, &args);
        run::<Swim>("foca", 0.2, count, &args);
        run::<Lifeguard>("kinship", 0.2, count, &args);
    }
}

/// Measures one contestant, whose rumours are told once a `tick`, in seconds.
fn run<C: Contestant>(name: &str, tick: f64, count: usize, args: &Args) {
    if !args.only.iter().any(|only| only == name) {
        return;
    }
    let say = |cells: String| line(&format!("| {count} | {name} | {cells} |"));
    let seeds = || args.seed..args.seed + args.seeds;
    let losses = || args.loss.iter().map(|percent| (*percent, f64::from(*percent) / 100.0));
    match args.ask {
        Question::Idle => say(bytes(measures::idle::<C>(count, args.seed))),
        Question::Churn => say(bytes(measures::churn::<C>(count, args.seed))),
        Question::Change => {
            for (percent, loss) in losses() {
                let runs = seeds().map(|seed| measures::change::<C>(count, seed, loss));
                let runs = Vec::from_iter(runs);
                let last = Vec::from_iter(runs.iter().map(|run| run[2].map(|it| it / tick)));
                say(format!("{percent} % | {} | {}", columns(&runs), spread(last, 1, "")));
            }
        }
        Question::Crash => {
            for (percent, loss) in losses() {
                let runs = seeds().map(|seed| measures::crash::<C>(count, seed, loss));
                say(format!("{percent} % | {}", columns(&Vec::from_iter(runs))));
            }
        }
        Question::Mistakes => {
            for (percent, loss) in losses() {
                say(format!("{percent} % | {}", wrong::<C>(count, loss, (0, 0.0), args)));
            }
        }
        Question::Slow => {
            for slow in [(1, 1.0), (1, 5.0), (8, 5.0), (8, 16.0)] {
                let (many, block) = slow;
                let told = wrong::<C>(count, 0.0, slow, args);
                say(format!("{many}, {block} s of {} | {told}", block * 2.0));
            }
        }
        Question::Pause => {
            let runs = seeds().map(|seed| measures::pause::<C>(count, seed, args.seconds));
            let (downs, back): (Vec<usize>, Vec<Moment>) = runs.unzip();
            let most = downs.iter().max().copied().unwrap_or_default();
            say(format!("at most {most} | {}", spread(back, 2, " s")));
        }
        Question::Split => {
            let runs = seeds().map(|seed| measures::split::<C>(count, seed, args.seconds));
            let (healed, rates): (Vec<Moment>, Vec<Rate>) = runs.unzip();
            let rates = Vec::from_iter(rates.iter().map(|rate| Some(rate.mean)));
            say(format!("{} | {}", spread(healed, 1, " s"), spread(rates, 0, "")));
        }
        Question::Restart => {
            let runs = seeds().map(|seed| measures::restart::<C>(count, seed, args.seconds));
            say(spread(runs.collect(), 1, " s"));
        }
        Question::Brief => {
            let (idle, change, crash) = measures::brief::<C>(count, args.seed);
            say(format!("{} | {} | {}", bytes(idle), columns(&[change]), columns(&[crash])));
        }
    }
}

fn bytes(rate: Rate) -> String {
    format!("{:.0} | {:.0} | {} B", rate.mean, rate.most, rate.largest)
}

/// How wrong a contestant is, over all runs.
fn wrong<C: Contestant>(count: usize, loss: f64, slow: (usize, f64), args: &Args) -> String {
    let (mut downs, mut suspects, mut hours) = (0, 0, 0.0);
    for seed in args.seed..args.seed + args.seeds {
        let run = measures::mistakes::<C>(count, seed, loss, slow, args.seconds);
        (downs, suspects, hours) = (downs + run.downs, suspects + run.suspects, hours + run.hours);
    }
    let rate = |many: usize| many as f64 / hours;
    // Of what never happened in so long a time there is, with 95 % certainty, less than 3 of it.
    let often = if downs == 0 {
        format!("below {:.4}", 3.0 / hours)
    } else {
        format!("{:.4}", rate(downs))
    };
    format!("{hours:.0} | {downs} | {often} | {:.2}", rate(suspects))
}

fn columns(runs: &[Vec<Moment>]) -> String {
    let many = runs.first().map_or(0, Vec::len);
    let column = |at: usize| spread(runs.iter().map(|run| run[at]).collect(), 2, " s");
    Vec::from_iter((0..many).map(column)).join(" | ")
}

/// Median and most.
fn spread(moments: Vec<Moment>, digits: usize, unit: &str) -> String {
    let mut all = Vec::from_iter(moments.into_iter().map(|it| it.unwrap_or(f64::INFINITY)));
    all.sort_by(f64::total_cmp);
    let text = |it: f64| {
        if it.is_finite() { format!("{it:.digits$}{unit}") } else { "never".to_owned() }
    };
    match (all.get(all.len() / 2), all.last()) {
        (Some(median), Some(most)) => format!("{} ({})", text(*median), text(*most)),
        (_, _) => "no runs".to_owned(),
    }
}

fn line(text: &str) {
    // A reader that went away ends it.
    if writeln!(std::io::stdout(), "{text}").is_err() {
        std::process::exit(1);
    }
}
