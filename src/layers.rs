//! Keeps the parts from knowing more of each other than the architecture allows.
//!
//! Invariant: what a part of the crate names of another stands to its left in the table of
//! `architecture.md`; the runtime is named in one file.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// Each part, and what it may use.
const LAYERS: [(&str, &str); 14] = [
    ("fields", ""),
    ("key", ""),
    ("pack", ""),
    ("rules", ""),
    ("rt", ""),
    ("causality", "fields key pack rules"),
    ("ring", "fields key pack rules causality"),
    ("wire", "fields key pack rules causality ring"),
    ("storage", "fields key pack rules causality ring"),
    ("shard", "fields key pack rules causality ring wire storage"),
    ("control", "fields key pack rules causality ring wire"),
    ("server", "fields key pack rules causality ring wire storage shard control rt"),
    ("client", "fields key pack rules causality ring wire rt"),
    ("cli", "fields key pack rules causality ring wire storage server client rt"),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All source files under a path.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        let is_code = path.extension().is_some_and(|extension| extension == "rs");
        return is_code.then(|| path.to_owned()).into_iter().collect();
    }
    let entries = path.read_dir().expect("a folder of sources");
    entries.flat_map(|entry| files(&entry.expect("an entry").path())).collect()
}

/// The code of a file: no comments, which may speak of everything.
fn code(file: &Path) -> String {
    let text = read_to_string(file).expect("a source file");
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    end.map_or(text, |end| &text[..end])
}

#[test]
fn each_part_uses_only_what_stands_to_its_left() {
    for (part, may_use) in LAYERS {
        let (file, folder) = (source().join(format!("{part}.rs")), source().join(part));
        for file in files(if file.is_file() { &file } else { &folder }) {
            for used in code(&file).split("crate::").skip(1).map(word) {
                assert!(!used.is_empty(), "{}: name parts one by one", file.display());
                let known = LAYERS.iter().any(|(part, _)| *part == used);
                let allowed = used == part || may_use.split(' ').any(|other| other == used);
                assert!(allowed || !known, "{} uses {used}", file.display());
            }
        }
    }
}

#[test]
fn the_runtime_is_named_in_one_file() {
    let only = [("async_std::", "rt.rs"), ("smol::", "rt.rs")];
    for (name, place) in only {
        let users = files(&source())
            .into_iter()
            .filter(|file| !file.ends_with("layers.rs") && code(file).contains(name));
        for user in users {
            let within = user.strip_prefix(source()).expect("under src").to_owned();
            assert!(within.to_string_lossy().starts_with(place), "{} names {name}", user.display());
        }
    }
}
