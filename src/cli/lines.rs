//! `put --lines` and `get --lines`: many keys through one connection, pipelined.
//!
//! ```text
//! reader thread ─▶ lines (bounded) ─▶ workers, one request each ─▶ results ─▶ counting, printing
//! ```
//!
//! Invariant: every line is counted once, as what is known of it; a line that fails stops no other.
//! Only when no endpoint can be reached any more the rest is left, and the summary says so.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::args::{Common, Format, GetArgs, PutArgs};
use super::exit::Exit;
use super::link::connect;
use super::screen::Screen;
use super::show::{self, Shown};
use super::trouble::Trouble;
use super::words::{count, grouped};
use crate::client::{Client, ClientError, Got};
use crate::key::{KEY_BYTES_MAX, Key, VALUE_BYTES_MAX};
use crate::rt;
use crate::wire::{Basis, Level, Message};

/// The longest line: a key, a tab, a value.
const LINE_BYTES_MAX: usize = KEY_BYTES_MAX + 1 + VALUE_BYTES_MAX;
/// Lines read ahead of the workers.
const AHEAD: usize = 256;
/// Lines whose trouble is told one by one; the rest is counted.
const TOLD_MAX: usize = 20;
/// How often a request that may well succeed later is sent, and the first pause between.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(50);

/// A line as it was read.
struct Line {
    /// Its number in the file, from 1.
    number: u64,
    /// Its place among the lines that are not empty, from 0.
    place: u64,
    bytes: Result<Vec<u8>, String>,
}

/// How a line ended.
struct Ended {
    number: u64,
    place: u64,
    /// What was read, in input bytes, for the progress bar.
    bytes: u64,
    how: How,
}

enum How {
    Written,
    Read(Box<(Key, Got)>),
    NotFound(Key),
    /// May have been written.
    Unknown(String),
    /// Was not written or read.
    Failed(String),
    /// No endpoint could be reached.
    Unreachable(Trouble),
}

/// What every worker needs.
#[derive(Clone)]
struct Work {
    client: Client,
    bucket: String,
    stop: Arc<AtomicBool>,
    request: Request,
}

#[derive(Clone, Copy)]
enum Request {
    Put { level: Level, strict: bool, blind: bool },
    Get { level: Level },
}

/// What came of all lines.
#[derive(Debug, Default, Serialize)]
struct Summary {
    lines: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_found: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conflicts: Option<u64>,
    unknown: u64,
    failed: u64,
    seconds: f64,
    /// The first of the lines that did not end well.
    problems: Vec<Problem>,
}

#[derive(Debug, Serialize)]
struct Problem {
    line: u64,
    outcome: &'static str,
    message: String,
}

/// Writes one key<TAB>value a line.
pub(crate) async fn put(
    common: &Common,
    args: &PutArgs,
    path: &Path,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let (level, strict) = (args.level.write_level, args.level.strict);
    let request = Request::Put { level, strict, blind: args.blind };
    let mut summary = Summary { written: Some(0), ..Summary::default() };
    let bucket = &args.bucket.bucket;
    let ended = run(common, bucket, path, request, args.flight.in_flight, screen, &mut summary);
    let ended = ended.await;
    if ended.is_err() && summary.lines == 0 {
        // Nothing was dealt with, so there is nothing to sum up.
        return ended.map(|()| Exit::Ok);
    }
    if screen.format == Format::Json {
        screen.print(show::json_line(&summary));
    } else {
        let written = summary.written.unwrap_or(0);
        let rate = (written as f64 / summary.seconds.max(0.001)) as u64;
        screen.print(format!(
            "{}: {} written, {} unknown, {} failed, in {:.1} s ({} per second)\n",
            count(summary.lines, "line", "lines"),
            grouped(written),
            grouped(summary.unknown),
            grouped(summary.failed),
            summary.seconds,
            grouped(rate),
        ));
    }
    ended?;
    Ok(summary.exit())
}

/// Reads one key a line, and prints key<TAB>value in the same order.
pub(crate) async fn get(
    common: &Common,
    args: &GetArgs,
    path: &Path,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let request = Request::Get { level: args.level.read_level };
    let mut summary =
        Summary { found: Some(0), not_found: Some(0), conflicts: Some(0), ..Summary::default() };
    let bucket = &args.bucket.bucket;
    run(common, bucket, path, request, args.flight.in_flight, screen, &mut summary).await?;
    Ok(summary.exit())
}

impl Summary {
    fn exit(&self) -> Exit {
        if self.unknown > 0 {
            Exit::LevelNotMet
        } else if self.failed > 0 {
            Exit::Error
        } else if self.conflicts.unwrap_or(0) > 0 {
            Exit::Conflict
        } else if self.not_found.unwrap_or(0) > 0 {
            Exit::NotFound
        } else {
            Exit::Ok
        }
    }

