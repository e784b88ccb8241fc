//! `--wait stable` with three peers in processes of their own, of which one is stopped and started.

use std::path::Path;

use tempfile::TempDir;

use super::process::{Peer, directory, run};

/// Three peers that found a cluster together.
pub(super) struct Three {
    dir: TempDir,
    addrs: Vec<String>,
    pub(super) peers: Vec<Option<Peer>>,
}

impl Three {
    pub(super) fn start() -> Self {
        let free: Vec<_> =
            (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        let addr = |port: &std::net::TcpListener| port.local_addr().expect("bound").to_string();
        let addrs: Vec<String> = free.iter().map(addr).collect();
        drop(free);
        let mut three = Three { dir: directory(), addrs, peers: Vec::new() };
        three.peers = (0..3).map(|peer| Some(three.listening(peer))).collect();
        for peer in three.peers.iter().flatten() {
            peer.says("serving cluster ");
        }
        three.wait_until_whole();
        three
    }

    fn listening(&self, peer: usize) -> Peer {
        let name = ["ann", "bob", "cyd"][peer];
        let data = self.dir.path().join(name);
        let data = Path::to_str(&data).expect("a path in UTF-8");
        let seeds = self.addrs.join(",");
        let listen = &self.addrs[peer];
        let args = ["start", "--name", name, "--listen", listen, "--seeds", &seeds, "--data", data];
        Peer::listening(&args)
    }

    /// Starts a peer again that was stopped.
    pub(super) fn restart(&mut self, peer: usize) {
        let again = self.listening(peer);
        again.says("serving cluster ");
        self.peers[peer] = Some(again);
        self.wait_until_whole();
    }

    fn wait_until_whole(&self) {
        let all = self.addrs.join(",");
        run(&["status", "--wait", "1m", "--endpoint", &all]).with(0);
    }

    pub(super) fn at(&self, peer: usize) -> &Peer {
        self.peers[peer].as_ref().expect("it runs")
    }
}

#[test]
fn a_delete_is_stable_when_every_owner_has_it() {
    let mut three = Three::start();
    let told = three.at(0).run(&["put", "cart", "tea", "--wait", "stable"]).with(0);
    assert!(told.out.starts_with("ok written: on the disk of "), "{}", told.out);
    assert!(told.out.ends_with("\nok stable: every owner has it\n"), "{}", told.out);
    let told = three.at(1).run(&["put", "cart", "milk", "--wait", "stable", "-o", "json"]).with(0);
    assert_eq!(told.json()["stable"], true);
    let told = three.at(1).run(&["put", "other", "milk", "-o", "json"]).with(0);
    assert!(told.json().get("stable").is_none(), "nobody asked: {}", told.out);

    assert_eq!(three.peers[2].take().expect("it runs").stop(), 0);
    let delete = ["delete", "cart", "--wait", "stable", "--wait-time", "300ms"];
    let told = three.at(0).run(&delete).with(5);
    for part in [
        "error: cart is deleted, but after 300ms not every owner has it: no word of it from cyd\n",
        "state: it is on the disk of 2 owners (2 asked for), and reaches every owner by itself",
        "ringdove members       who is down\n",
        "ringdove explain cart  who has what\n",
    ] {
        assert!(told.err.contains(part), "{part}: {}", told.err);
    }
    assert!(told.out.is_empty(), "{}", told.out);
    three.at(0).run(&["get", "cart"]).with(3);
    // The floor that is told is one to wait with: cyd has not seen the delete.
    let again = told.err.lines().last().expect("a command").trim();
    let again: Vec<&str> = again.split_whitespace().skip(1).collect();
    assert_eq!(again[..4], ["get", "cart", "-r", "all"], "{}", told.err);
    three.at(1).run(&again).with(5);

    let put = ["put", "other", "tea", "--wait", "stable", "--wait-time", "1ms", "-o", "json"];
    let told = three.at(0).run(&put).with(5);
    assert_eq!((&told.json()["stable"], &told.json()["outcome"]), (&false.into(), &"ok".into()));
    let error = told.error();
    assert_eq!((&error["detail"], &error["exit"]), (&"not_stable".into(), &5.into()));

    // A wait that began while it is down ends when it is back.
    let addr = three.at(0).addr.clone();
    let waiting = std::thread::spawn(move || {
        run(&["delete", "other", "--wait", "stable", "--endpoint", &addr])
    });
    three.restart(2);
    waiting.join().expect("it ends").with(0);
    three.at(1).run(&again).with(3);
    for peer in 0..3 {
        three.at(peer).run(&["get", "other", "-r", "one"]).with(3);
    }
}

#[test]
fn what_waits_for_what_is_checked() {
    run(&["delete", "k", "--wait", "forever"]).with(2);
    run(&["put", "k", "v", "--wait", "stable", "--wait-time", "soon"]).with(2);
    run(&["put", "--lines", "-", "--wait", "stable"]).with(2);
}
