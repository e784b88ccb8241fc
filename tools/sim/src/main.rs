//! `ringdove-sim`: runs seeds, replays one, checks the checkers.

use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use ringdove_sim::batch::{replay_command, run_seeds};
use ringdove_sim::{Options, Profile, run};

/// Whole Ringdove clusters on virtual time, from one seed, and every promise checked.
#[derive(Debug, Parser)]
#[command(name = "ringdove-sim", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run many seeds and say what they exercised; exit with 1 if one breaks a promise.
    Run {
        /// The seeds, as FIRST..END.
        #[arg(long, value_parser = seeds, default_value = "0..1000")]
        seeds: Range<u64>,
        /// How many nodes; each seed draws its own number without this.
        #[arg(long, value_parser = clap::value_parser!(u64).range(3..=16))]
        nodes: Option<u64>,
        /// Which kinds of trouble.
        #[arg(long, value_enum, default_value_t)]
        profile: Profile,
        /// Stop after this many failures.
        #[arg(long, default_value_t = 1)]
        failures: usize,
    },
    /// Run one seed and print everything that happens in it, one line per event.
    Replay {
        /// The seed.
        seed: u64,
        /// How many nodes, as in the run.
        #[arg(long, value_parser = clap::value_parser!(u64).range(3..=16))]
        nodes: Option<u64>,
        /// The profile, as in the run.
        #[arg(long, value_enum, default_value_t)]
        profile: Profile,
        /// Write what the clients did and were told to this file, a JSON object per line, instead of
        /// printing the trace.
        #[arg(long, value_name = "FILE")]
        export: Option<PathBuf>,
    },
    /// Run histories of the ring register: who decides on the next ring, and that it never forks.
    Register {
        /// The seeds, as FIRST..END.
        #[arg(long, value_parser = seeds, default_value = "0..1000")]
        seeds: Range<u64>,
    },
    /// Switch off each rule in turn, and print which checker notices and after how many runs.
    #[cfg(feature = "canaries")]
    Canaries {
        /// The runs to make for each rule in each window of seeds, at most.
        #[arg(long, default_value_t = 300)]
        limit: u64,
        /// Make the rows of these rules only, and leave the page's others as they are.
        #[arg(long, value_name = "RULE", value_parser = rule)]
        only: Vec<ringdove::rules::Rule>,
        /// Put the table into this page, in the place of the old one.
        #[arg(long, value_name = "PAGE")]
        write: Option<PathBuf>,
        /// Fail unless this page has this very table.
        #[arg(long, value_name = "PAGE")]
        check: Option<PathBuf>,
    },
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("{text:?} is no range of seeds: FIRST..END, as in 0..1000");
    let (first, end) = text.split_once("..").ok_or_else(wrong)?;
    let (first, end) = (first.parse().map_err(|_| wrong())?, end.parse().map_err(|_| wrong())?);
    if first < end { Ok(first..end) } else { Err(wrong()) }
}

#[cfg(feature = "canaries")]
fn rule(text: &str) -> Result<ringdove::rules::Rule, String> {
    let mut rules = ringdove::rules::Rule::ALL.into_iter();
    rules.find(|rule| format!("{rule:?}") == text).ok_or_else(|| format!("{text:?} is no rule"))
}

fn main() -> ExitCode {
    let ok = match Arguments::parse().command {
        Command::Run { seeds, nodes, profile, failures } => {
            let nodes = nodes.map(|nodes| nodes as usize);
            run_batch(seeds, Options { nodes, profile, ..Options::default() }, failures)
        }
        Command::Replay { seed, nodes, profile, export } => {
            let nodes = nodes.map(|nodes| nodes as usize);
            let (trace, exported) = (export.is_none(), export.is_some());
            let options = Options { nodes, profile, trace, export: exported, broken: None };
            replay(seed, options, export.as_deref())
        }
        Command::Register { seeds } => run_register(seeds),
        #[cfg(feature = "canaries")]
        Command::Canaries { limit, only, write, check } => {
            make_table(limit.max(1), &only, write.as_deref(), check.as_deref())
        }
    };
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_batch(seeds: Range<u64>, options: Options, failures: usize) -> bool {
    let began = Instant::now();
    let batch = run_seeds(seeds, options, failures.max(1));
    let took = began.elapsed();
    print!("{}", batch.counts);
    println!(
        "{} histories in {:.1} s ({:.1} ms each), {:.0} s of virtual time; slowest to become quiet: {:.1} s",
        batch.runs,
        took.as_secs_f64(),
        took.as_secs_f64() * 1e3 / batch.runs.max(1) as f64,
        batch.virtual_time.as_secs_f64(),
        batch.slowest_quiet.as_secs_f64(),
    );
    for failed in &batch.failed {
        print!("FAILED {failed}");
        println!("  replay: {}", replay_command(failed.seed, options));
    }
    if batch.failed.is_empty() {
        println!("every promise kept");
    }
    batch.failed.is_empty()
}

fn run_register(seeds: Range<u64>) -> bool {
    let (seen, failed) = ringdove_sim::register::run_seeds(seeds, None);
    println!("{seen}");
    match &failed {
        Some((seed, violation)) => println!("FAILED seed {seed}: {violation}"),
        None => println!("one epoch was one ring, and nothing got stuck"),
    }
    failed.is_none()
}

fn replay(seed: u64, options: Options, export: Option<&Path>) -> bool {
    let report = run(seed, options);
    if let Some(file) = export
        && let Err(why) = std::fs::write(file, &report.history)
    {
        eprintln!("the history was not written to {}: {why}", file.display());
        return false;
    }
    // A reader that went away (`| head`) is no failure of the run.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(report.trace.as_bytes());
    for violation in &report.violations {
        let _ = writeln!(out, "VIOLATION {violation}");
    }
    report.violations.is_empty()
}

/// Makes the table of broken rules, and puts it where it is wanted.
#[cfg(feature = "canaries")]
fn make_table(
    limit: u64,
    only: &[ringdove::rules::Rule],
    write: Option<&Path>,
    check: Option<&Path>,
) -> bool {
    use ringdove_sim::canaries::{table, with_table};
    let page = write.or(check).and_then(|path| std::fs::read_to_string(path).ok());
    let (text, mut ok) = table(limit, only, &page.unwrap_or_default());
    print!("{text}");
    for (page, writes) in [(write, true), (check, false)] {
        let Some(path) = page else { continue };
        let old = std::fs::read_to_string(path);
        let new = old.as_ref().ok().and_then(|old| with_table(old, &text));
        let said = match (old, new) {
            (Err(why), _) => Err(why.to_string()),
            (Ok(_), None) => Err("it has no place for the table".to_owned()),
            (Ok(_), Some(new)) if writes => {
                std::fs::write(path, new).map_err(|why| why.to_string())
            }
            (Ok(old), Some(new)) if old != new => {
                Err("it has another table; --write puts this one in".to_owned())
            }
            (Ok(_), Some(_)) => Ok(()),
        };
        if let Err(why) = said {
            eprintln!("{}: {why}", path.display());
            ok = false;
        }
    }
    ok
}
