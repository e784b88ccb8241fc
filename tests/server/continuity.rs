//! Which starts go on under the name of the process before: real processes, killed and copied.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use ringdove::causality::Dot;
use ringdove::client::{Client, ClientOptions};
use ringdove::rt;

use super::{eventually, key};

fn start(data: &Path, pages: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringdove"));
    command.args(["start", "--listen", "127.0.0.1:0", "--shards", "2", "--data"]);
    command.arg(data).arg("--pages").arg(pages);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A node in a process of its own. Killed when it is dropped.
struct Peer {
    child: Child,
    client: Client,
}

impl Peer {
    fn start(data: &Path, pages: &Path) -> Self {
        let mut child = start(data, pages).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = lines.find_map(|line| {
            line.unwrap()
                .strip_prefix("listening on ")
                .map(|rest| rest.split(',').next().unwrap().to_owned())
        });
        std::thread::spawn(move || lines.for_each(drop));
        let endpoint = [listening.unwrap()];
        let client = rt::block_on(Client::connect(&endpoint, ClientOptions::default())).unwrap();
        Peer { child, client }
    }

    /// Writes, and gives the dot that was minted for it.
    fn put(&self, name: &str) -> Dot {
        let key = key(name);
        eventually("a put succeeds", || {
            let put = self.client.put(&key, "v").blind();
            rt::block_on(put.send()).map(|put| put.dot.unwrap()).map_err(|error| error.to_string())
        })
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and waits until it has.
    fn stop(mut self) {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(asked.unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Not there any more when it was ended in a test's course.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A data directory and a place for pages.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Place { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(place.pages()).unwrap();
        place
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn pages(&self) -> PathBuf {
        self.dir.path().join("pages")
    }

    fn start(&self) -> Peer {
        Peer::start(&self.data(), &self.pages())
    }

    fn copy(&self, from: &str, to: &str) {
        let path = |name: &str| self.dir.path().join(name);
        let copied = Command::new("cp").arg("-a").args([path(from), path(to)]).status();
        assert!(copied.unwrap().success());
    }
}

#[test]
fn a_killed_process_is_followed_by_one_that_counts_on() {
    let place = Place::new();
    let peer = place.start();
    let first = peer.put("k");
    let elsewhere = peer.put("another slot");
    peer.kill();
    let peer = place.start();
    assert_eq!(peer.put("k"), Dot::new(first.actor, first.counter + 1));
    peer.stop();
    let peer = place.start();
    assert_eq!(peer.put("k"), Dot::new(first.actor, first.counter + 2));
    assert_eq!(peer.put("another slot"), Dot::new(first.actor, elsewhere.counter + 1));
}

#[test]
fn after_a_reboot_it_is_another_actor_that_writes() {
    let place = Place::new();
    let peer = place.start();
    let first = peer.put("k");
    peer.kill();
    // What lies in memory is gone with the boot.
    fs::remove_dir_all(place.pages()).unwrap();
    fs::create_dir(place.pages()).unwrap();
    let peer = place.start();
    assert_ne!(peer.put("k").actor, first.actor);
}

#[test]
fn a_restored_old_copy_is_another_actor_each_time() {
    let place = Place::new();
    let peer = place.start();
    let first = peer.put("k");
    peer.stop();
    place.copy("data", "backup");
    let peer = place.start();
    let lost = peer.put("k");
    assert_eq!(lost.actor, first.actor, "it was the same directory still");
    peer.kill();
    let mut actors = vec![first.actor];
    for _ in 0..2 {
        fs::remove_dir_all(place.data()).unwrap();
        place.copy("backup", "data");
        let peer = place.start();
        let restored = peer.put("k");
        assert!(!actors.contains(&restored.actor), "{restored} may name what was lost: {lost}");
        actors.push(restored.actor);
        peer.kill();
    }
}

fn refused(ended: Output) -> String {
    let err = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{err}");
    err
}

#[test]
fn a_directory_and_its_copy_do_not_run_side_by_side() {
    let place = Place::new();
    let peer = place.start();
    peer.put("k");
    place.copy("data", "copy");
    let copy = place.dir.path().join("copy");
    let err = refused(start(&copy, &place.pages()).output().unwrap());
    assert!(err.contains("it runs on a copy of it, or this is the copy"), "{err}");
    assert!(err.contains("stop the other process, or start with an empty directory"), "{err}");
    let first = peer.put("k");
    let err = refused(start(&place.data(), &place.pages()).output().unwrap());
    assert!(err.contains("in use by another process"), "{err}");
    peer.kill();
    let peer = Peer::start(&copy, &place.pages());
    assert_ne!(peer.put("k").actor, first.actor, "the original went on after it was copied");
    peer.kill();
    let inside = refused(start(&place.data(), &place.data()).output().unwrap());
    assert!(inside.contains("copied along"), "{inside}");
}
