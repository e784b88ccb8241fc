//! `bench`: a closed loop of reads and writes, with percentiles of what a client waits.
//!
//! Each connection keeps so many requests under way and sends the next when one is answered. A slow
//! answer thus slows the asking: the numbers say what this many clients see, not what an open
//! stream of arrivals would.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};
use serde::Serialize;

use super::args::{BenchArgs, Common, Format};
use super::columns::plain_columns;
use super::exit::Exit;
use super::link::connect;
use super::screen::Screen;
use super::show::json_line;
use super::trouble::Trouble;
use super::words::{count, grouped, size};
use crate::client::Client;
use crate::key::Key;
use crate::rt;

/// What was measured so far, at one connection.
struct Tally {
    reads: Histogram<u64>,
    writes: Histogram<u64>,
    not_found: u64,
    conflicts: u64,
    unknown: u64,
    failed: u64,
    /// What the first failed request was told.
    trouble: Option<Trouble>,
}

impl Tally {
    fn new() -> Self {
        // Three significant digits; it grows to whatever has to be counted.
        let empty = || Histogram::new(3).expect("three digits are within its limits");
        Tally {
            reads: empty(),
            writes: empty(),
            not_found: 0,
            conflicts: 0,
            unknown: 0,
            failed: 0,
            trouble: None,
        }
    }

    fn add(&mut self, other: &Tally) {
        self.reads.add(&other.reads).expect("histograms that grow can be added");
        self.writes.add(&other.writes).expect("histograms that grow can be added");
        self.not_found += other.not_found;
        self.conflicts += other.conflicts;
        self.unknown += other.unknown;
        self.failed += other.failed;
        self.trouble = self.trouble.take().or_else(|| other.trouble.clone());
    }
}

/// One request after the other, until the time is over.
struct Loop {
    client: Client,
    args: Arc<BenchArgs>,
    until: Instant,
    random: ChaCha8Rng,
    tally: Arc<Mutex<Tally>>,
}

/// Measures, and prints what was measured.
pub(crate) async fn bench(
    common: &Common,
    args: &BenchArgs,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    Key::new(&args.bucket, b"k")?;
    let args = Arc::new(args.clone());
    let mut clients = Vec::new();
    for connection in 0..usize::from(args.connections) {
        // Each connection begins at another endpoint, so that all of them take part.
        let mut common = common.clone();
        let first = connection % common.endpoint.len();
        common.endpoint.rotate_left(first);
        clients.push(connect(&common).await?);
    }
    if screen.format == Format::Table {
        screen.print(intention(&args));
        screen.flush();
    }
    let started = Instant::now();
    let mut tallies = Vec::new();
    let mut loops = Vec::new();
    for (connection, client) in clients.into_iter().enumerate() {
        let tally = Arc::new(Mutex::new(Tally::new()));
        tallies.push(Arc::clone(&tally));
        for nth in 0..args.in_flight {
            let stream = connection as u64 * u64::from(args.in_flight) + u64::from(nth);
            let mut random = ChaCha8Rng::seed_from_u64(args.seed);
            random.set_stream(stream);
            let looping = Loop {
                client: client.clone(),
                args: Arc::clone(&args),
                until: started + args.seconds,
                random,
                tally: Arc::clone(&tally),
            };
            loops.push(rt::spawn(looping.run()));
        }
    }
    for looping in loops {
        looping.await;
    }
    let took = started.elapsed();
    let mut sum = Tally::new();
    for tally in &tallies {
        sum.add(&tally.lock().unwrap_or_else(PoisonError::into_inner));
    }
    report(&args, &sum, took, screen)
}