    fn problem(&mut self, line: u64, outcome: &'static str, message: &str) -> Option<String> {
        let told = self.problems.len();
        if told >= TOLD_MAX {
            return (told == TOLD_MAX).then(|| {
                let message = "further lines like these are only counted".to_owned();
                let text = format!("{message}\n");
                self.problems.push(Problem { line, outcome, message });
                text
            });
        }
        self.problems.push(Problem { line, outcome, message: message.to_owned() });
        Some(format!("line {line}: {outcome}: {message}\n"))
    }
}

async fn run(
    common: &Common,
    bucket: &str,
    path: &Path,
    request: Request,
    in_flight: u16,
    screen: &mut Screen,
    summary: &mut Summary,
) -> Result<(), Trouble> {
    // A bucket that is none is one error, not one for each line.
    Key::new(bucket, b"k")?;
    let (source, size) = open(path, screen)?;
    let client = connect(common).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let (lines, to_do) = async_channel::bounded(AHEAD);
    let (done, ended) = async_channel::bounded(AHEAD);
    let reader = {
        let stop = Arc::clone(&stop);
        std::thread::Builder::new()
            .name("lines".to_owned())
            .spawn(move || read(source, &lines, &stop))
    };
    let reader =
        reader.map_err(|error| Trouble::io("no thread for reading", &error, "nothing was sent"))?;
    for _ in 0..in_flight {
        let work = Work {
            client: client.clone(),
            bucket: bucket.to_owned(),
            stop: Arc::clone(&stop),
            request,
        };
        rt::spawn(work.run(to_do.clone(), done.clone())).detach();
    }
    drop((to_do, done));
    let started = Instant::now();
    let progress = progress(size, screen);
    let unreachable = collect(&ended, screen, summary, &progress).await;
    progress.finish_and_clear();
    // They end in any order, and are told in that of the file.
    summary.problems.sort_by_key(|problem| problem.line);
    summary.seconds = started.elapsed().as_secs_f64();
    if let Some(mut trouble) = unreachable {
        // The reader may be waiting on a pipe; it ends with the process.
        trouble.state = format!(
            "{} were dealt with as counted; the rest was not sent",
            count(summary.lines, "line", "lines")
        );
        return Err(trouble);
    }
    match reader.join() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Trouble::io(
            format_args!("{} cannot be read further", path.display()),
            &error,
            match summary.lines {
                0 => "nothing was sent",
                _ => "the lines before were dealt with as counted",
            },
        )),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The lines' source, and its size if it has one.
fn open(path: &Path, screen: &Screen) -> Result<(Box<dyn Read + Send>, Option<u64>), Trouble> {
    if path.as_os_str() == "-" {
        if !screen.reads_stdin {
            return Err(Trouble::usage(
                "`-` reads standard input, which the demo's commands come from",
                "name a file",
            ));
        }
        return Ok((Box::new(std::io::stdin()), None));
    }
    let failed = |error| Trouble::io(path.display(), &error, "nothing was sent");
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    Ok((Box::new(file), Some(size)))
}

/// Reads lines until there are no more or nobody wants them.
fn read(
    source: Box<dyn Read + Send>,
    lines: &Sender<Line>,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let mut source = BufReader::with_capacity(1 << 16, source);
    let (mut number, mut place) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let mut bytes = Vec::new();
        let most = LINE_BYTES_MAX as u64 + 1;
        if source.by_ref().take(most).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        number += 1;
        let mut line = Ok(());
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        } else if bytes.len() > LINE_BYTES_MAX {
            source.skip_until(b'\n')?;
            line = Err("it is longer than a key and a value can be".to_owned());
        }
        if bytes.is_empty() {
            continue;
        }
        let line = Line { number, place, bytes: line.map(|()| bytes) };
        place += 1;
        if lines.send_blocking(line).is_err() {
            break;
        }
    }
    Ok(())
}

