//! One frozen frame of every kind. A changed byte is a broken protocol.
//!
//! `RINGDOVE_WRITE_VECTORS=1 cargo test --test wire` writes the files anew; the difference is then
//! there to be reviewed, and a change to a released frame is wrong however it came about.

use std::fmt::Write;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use ringdove::wire::{HEADER_BYTES, Kind};

use super::read;
use super::samples::{Sample, sample};

const HEADER: [(&str, usize); 8] = [
    ("length", 4),
    ("checksum", 4),
    ("kind", 1),
    ("flags", 1),
    ("slot", 2),
    ("epoch", 4),
    ("request", 8),
    ("token", 8),
];

fn path(kind: Kind) -> PathBuf {
    let name = format!("{:03}-{}.txt", kind.number(), kind.name());
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/wire").join(name)
}

/// The bytes in hex, a field a line, each with what it is.
fn annotate(kind: Kind, sample: &Sample, bytes: &[u8]) -> String {
    let mut text = format!("# {kind}, kind {}, {:?}\n", kind.number(), kind.way());
    let (header, body) = bytes.split_at(HEADER_BYTES);
    write_fields(&mut text, header, &HEADER);
    if sample.fields.is_empty() {
        text += "# MessagePack\n";
        for row in body.chunks(16) {
            let seen = row.iter().map(|byte| match byte {
                b' '..=b'~' => char::from(*byte),
                _ => '.',
            });
            let seen: String = seen.collect();
            writeln!(text, "{:<32}  # {seen}", HEXLOWER.encode(row)).expect("a string grows");
        }
    } else {
        text += "# body\n";
        write_fields(&mut text, body, &sample.fields);
    }
    text
}

fn write_fields(text: &mut String, mut bytes: &[u8], fields: &[(&str, usize)]) {
    for (name, len) in fields.iter().filter(|(_, len)| *len > 0) {
        let (field, rest) = bytes.split_at(*len);
        for (index, row) in field.chunks(16).enumerate() {
            let name = if index == 0 { name } else { "..." };
            writeln!(text, "{:<32}  # {name}", HEXLOWER.encode(row)).expect("a string grows");
        }
        bytes = rest;
    }
    assert!(bytes.is_empty(), "fields that the sample does not name: {}", HEXLOWER.encode(bytes));
}

fn parse(text: &str) -> Vec<u8> {
    let digits = text.lines().map(|line| line.split('#').next().unwrap_or("").trim());
    HEXLOWER.decode(digits.collect::<String>().as_bytes()).expect("hex")
}

#[test]
fn every_kind_has_a_vector_and_keeps_to_it() {
    let write = std::env::var_os("RINGDOVE_WRITE_VECTORS").is_some();
    for &kind in Kind::ALL {
        let sample = sample(kind);
        assert_eq!(sample.spoken.kind(), kind);
        let bytes = sample.spoken.encode();
        let path = path(kind);
        if write {
            std::fs::write(&path, annotate(kind, &sample, &bytes)).expect("written");
        }
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{kind} has no vector at {}: {error}", path.display()));
        let frozen = parse(&text);
        assert_eq!(HEXLOWER.encode(&bytes), HEXLOWER.encode(&frozen), "{kind} changed its bytes");
        assert_eq!(read(&frozen).expect("a frame").as_ref(), Some(&sample.spoken), "{kind}");
        assert_eq!(
            text,
            annotate(kind, &sample, &bytes),
            "{kind}: the comments tell something else"
        );
    }
}

#[test]
fn there_is_no_vector_without_a_kind() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/wire");
    let known: Vec<PathBuf> = Kind::ALL.iter().map(|kind| path(*kind)).collect();
    for file in std::fs::read_dir(dir).expect("the folder is there") {
        let path = file.expect("readable").path();
        assert!(known.contains(&path), "{} is of no kind", path.display());
    }
}
