//! The simulator's commands in the README are run as they stand there.

use std::path::Path;
use std::process::Command;

/// The arguments of every command in a page that begins like this.
fn commands(page: &str, begin: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = std::fs::read_to_string(path).expect("the page is there");
    let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix(begin));
    lines.map(|args| args.split_whitespace().map(str::to_owned).collect()).collect()
}

fn run(args: &[String]) -> String {
    let ran = Command::new(env!("CARGO_BIN_EXE_ringdove-sim")).args(args).output();
    let ran = ran.expect("the simulator was built");
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let err = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{args:?}: {text}{err}");
    text
}

#[test]
fn the_command_in_the_readme_keeps_every_promise() {
    let commands = commands("../../README.md", "cargo run -p ringdove-sim -- ");
    assert!(!commands.is_empty(), "the README has a command of the simulator");
    for args in commands {
        let text = run(&args);
        assert!(text.contains("every promise kept"), "{args:?}: {text}");
    }
}

#[test]
fn a_replay_tells_everything_that_happened() {
    for args in commands("README.md", "cargo run -p ringdove-sim -- replay ") {
        let args = [vec!["replay".to_owned()], args].concat();
        let text = run(&args);
        assert!(text.contains("put-reply") && text.lines().count() > 100, "{args:?}: {text}");
    }
}
