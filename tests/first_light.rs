//! The stories that the README tells, played by real processes, and its commands, run.
//!
//! Each script is one that a reader can run too. Ports are chosen by the system, and everything that
//! is started is ended by its own process id.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Four ports that are free now.
fn ports() -> String {
    let listeners: Vec<TcpListener> =
        (0..4).map(|_| TcpListener::bind("127.0.0.1:0").expect("loopback")).collect();
    let ports = listeners.iter().map(|l| l.local_addr().expect("bound").port().to_string());
    ports.collect::<Vec<_>>().join(" ")
}

fn story(script: &str) -> String {
    let output = Command::new("bash")
        .arg(root().join("tools").join(script))
        .env("RINGDOVE", env!("CARGO_BIN_EXE_ringdove"))
        .env("PORTS", ports())
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    text_of_success(script, output)
}

fn text_of_success(what: &str, output: Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {}\n{text}\n{errors}", output.status);
    text
}

#[test]
fn a_dictionary_survives_a_crash_of_one_of_three_processes() {
    let told = story("words.sh");
    assert!(
        told.contains("100000 words written, 100000 read back: none missing, none wrong"),
        "{told}"
    );
}

#[test]
fn a_stopped_process_comes_back_to_a_conflict_that_is_explained_and_resolved() {
    let told = story("stopped.sh");
    let after =
        |mark: &str| told.split_once(mark).unwrap_or_else(|| panic!("no {mark:?} in\n{told}")).1;
    let shown = after("$ ringdove siblings show cart");
    assert!(shown.contains("book, pen") && shown.contains("book, lamp"), "{told}");
    assert!(
        after("$ ringdove get cart\n").contains("(exit code 4)"),
        "one value was asked for\n{told}"
    );
    let resolved = after("$ ringdove siblings resolve");
    assert!(resolved.contains("$ ringdove get cart -r all\nbook, pen, lamp"), "{told}");
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("the README")
}

/// The text of the first fenced block of this language after `mark`.
fn block<'a>(text: &'a str, mark: &str, language: &str) -> &'a str {
    let after = text.split_once(mark).unwrap_or_else(|| panic!("no {mark:?} in the README")).1;
    let fence = format!("```{language}\n");
    let after = after.split_once(&fence).expect("a fenced block").1;
    after.split_once("```").expect("the end of the block").0
}

#[test]
fn the_transcript_in_the_readme_is_what_the_demo_says() {
    let readme = readme();
    let transcript = block(&readme, "## A conflict", "console");
    let commands: String = transcript
        .lines()
        .filter_map(|line| line.strip_prefix("a> "))
        .map(|command| format!("{command}\n"))
        .collect();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_ringdove"))
        .arg("demo")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the demo starts");
    std::io::Write::write_all(demo.stdin.as_mut().expect("piped"), commands.as_bytes())
        .expect("it reads");
    let told = text_of_success("demo", demo.wait_with_output().expect("the demo ends"));
    // Every line of the transcript stands in what was told, in this order; `…` is any rest of a line.
    let mut rest = told.lines();
    for line in transcript.lines().filter(|line| !line.is_empty()) {
        let found = match line.strip_suffix('…') {
            Some(start) => rest.any(|told| told.starts_with(start)),
            None => rest.any(|told| told == line),
        };
        assert!(found, "the README says {line:?}, and the demo said\n{told}");
    }
}

#[test]
fn the_peers_of_the_readme_start_answer_and_change() {
    let readme = readme();
    let parts = ["## Three peers", "## Growing"].map(|mark| block(&readme, mark, "sh"));
    let mut script = parts.concat();
    for (port, free) in ["7401", "7402", "7403", "7404"].into_iter().zip(ports().split(' ')) {
        script = script.replace(port, free);
    }
    let home = tempfile::tempdir().expect("a directory");
    let binary = Path::new(env!("CARGO_BIN_EXE_ringdove")).parent().expect("a folder").to_owned();
    let path = std::env::var("PATH").expect("a path");
    // The peers log to files, so that what is left on the output are the answers. All are ended.
    let script = script.replace(" &\n", " >>peers.log 2>&1 &\n");
    let output = Command::new("bash")
        .arg("-euc")
        .arg(format!("trap 'kill -KILL $(jobs -p); wait' EXIT\n{script}"))
        .env("PATH", format!("{}:{path}", binary.display()))
        .current_dir(home.path())
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let told = text_of_success("three peers", output);
    assert_eq!(told.matches("\nhello").count(), 2, "{told}");
    for line in
        ["UN  bob", "4 members", "leave bob", "Decided: the ring is at epoch", "Nothing is stuck"]
    {
        assert!(told.contains(line), "{line:?} is not in\n{told}");
    }
}

#[test]
fn the_tour_and_the_examples_run_to_their_ends() {
    let tour = Command::new(env!("CARGO_BIN_EXE_ringdove"))
        .args(["demo", "--tour"])
        .stdin(Stdio::null())
        .output()
        .expect("the tour starts");
    text_of_success("the tour", tour);
    assert!(example("embedded").contains("hello from inside"));
    sold(&example("cart"));
}

/// What an example says; Cargo builds it with the tests.
fn example(name: &str) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_ringdove")).with_file_name("examples").join(name);
    let output = Command::new(binary).stdin(Stdio::null()).output().expect("it was built");
    text_of_success(name, output)
}

/// Whether the two tills met, and sold a pen and a lamp.
fn sold(told: &str) {
    for part in ["  book, pen ", "  book, lamp ", "resolved: book, lamp, pen\n"] {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
}

#[test]
fn the_same_nodes_run_on_smol() {
    // In a target directory of its own, and unoptimised: what is to be shown is that it builds and
    // works. With the lowest priority, for the stories told beside it wait for heartbeats.
    let output = Command::new("nice")
        .args(["-n", "19", env!("CARGO"), "run", "--locked", "--quiet", "--package", "ringdove"])
        .args(["--no-default-features", "--features", "rt-smol", "--example", "cart"])
        .arg("--target-dir")
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("smol"))
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "0")
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .expect("cargo runs");
    sold(&text_of_success("cart on smol", output));
}
