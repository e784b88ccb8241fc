//! `siblings resolve --merge` and `--edit` on real siblings, with editors that are small scripts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::process::{Ended, Peer, directory, ringdove};
use super::stable::Three;

/// Makes these values siblings.
fn conflict(peer: &Peer, key: &str, values: &[&str]) {
    for value in values {
        peer.run(&["put", key, value, "--blind"]).with(0);
    }
}

#[test]
fn json_siblings_are_united() {
    let dir = directory();
    let peer = Peer::start(&dir.path().join("data"));
    let resolve = |key: &str, more: &[&str]| {
        peer.run(&[&["siblings", "resolve", key, "--merge", "json-union"], more].concat())
    };
    let ann = r#"{"items":["pen","book"],"paid":false}"#;
    conflict(&peer, "cart", &[ann, r#"{"items":["book","lamp"],"note":"née"}"#]);
    let told = resolve("cart", &[]).with(0);
    assert!(told.err.contains("nobody holds the common ancestor any more"), "{}", told.err);
    let all = r#"{"items":["pen","book","lamp"],"note":"née","paid":false}"#;
    assert_eq!(peer.run(&["get", "cart"]).with(0).out, all);
    let told = resolve("cart", &[]).with(0);
    assert!(told.err.contains("one value already; nothing was written"), "{}", told.err);

    // What is the union already is kept to the byte; two spaces and all.
    conflict(&peer, "same", &[r#"{"b":1,  "a":2}"#, r#"{"a":2}"#]);
    resolve("same", &[]).with(0);
    assert_eq!(peer.run(&["get", "same"]).with(0).out, r#"{"b":1,  "a":2}"#);

    conflict(&peer, "price", &[r#"{"eur":{"net":1,"tax":2}}"#, r#"{"eur":{"net":"1","tax":3}}"#]);
    let told = resolve("price", &[]).with(4);
    for part in [
        "error: price cannot be merged: its values differ in 2 places",
        "$.eur.net: #1 has 1, #2 has \"1\"\n",
        "$.eur.tax: #1 has 2, #2 has 3\n",
        "state: nothing was written",
    ] {
        assert!(told.err.contains(part), "{part}: {}", told.err);
    }
    peer.run(&["get", "price"]).with(4);

    conflict(&peer, "text", &["[1]", "tea"]);
    let told = resolve("text", &[]).with(1);
    assert!(told.err.contains("value #2 is no JSON"), "{}", told.err);
    conflict(&peer, "twice", &[r#"{"a":1}"#, r#"{"a":1,"a":2}"#]);
    assert!(resolve("twice", &[]).with(1).err.contains("twice"));
    resolve("absent", &[]).with(3);

    // With what they came from, a removal is one.
    let base = dir.path().join("base.json");
    let path = base.to_str().expect("UTF-8");
    fs::write(&base, r#"{"items":["pen","book"],"n":1}"#).expect("written");
    let pair = [r#"{"items":["book"],"n":1}"#, r#"{"items":["pen","book","lamp"],"n":2}"#];
    conflict(&peer, "three", &pair);
    resolve("three", &["--base", path]).with(0);
    assert_eq!(peer.run(&["get", "three"]).with(0).out, r#"{"items":["book","lamp"],"n":2}"#);
    resolve("three", &["--base", "/no/such/file"]).with(1);
    resolve("three", &["--pick", "1"]).with(2);
    peer.run(&["siblings", "resolve", "three", "--pick", "1", "--base", path]).with(2);
}

/// An owner that was away holds the value that the others replaced: what their siblings came from.
/// Slot sync soon tells it otherwise, so the ancestor may be gone before anybody asks. The command
/// says which merge it is, and one of a few attempts is early enough.
#[test]
fn an_owner_that_was_away_still_holds_the_ancestor() {
    let mut three = Three::start();
    for attempt in 0..20 {
        let key = format!("cart {attempt}");
        let put = ["put", &key, r#"{"a":1,"b":1}"#, "-w", "all", "-o", "json"];
        let context = three.at(0).run(&put).with(0).json()["context"].clone();
        let context = context.as_str().expect("a context");
        assert_eq!(three.peers[2].take().expect("it runs").stop(), 0);
        three.at(0).run(&["put", &key, r#"{"b":1}"#, "--context", context]).with(0);
        three.at(1).run(&["put", &key, r#"{"a":1,"b":2}"#, "--context", context]).with(0);
        let resolve = ["siblings", "resolve", &key, "--merge", "json-union"];
        let in_vain = |told: &Ended| {
            assert!(told.err.contains("nobody holds the common ancestor"), "{}", told.err);
            assert!(told.err.contains("$.b: #1 has 1, #2 has 2"), "{}", told.err);
        };
        in_vain(&three.at(0).run(&resolve).with(4));
        three.restart(2);
        let told = three.at(0).run(&resolve);
        if told.code != 0 {
            in_vain(&told);
            continue;
        }
        let words = "note: cyd still holds the common ancestor, written by cli via ann at ";
        assert!(told.err.contains(words), "{}", told.err);
        assert_eq!(three.at(1).run(&["get", &key]).with(0).out, r#"{"b":2}"#);
        return;
    }
    panic!("it was always too late");
}

/// An editor: a script that finds the file's path in `$1`.
fn script(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("editor.sh");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its own file");
    path
}

struct Desk {
    dir: tempfile::TempDir,
    peer: Peer,
}

impl Desk {
    fn edit(&self, key: &str, script_text: &str) -> Ended {
        let editor = script(self.dir.path(), script_text);
        self.run(key, Some(editor.to_str().expect("UTF-8")))
    }

    fn run(&self, key: &str, editor: Option<&str>) -> Ended {
        let mut command = ringdove(&["siblings", "resolve", key, "--edit"]);
        command.env("RINGDOVE_ENDPOINT", &self.peer.addr).env("TMPDIR", self.drafts());
        command.env_remove("EDITOR").env_remove("VISUAL");
        if let Some(editor) = editor {
            command.env("EDITOR", "false").env("VISUAL", editor);
        }
        Ended::of(command.output().expect("it runs"))
    }

    fn drafts(&self) -> PathBuf {
        let drafts = self.dir.path().join("drafts");
        fs::create_dir_all(&drafts).expect("made");
        drafts
    }

    /// The files that are left, which are removed.
    fn left(&self) -> Vec<String> {
        let paths = fs::read_dir(self.drafts()).expect("listed").map(|file| file.expect("a file"));
        let take = |file: fs::DirEntry| {
            let text = fs::read_to_string(file.path()).expect("text");
            fs::remove_file(file.path()).expect("removed");
            text
        };
        paths.map(take).collect()
    }

    fn get(&self, key: &str) -> String {
        self.peer.run(&["get", key]).with(0).out
    }
}

#[test]
fn siblings_are_merged_by_hand() {
    let dir = directory();
    let peer = Peer::start(&dir.path().join("data"));
    let desk = Desk { dir, peer };
    conflict(&desk.peer, "poem", &["one\ntwo\nend", "one\nzwei\nend"]);
    desk.peer.run(&["get", "poem"]).with(4);

    let told = desk.run("poem", None).with(2);
    assert!(told.err.contains("neither VISUAL nor EDITOR is set"), "{}", told.err);
    let nothing = [
        ("true", "the file was left as it was"),
        (": >\"$1\"", "the file was left empty"),
        ("exit 3", "the editor failed (exit status: 3)"),
    ];
    for (script, words) in nothing {
        let told = desk.edit("poem", script).with(1);
        assert!(told.err.contains(words), "{}", told.err);
        assert!(told.err.contains("state: nothing was written"), "{}", told.err);
        assert_eq!(desk.left(), Vec::<String>::new(), "no work is in it: {words}");
    }
    let work = [
        ("echo my end >>\"$1\"", "line 2 is a conflict marker still"),
        ("echo my end >\"$1\"; exit 1", "the editor failed (exit status: 1)"),
    ];
    for (script, words) in work {
        let told = desk.edit("poem", script).with(1);
        assert!(told.err.contains(words), "{}", told.err);
        assert!(told.err.contains("what was edited is kept in "), "{}", told.err);
        assert!(told.err.contains("ringdove siblings resolve poem --value - < "), "{}", told.err);
        let left = desk.left();
        assert_eq!(left.len(), 1);
        assert!(left[0].contains("my end\n"), "what was typed is in it: {left:?}");
    }
    desk.peer.run(&["get", "poem"]).with(4);

    // The editor sees the blocks, and may be a command with arguments.
    let seen = desk.dir.path().join("seen");
    let editor = format!("sed -i.before -e '/^[<=>]/d' -e w{}", seen.display());
    let told = desk.run("poem", Some(&editor)).with(0);
    assert!(told.out.starts_with("ok resolved: "), "{}", told.out);
    assert_eq!(desk.get("poem"), "one\ntwo\nzwei\nend");
    let left = desk.left();
    assert_eq!(left.len(), 1, "what the editor left is its own");
    let lines: Vec<&str> = left[0].lines().collect();
    assert!(lines[1].starts_with("<<<<<<< #1 written by cli via ann at "), "{lines:?}");
    assert_eq!((lines[0], lines[2], lines[3], lines[4]), ("one", "two", "=======", "zwei"));
    assert!(lines[5].starts_with(">>>>>>> #2 written by cli via ann at "), "{lines:?}");
    assert_eq!(lines[6..], ["end"]);

    let told = desk.edit("poem", "exit 1").with(0);
    assert!(told.err.contains("one value already"), "no editor is opened: {}", told.err);
}

#[test]
fn what_comes_while_the_editor_is_open_is_left() {
    let dir = directory();
    let peer = Peer::start(&dir.path().join("data"));
    let addr = peer.addr.clone();
    let desk = Desk { dir, peer };
    conflict(&desk.peer, "cart", &["tea", "milk"]);
    let put = format!(
        "{} put cart honey --blind --endpoint {addr} && echo 'tea, milk' >\"$1\"",
        env!("CARGO_BIN_EXE_ringdove")
    );
    let told = desk.edit("cart", &put).with(4);
    assert!(told.out.contains("ok resolved: "), "{}", told.out);
    assert!(told.err.contains("cart still has 2 conflicting values"), "{}", told.err);
    assert!(told.err.contains("those that came meanwhile"), "{}", told.err);
    assert_eq!(desk.peer.run(&["get", "cart", "--all"]).with(0).out, "honey\ntea, milk\n");
    assert_eq!(desk.left(), Vec::<String>::new(), "the work is written");

    // A node that is gone when the work is done: it is kept.
    let Desk { dir, peer } = desk;
    let pid = peer.child.id();
    let desk = Desk { dir, peer };
    let told = desk.edit("cart", &format!("echo all >\"$1\"; kill -9 {pid}"));
    assert!(matches!(told.code, 5 | 6), "{}: {}", told.code, told.err);
    assert!(told.err.contains("what was edited is kept in "), "{}", told.err);
    assert_eq!(desk.left(), ["all\n"]);
}

#[test]
fn bytes_are_not_edited() {
    let dir = directory();
    let peer = Peer::start(&dir.path().join("data"));
    let desk = Desk { dir, peer };
    conflict(&desk.peer, "photo", &["text"]);
    desk.peer.fed(&["put", "photo", "-", "--blind"], &[0xff, 0]).with(0);
    let told = desk.edit("photo", "echo x >\"$1\"").with(1);
    assert!(told.err.contains("is not text, so it cannot be edited"), "{}", told.err);
    assert_eq!(desk.left(), Vec::<String>::new());
}
