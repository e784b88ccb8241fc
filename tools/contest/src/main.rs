//! Ringdove's membership beside others, in one simulated network: what it costs, how fast and how often wrong it is.
//!
//! `cargo run --release -p ringdove-contest -- --sizes 10,100` prints one table for each question. Contestants: Ringdove's control
//! machine, `foca` 2 (plain SWIM) and `kinship-core` 0.4 (SWIM with Lifeguard, with memberlist's constants), each with its own
//! settings for a local network. Everything follows from `--seed`.

mod contestant;
mod lifeguard;
mod measures;
mod network;
mod ringdove;
mod swim;

use std::io::Write;

use clap::Parser;

use contestant::Contestant;
use lifeguard::Lifeguard;
use measures::False;
use ringdove::Ringdove;
use swim::Swim;

/// Compares membership protocols in one simulated network.
#[derive(Debug, Parser)]
struct Args {
    /// How many nodes, each.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100])]
    sizes: Vec<usize>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds for what takes a time.
    #[arg(long, default_value_t = 5)]
    seeds: u64,
    /// Which questions: idle, churn, change, crash, mistakes.
    #[arg(long, value_delimiter = ',', default_values_t = ["idle", "churn", "change", "crash", "mistakes"].map(str::to_owned))]
    ask: Vec<String>,
    /// How many nodes make mistakes, and for how many seconds.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 600])]
    mistakes: Vec<usize>,
}

fn main() {
    let args = Args::parse();
    run::<Ringdove>("ringdove", &args);
    run::<Swim>("foca", &args);
    run::<Lifeguard>("kinship", &args);
}

fn run<C: Contestant>(name: &str, args: &Args) {
    let asks = |what: &str| args.ask.iter().any(|ask| ask == what);
    for count in args.sizes.iter().copied() {
        if asks("idle") {
            let (rate, largest) = measures::idle::<C>(count, args.seed, 60.0);
            say(
                name,
                count,
                &format!("idle: {rate:.0} B/s per node, largest datagram {largest} B"),
            );
        }
        if asks("churn") {
            let rate = measures::churn::<C>(count, args.seed, 2);
            say(name, count, &format!("1 % restart a minute: {rate:.0} B/s per node"));
        }
        for loss in [0.0, 0.1, 0.3] {
            let percent = loss * 100.0;
            let seeds = || args.seed..args.seed + args.seeds;
            if asks("change") {
                let times =
                    Vec::from_iter(seeds().map(|seed| measures::change::<C>(count, seed, loss)));
                let [half, all] = [0, 1].map(|at| spread(times.iter().map(|it| it[at])));
                say(
                    name,
                    count,
                    &format!(
                        "{percent} % lost, a restart: half know after {half}, all after {all}"
                    ),
                );
            }
            if asks("crash") {
                let times =
                    Vec::from_iter(seeds().map(|seed| measures::crash::<C>(count, seed, loss)));
                let [first, half, all] = [0, 1, 2].map(|at| spread(times.iter().map(|it| it[at])));
                say(
                    name,
                    count,
                    &format!(
                        "{percent} % lost, a crash: suspected after {first}, down for half after {half}, for all after {all}"
                    ),
                );
            }
        }
    }
    if let ([count, seconds], true) = (&args.mistakes[..], asks("mistakes")) {
        let ask = |what: &str, loss, slow| {
            let wrong = measures::mistakes::<C>(*count, args.seed, loss, slow, *seconds as f64);
            say(name, *count, &format!("{what}: {}", told(wrong)));
        };
        ask("nothing lost", 0.0, (0, 0.0));
        ask("10 % lost", 0.1, (0, 0.0));
        ask("30 % lost", 0.3, (0, 0.0));
        ask("1 slow, 5 s of 10", 0.0, (1, 5.0));
        ask("8 slow, 5 s of 10", 0.0, (8, 5.0));
        ask("8 slow, 16 s of 32", 0.0, (8, 16.0));
    }
}

fn told(wrong: False) -> String {
    let False { downs, suspects, hours } = wrong;
    let rate = |count: usize| count as f64 / hours;
    let bound =
        if downs == 0 { format!(" (95 %: below {:.2})", 3.0 / hours) } else { String::new() };
    format!(
        "{downs} false downs of healthy nodes in {hours:.1} node-hours, {:.2} an hour{bound}; suspected {:.1} an hour",
        rate(downs),
        rate(suspects)
    )
}

/// Median and most.
fn spread(times: impl Iterator<Item = Option<f64>>) -> String {
    let mut times = Vec::from_iter(times.map(|time| time.unwrap_or(f64::INFINITY)));
    times.sort_by(f64::total_cmp);
    let text =
        |time: f64| if time.is_finite() { format!("{time:.2} s") } else { "never".to_owned() };
    match (times.get(times.len() / 2), times.last()) {
        (Some(median), Some(most)) => format!("{} (at most {})", text(*median), text(*most)),
        (_, _) => "no runs".to_owned(),
    }
}

fn say(name: &str, count: usize, what: &str) {
    // A reader that went away ends it.
    if writeln!(std::io::stdout(), "{name:9} N={count:5}  {what}").is_err() {
        std::process::exit(1);
    }
}
