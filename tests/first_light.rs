//! The stories that the README tells, played by real processes, and its commands, run.
//!
//! Each script is one that a reader can run too. Ports are chosen by the system, and everything that
//! is started is ended by its own process id.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Three ports that are free now.
fn ports() -> String {
    let listeners: Vec<TcpListener> =
        (0..3).map(|_| TcpListener::bind("127.0.0.1:0").expect("loopback")).collect();
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

/// The other runtime is built and runs the same example.
#[test]
fn the_same_node_runs_on_smol() {
    let target: PathBuf = Path::new(env!("CARGO_BIN_EXE_ringdove"))
        .ancestors()
        .nth(2)
        .expect("a target directory")
        .join("smol");
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--package", "ringdove", "--example", "cart"])
        .args(["--no-default-features", "--features", "rt-smol"])
        .arg("--target-dir")
        .arg(target)
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .expect("cargo runs");
    let told = text_of_success("the cart example on smol", output);
    assert!(told.contains("resolved"), "{told}");
}