impl Work {
    async fn run(self, lines: Receiver<Line>, done: Sender<Ended>) {
        while let Ok(line) = lines.recv().await {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let bytes = line.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64 + 1);
            let how = match line.bytes {
                Ok(bytes) => self.request(&bytes).await,
                Err(why) => How::Failed(why),
            };
            if matches!(how, How::Unreachable(_)) {
                self.stop.store(true, Ordering::Relaxed);
            }
            if done
                .send(Ended { number: line.number, place: line.place, bytes, how })
                .await
                .is_err()
            {
                return;
            }
        }
    }

    async fn request(&self, line: &[u8]) -> How {
        let (key, message) = match self.message(line) {
            Ok(parts) => parts,
            Err(why) => return How::Failed(why),
        };
        let mut pause = PAUSE;
        for attempt in 1.. {
            // The same message has the same operation id: an attempt nobody saw is never shown twice.
            let mut message = message.clone();
            if let Message::Put(put) = &mut message {
                put.again = attempt > 1;
            }
            match self.client.submit(message).await {
                Ok(Message::PutReply(_)) => return How::Written,
                Ok(Message::GetReply(reply)) => {
                    let got = Got::from(reply);
                    return match got.is_missing() {
                        true => How::NotFound(key),
                        false => How::Read(Box::new((key, got))),
                    };
                }
                Ok(other) => {
                    return How::Failed(format!("the node answered with {}", other.kind()));
                }
                Err(error) if error.retryable() && attempt < TRIES => {
                    rt::sleep(pause).await;
                    pause *= 2;
                }
                Err(error @ ClientError::Unreachable { .. }) => {
                    return How::Unreachable(error.into());
                }
                Err(error) if error.may_have_applied() => return How::Unknown(error.what()),
                Err(error) => return How::Failed(error.what()),
            }
        }
        unreachable!("the last attempt returns")
    }

    fn message(&self, line: &[u8]) -> Result<(Key, Message), String> {
        let key_of = |bytes: &[u8]| Key::new(&self.bucket, bytes).map_err(|why| why.to_string());
        match self.request {
            Request::Get { level } => {
                let key = key_of(line)?;
                let message = self.client.get(&key).level(level).into_message();
                Ok((key, message))
            }
            Request::Put { level, strict, blind } => {
                let tab = line.iter().position(|byte| *byte == b'\t');
                let tab = tab.ok_or("there is no tab between a key and a value")?;
                let key = key_of(&line[..tab])?;
                let mut put = self.client.put(&key, line[tab + 1..].to_vec()).level(level);
                if strict {
                    put = put.strict();
                }
                if blind {
                    put = put.basis(Basis::Blind);
                }
                let message = put.into_message();
                Ok((key, message))
            }
        }
    }
}

/// Counts results as they come, and prints those of reads in the lines' order.
async fn collect(
    ended: &Receiver<Ended>,
    screen: &mut Screen,
    summary: &mut Summary,
    progress: &ProgressBar,
) -> Option<Trouble> {
    let mut unreachable = None;
    let mut waiting: BTreeMap<u64, Ended> = BTreeMap::new();
    let mut expected = 0;
    while let Ok(one) = ended.recv().await {
        progress.inc(one.bytes);
        if summary.found.is_none() {
            tell(one, screen, summary, progress, &mut unreachable);
            continue;
        }
        waiting.insert(one.place, one);
        while let Some(next) = waiting.remove(&expected) {
            expected += 1;
            tell(next, screen, summary, progress, &mut unreachable);
        }
    }
    for (_, one) in waiting {
        tell(one, screen, summary, progress, &mut unreachable);
    }
    unreachable
}

fn tell(
    one: Ended,
    screen: &mut Screen,
    summary: &mut Summary,
    progress: &ProgressBar,
    unreachable: &mut Option<Trouble>,
) {
    summary.lines += 1;
    let add = |counter: &mut Option<u64>| *counter = Some(counter.unwrap_or(0) + 1);
    let said = match one.how {
        How::Written => {
            add(&mut summary.written);
            None
        }
        How::Read(found) => {
            let (key, got) = *found;
            add(&mut summary.found);
            print_found(&key, &got, screen);
            if got.is_conflict() && screen.format == Format::Table {
                add(&mut summary.conflicts);
                let values = got.values.len() + usize::from(got.omitted);
                let message = format!("{key} has {values} conflicting values");
                summary.problem(one.number, "conflict", &message)
            } else {
                None
            }
        }
        How::NotFound(key) => {
            add(&mut summary.not_found);
            summary.problem(one.number, "not found", &key.to_string())
        }
        How::Unknown(why) => {
            summary.unknown += 1;
            summary.problem(one.number, "unknown", &why)
        }
        How::Failed(why) => {
            summary.failed += 1;
            summary.problem(one.number, "failed", &why)
        }
        How::Unreachable(trouble) => {
            summary.failed += 1;
            let said = summary.problem(one.number, "failed", &trouble.what);
            *unreachable = Some(trouble);
            said
        }
    };
    if let Some(said) = said {
        progress.suspend(|| screen.say(&said));
    }
}

/// One value is printed beside its key; of several none is the key's value.
fn print_found(key: &Key, got: &Got, screen: &mut Screen) {
    match screen.format {
        Format::Json => screen.print(show::get_json(key, got)),
        Format::Table if got.is_conflict() => {}
        Format::Table => {
            for value in &Shown::of(got).values {
                screen.print(key.key());
                screen.print(b"\t");
                screen.print(&value.bytes);
                screen.print(b"\n");
            }
        }
    }
}

/// A bar on a terminal, nothing anywhere else.
fn progress(size: Option<u64>, screen: &Screen) -> ProgressBar {
    if !screen.progress {
        return ProgressBar::hidden();
    }
    let (bar, template) = match size {
        Some(size) => (
            ProgressBar::new(size),
            "{bar:32} {percent:>3} %  {binary_bytes} of {binary_total_bytes}  {elapsed}, {eta} to go",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {binary_bytes}  {elapsed}"),
    };
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    bar.with_style(style.progress_chars("█▌░"))
}