impl Loop {
    async fn run(mut self) {
        let mut value = vec![0; self.args.value_bytes as usize];
        self.random.fill_bytes(&mut value);
        while Instant::now() < self.until {
            let number = self.random.random_range(0..self.args.keys);
            let key = Key::new(&self.args.bucket, format!("key-{number:010}").as_bytes())
                .expect("the bucket was checked and the key is short");
            let reads = self.random.random_bool(self.args.read_share);
            let begun = Instant::now();
            let outcome = if reads {
                self.client.get(&key).level(self.args.read.read_level).send().await.map(Some)
            } else {
                let mut put =
                    self.client.put(&key, value.clone()).level(self.args.write.write_level);
                if self.args.write.strict {
                    put = put.strict();
                }
                put.send().await.map(|_| None)
            };
            let waited = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
            let failed = outcome.is_err();
            {
                let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
                match outcome {
                    Ok(got) => {
                        let histogram = if reads { &mut tally.reads } else { &mut tally.writes };
                        histogram.record(waited).expect("a histogram that grows takes any wait");
                        if let Some(got) = got {
                            tally.not_found += u64::from(got.is_missing());
                            tally.conflicts += u64::from(got.is_conflict());
                        }
                    }
                    Err(error) => {
                        let unknown = error.may_have_applied();
                        tally.unknown += u64::from(unknown);
                        tally.failed += u64::from(!unknown);
                        tally.trouble.get_or_insert_with(|| error.into());
                    }
                }
            }
            if failed {
                // A node that refuses at once must not be asked in a spin.
                rt::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

fn intention(args: &BenchArgs) -> String {
    format!(
        "{} with {} each under way, {:.0} % reads at {}, writes at {}{}, values of {}, {}, {} s\n\n",
        count(args.connections.into(), "connection", "connections"),
        count(args.in_flight.into(), "request", "requests"),
        args.read_share * 100.0,
        args.read.read_level,
        args.write.write_level,
        if args.write.strict { " strict" } else { "" },
        size(args.value_bytes.into()),
        count(args.keys, "key", "keys"),
        args.seconds.as_secs_f64(),
    )
}

/// Percentiles in microseconds.
#[derive(Debug, Serialize)]
struct Measured {
    count: u64,
    per_second: f64,
    mean_us: f64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
}

impl Measured {
    fn of(histogram: &Histogram<u64>, took: Duration) -> Self {
        Measured {
            count: histogram.len(),
            per_second: (histogram.len() as f64 / took.as_secs_f64() * 10.0).round() / 10.0,
            mean_us: (histogram.mean() * 10.0).round() / 10.0,
            p50_us: histogram.value_at_quantile(0.5),
            p90_us: histogram.value_at_quantile(0.9),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
        }
    }

    fn row(&self, name: &str) -> Vec<String> {
        let ms = |us: u64| format!("{:.2}", us as f64 / 1_000.0);
        vec![
            name.to_owned(),
            grouped(self.count),
            grouped(self.per_second as u64),
            ms(self.p50_us),
            ms(self.p90_us),
            ms(self.p99_us),
            ms(self.p999_us),
            ms(self.max_us),
        ]
    }
}

#[derive(Debug, Serialize)]
struct Report {
    seconds: f64,
    connections: u16,
    in_flight: u16,
    read_share: f64,
    value_bytes: u32,
    keys: u64,
    read_level: String,
    write_level: String,
    strict: bool,
    seed: u64,
    operations: u64,
    per_second: f64,
    reads: Measured,
    writes: Measured,
    not_found: u64,
    conflicts: u64,
    unknown: u64,
    failed: u64,
}

fn report(
    args: &BenchArgs,
    sum: &Tally,
    took: Duration,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let (reads, writes) = (Measured::of(&sum.reads, took), Measured::of(&sum.writes, took));
    let operations = reads.count + writes.count;
    if let (0, Some(trouble)) = (operations, &sum.trouble) {
        return Err(trouble.clone());
    }
    match screen.format {
        Format::Table => {
            screen.print(table(&reads, &writes));
            screen.print(notes(sum, took, operations));
            if let Some(trouble) = &sum.trouble {
                screen.say(&format!("the first failure was: {}\n", trouble.what));
            }
        }
        Format::Json => screen.print(json_line(&Report {
            seconds: took.as_secs_f64(),
            connections: args.connections,
            in_flight: args.in_flight,
            read_share: args.read_share,
            value_bytes: args.value_bytes,
            keys: args.keys,
            read_level: args.read.read_level.to_string(),
            write_level: args.write.write_level.to_string(),
            strict: args.write.strict,
            seed: args.seed,
            operations,
            per_second: reads.per_second + writes.per_second,
            reads,
            writes,
            not_found: sum.not_found,
            conflicts: sum.conflicts,
            unknown: sum.unknown,
            failed: sum.failed,
        })),
    }
    Ok(match (sum.unknown, sum.failed) {
        (0, 0) => Exit::Ok,
        (0, _) => Exit::Error,
        (_, _) => Exit::LevelNotMet,
    })
}

fn table(reads: &Measured, writes: &Measured) -> String {
    let heading = ["", "COUNT", "PER SECOND", "P50 MS", "P90 MS", "P99 MS", "P99.9 MS", "MAX MS"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for (name, measured) in [("reads", reads), ("writes", writes)] {
        if measured.count > 0 {
            rows.push(measured.row(name));
        }
    }
    plain_columns(&rows, &[1, 2, 3, 4, 5, 6, 7])
}

fn notes(sum: &Tally, took: Duration, operations: u64) -> String {
    let rate = (operations as f64 / took.as_secs_f64()) as u64;
    let mut text = format!(
        "\n{} in {:.1} s: {} per second",
        count(operations, "operation", "operations"),
        took.as_secs_f64(),
        grouped(rate)
    );
    let asides = [
        (sum.not_found, "reads found no value yet"),
        (sum.conflicts, "reads found conflicting values"),
        (sum.unknown, "writes of unknown outcome"),
        (sum.failed, "requests failed"),
    ];
    for (number, what) in asides.iter().filter(|(number, _)| *number > 0) {
        text.push_str(&format!(" · {} {what}", grouped(*number)));
    }
    text + "\n"
}
