//! The command run once, and nodes in processes of their own.
//!
//! Invariant: waits are for conditions, within a bound; a node that was started ends when it is dropped.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn ringdove(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringdove"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RINGDOVE_")) {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// How a command ended.
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ended {
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let code = output.status.code().expect("it was not killed");
        Ended { code, out: text(output.stdout), err: text(output.stderr) }
    }

    /// Checks the exit code.
    pub fn with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// The error object on standard error.
    pub fn error(&self) -> Value {
        let line = self.err.lines().last().unwrap_or_default();
        let value: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {}", self.err));
        value["error"].clone()
    }
}

pub fn run(args: &[&str]) -> Ended {
    Ended::of(ringdove(args).output().expect("it runs"))
}

pub fn fed(args: &[&str], input: &[u8]) -> Ended {
    let mut child = ringdove(args).stdin(Stdio::piped()).spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let ended = Ended::of(child.wait_with_output().expect("it ends"));
    feeder.join().expect("the input was written, or nobody wanted it");
    ended
}

/// A node in a process of its own.
pub struct Peer {
    pub child: Child,
    _pages: TempDir,
    lines: Receiver<String>,
    pub addr: String,
}

impl Peer {
    pub fn start(data: &Path) -> Self {
        let data = data.to_str().expect("a path in UTF-8");
        Peer::serving(&["start", "--listen", "127.0.0.1:0", "--data", data, "--name", "ann"])
    }

    /// One that has a cluster.
    pub fn serving(args: &[&str]) -> Self {
        let peer = Peer::listening(args);
        peer.says("serving cluster ");
        peer
    }

    /// One that may still wait for others.
    pub fn listening(args: &[&str]) -> Self {
        let pages = tempfile::tempdir().expect("a temporary directory");
        let mut child = ringdove(args);
        let mut child = child.env("RINGDOVE_PAGES", pages.path()).spawn().expect("it runs");
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().expect("piped"));
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut peer = Peer { child, _pages: pages, lines, addr: String::new() };
        let listening = peer.says("listening on ");
        let words: Vec<&str> = listening.split([' ', ',']).collect();
        peer.addr = words[2].to_owned();
        peer
    }

    /// Waits for a line that begins so.
    pub fn says(&self, front: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|error| panic!("it never said {front:?}: {error}"));
            if line.starts_with(front) {
                return line;
            }
        }
    }

    pub fn run(&self, args: &[&str]) -> Ended {
        run(&[args, &["--endpoint", &self.addr]].concat())
    }

    pub fn fed(&self, args: &[&str], input: &[u8]) -> Ended {
        fed(&[args, &["--endpoint", &self.addr]].concat(), input)
    }

    /// Asks it to stop, as a service manager does, and returns its exit code.
    pub fn stop(mut self) -> i32 {
        let id = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        assert!(asked.success());
        self.says("stopped; ");
        self.child.wait().expect("it ends").code().expect("it ended by itself")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}
