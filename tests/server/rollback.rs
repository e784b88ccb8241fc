//! A node whose disk went back in time: what readers notice of it, and until when.

use std::fs;
use std::process::Command;

use ringdove::client::ClientError;
use ringdove::server::{Node, NodeConfig, StartError};
use ringdove::wire::{FailureCode, Level};

use super::{Cluster, eventually, get, put, values};

impl Cluster {
    fn kill(&mut self, node: usize) {
        self.nodes[node].take().unwrap().kill();
    }

    /// The directory of a node that does not run, and where a copy of it is put aside.
    fn copy(&self, from: &str, to: &str) {
        let path = |name: &str| self.directory.path().join(name);
        let copied = Command::new("cp").arg("-a").args([path(from), path(to)]).status();
        assert!(copied.unwrap().success());
    }
}

#[test]
fn who_came_back_with_less_answers_no_quorum_before_it_has_heard_who_has_more() {
    let mut cluster = Cluster::start(&[2, 1, 2]);
    put(&cluster.client(0), "early", "tea", Level::All);
    cluster.kill(2);
    cluster.copy("n2", "backup");
    cluster.start_node(2);
    cluster.wait_until_whole();
    // Only n0 and n2 have the next one ...
    cluster.kill(1);
    cluster.wait_for_up(0, 2);
    put(&cluster.client(0), "late", "milk", Level::Quorum);
    // ... and n2 forgets it, while n0 is away and n1, which never had it, is there.
    cluster.kill(2);
    cluster.kill(0);
    fs::remove_dir_all(cluster.directory.path().join("n2")).unwrap();
    cluster.copy("backup", "n2");
    cluster.start_node(1);
    cluster.start_node(2);
    for node in [1, 2] {
        cluster.wait_for_up(node, 2);
        let client = cluster.client(node);
        for name in ["early", "late"] {
            let refused = get(&client, name, Level::Quorum).unwrap_err();
            let ClientError::Refused(failure) = &refused else { panic!("{refused:?}") };
            assert_eq!(failure.code, FailureCode::LevelNotMet, "{refused}");
            assert!(refused.to_string().contains("catching up"), "{refused}");
        }
        assert_eq!(values(&get(&client, "early", Level::One).unwrap()), ["tea"]);
        cluster.wait_for(node, |status| {
            status.sentences.iter().any(|line| line.starts_with("n2 lost synced data"))
        });
    }
    cluster.start_node(0);
    cluster.wait_until_whole();
    cluster.wait_for(1, |status| {
        !status.sentences.iter().any(|line| line.contains("lost synced data"))
    });
    // Now n2 has it, and may vouch for it without n0.
    cluster.kill(0);
    cluster.wait_for_up(1, 2);
    let client = cluster.client(1);
    eventually("a quorum has it", || {
        let got = get(&client, "late", Level::Quorum).map_err(|error| error.to_string())?;
        if values(&got) == ["milk"] { Ok(()) } else { Err(format!("{got:?}")) }
    });
}

#[test]
fn a_damaged_log_is_salvaged_when_that_is_asked_for_and_the_peers_bring_the_rest() {
    let mut cluster = Cluster::start(&[1, 1, 1]);
    let client = cluster.client(0);
    for number in 0..20 {
        put(&client, &format!("k{number}"), &format!("v{number}"), Level::All);
    }
    // Only n2 has these.
    cluster.kill(0);
    cluster.kill(1);
    cluster.wait_for_up(2, 1);
    for number in 0..5 {
        put(&cluster.client(2), &format!("alone{number}"), "v", Level::One);
    }
    cluster.kill(2);
    let shard = cluster.directory.path().join("n2/shard-0");
    let segment = shard.join("00000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    // In the body of the first batch, which later ones say was synced.
    bytes[60] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let refused = Node::start(cluster.config(2)).unwrap_err();
    assert!(matches!(refused, StartError::Store { shard: 0, .. }), "{refused:?}");
    assert!(!shard.with_extension("damaged-1").exists(), "nothing is replaced unasked");

    let salvaging = || NodeConfig { salvage: true, ..cluster.config(2) };
    let salvaged =
        eventually("n2 starts", || Node::start(salvaging()).map_err(|error| error.to_string()));
    let kept = fs::read(shard.with_extension("damaged-1").join("00000001.seg")).unwrap();
    assert_eq!(kept, bytes, "the damaged log is kept as it was");
    cluster.nodes[2] = Some(salvaged);
    for node in [0, 1] {
        cluster.start_node(node);
    }
    cluster.wait_until_whole();
    cluster.wait_for(1, |status| {
        !status.sentences.iter().any(|line| line.contains("lost synced data"))
    });
    let client = cluster.client(1);
    for number in 0..20 {
        let got = get(&client, &format!("k{number}"), Level::All).unwrap();
        assert_eq!(values(&got), [format!("v{number}")]);
    }
    for number in 0..5 {
        let got = get(&client, &format!("alone{number}"), Level::All).unwrap();
        assert_eq!(values(&got), ["v"], "what no other disk has was saved");
    }
}
