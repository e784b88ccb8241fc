//! A segment as people read it: every batch and record with the names of its fields.
//!
//! Invariant: whatever the bytes, all of them are accounted for: as a batch, as zeros, or as what is
//! no batch and why. Nothing is believed that has no checksum.
//! Not here: whether a log is in order across its segments (`recover`).

use std::fmt::{self, Display};
use std::io::{self, Write};

use super::batch::{self, ALIGNMENT, Header, NoBatch};
use super::record::{Record, Records, Stored, decode_value};
use super::{Place, recover, segment};
use crate::causality::{Actor, Dot, DotSet};
use crate::key::Key;

/// How many bytes of a value are shown.
const SHOWN_BYTES: usize = 32;

/// Prints the segment in `bytes`, a file of this name.
pub fn dump(name: &str, bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
    match segment::number(name) {
        Some(number) => writeln!(out, "{name}: segment {number}, {} bytes", bytes.len())?,
        None => writeln!(
            out,
            "{name}: {} bytes; segments are called {}",
            bytes.len(),
            segment::file_name(1)
        )?,
    }
    let mut at = 0;
    while at < bytes.len() {
        at = match batch::read(&bytes[at..]) {
            Ok((header, body)) => {
                print_batch(out, at, header, body, bytes)?;
                at + header.stride()
            }
            Err(no_batch) => print_gap(out, at, bytes, &no_batch)?,
        };
    }
    Ok(())
}

fn print_batch(
    out: &mut impl Write,
    at: usize,
    header: Header,
    body: &[u8],
    bytes: &[u8],
) -> io::Result<()> {
    let Header { segment, batch, synced, previous, link, records, body_len } = header;
    writeln!(
        out,
        "@{at} batch {} of segment {segment}: synced {}, previous {previous:08x}, link {link:08x}, \
         records {records}, body {body_len} bytes",
        batch.0, synced.0
    )?;
    let first = (at + batch::HEADER_BYTES) as u32;
    for record in Records::new(body, segment, first) {
        match record {
            Ok(record) => print_record(out, record, bytes)?,
            Err(why) => writeln!(out, "  not a record: {why}")?,
        }
    }
    Ok(())
}

fn print_record(out: &mut impl Write, record: Record, bytes: &[u8]) -> io::Result<()> {
    match record {
        Record::Entry { slot, token, key, dots, deletes, entry } => {
            let kind = if entry.is_empty() { "gone" } else { "entry" };
            write!(out, "  {kind} slot {slot} token {token} key {} ", Quoted(&key))?;
            write!(out, "dots {}", List(&dots))?;
            if !deletes.is_empty() {
                write!(out, " deletes {}", List(&deletes))?;
            }
            if !entry.is_empty() {
                write!(out, " residual {}", entry.residual())?;
            }
            writeln!(out)?;
            print_values(out, entry.values(), bytes)
        }
        Record::Clock { slot, clock } => writeln!(out, "  clock slot {slot} {clock}"),
        Record::Hint { id, owed_to, slot, key, delta } => {
            let deleted = delta.deleted.map_or(DotSet::EMPTY, DotSet::of);
            writeln!(
                out,
                "  hint {} owed to {owed_to} slot {slot} key {} deleted {deleted} kept {} context {}",
                id.0,
                Quoted(&key),
                List(&delta.kept),
                delta.context
            )?;
            print_values(out, &delta.values, bytes)
        }
        Record::HintDone { id } => writeln!(out, "  hint done {}", id.0),
        Record::Mark { slot, mark } => writeln!(out, "  mark slot {slot} {mark}"),
        Record::Recovering { recovering } => writeln!(out, "  recovering {recovering}"),
        Record::Dead { before, actors } => {
            let actors: Vec<String> = actors.iter().map(Actor::to_string).collect();
            writeln!(out, "  dead after {before}: {}", actors.join(" "))
        }
        Record::Refused { actor } => writeln!(out, "  refused {actor}"),
        Record::StartOver { slot } => writeln!(out, "  start over slot {slot}"),
    }
}

fn print_values(out: &mut impl Write, values: &[(Dot, Stored)], bytes: &[u8]) -> io::Result<()> {
    for (dot, stored) in values {
        let Place { segment, offset, len } = stored.place();
        write!(out, "    value {dot} ")?;
        match stored {
            Stored::There(_) => writeln!(out, "kept at {segment}:{offset} length {len}")?,
            Stored::Here(_) => {
                write!(out, "new at {segment}:{offset} length {len} ")?;
                let stored = bytes.get(offset as usize..(offset + len) as usize);
                match decode_value(stored.unwrap_or_default()) {
                    Err(why) => writeln!(out, "{why}")?,
                    Ok(value) => {
                        let meta = &value.meta;
                        let shown = &value.bytes[..value.bytes.len().min(SHOWN_BYTES)];
                        writeln!(
                            out,
                            "operation {:032x} stamp {} writer {:?} context {} bytes {} \"{}\"{}",
                            meta.operation,
                            meta.stamp,
                            meta.writer,
                            meta.context,
                            value.bytes.len(),
                            shown.escape_ascii(),
                            if shown.len() < value.bytes.len() { "…" } else { "" }
                        )?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// Prints what lies between here and the next batch. Gives where that is.
fn print_gap(
    out: &mut impl Write,
    at: usize,
    bytes: &[u8],
    no_batch: &NoBatch,
) -> io::Result<usize> {
    let is_batch = |at: &usize| batch::read(&bytes[*at..]).is_ok();
    let zeros = bytes[at..].iter().take_while(|byte| **byte == 0).count() / ALIGNMENT * ALIGNMENT;
    if at + zeros == bytes.len() || zeros > 0 && *no_batch == NoBatch::Nothing {
        writeln!(out, "@{at} {zeros} zeros")?;
        return Ok(at + zeros);
    }
    let next = (at + ALIGNMENT..bytes.len()).step_by(ALIGNMENT).find(is_batch);
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(at, |last| last + 1);
    let next = next.unwrap_or(end.next_multiple_of(ALIGNMENT).min(bytes.len())).max(at + 1);
    writeln!(out, "@{at} {} bytes that are no batch: {}", next - at, recover::why(no_batch))?;
    Ok(next)
}

struct Quoted<'a>(&'a Key);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.to_string())
    }
}

struct List<'a>(&'a [Dot]);

impl Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, dot) in self.0.iter().enumerate() {
            write!(f, "{}{dot}", if index > 0 { " " } else { "" })?;
        }
        f.write_str("]")
    }
}
