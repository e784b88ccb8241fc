//! A node whose disk went back in time: what readers notice of it, and until when.

use std::fs;
use std::process::Command;

use ringdove::client::ClientError;
use ringdove::rt;
use ringdove::server::{Node, NodeConfig, StartError};
use ringdove::wire::{Answer, FailureCode, Level, Question};

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

/// The number of a member in a node's ring.
fn number_of(cluster: &Cluster, node: usize, name: &str) -> u16 {
    let answer = rt::block_on(cluster.client(node).ask(Question::Members)).unwrap();
    let Answer::Members(members) = answer else { panic!("{answer:?}") };
    members.iter().find(|line| line.name == name).unwrap().number
}

#[test]
fn who_came_back_with_less_answers_no_quorum_before_it_has_heard_who_has_more() {
    let mut cluster = Cluster::start(&[2, 1, 2]);
    put(&cluster.client(0), "early", "tea", Level::All);
    cluster.kill(2);
    cluster.copy("n2", "backup");
    cluster.start_node(2);
    cluster.wait_until_whole();
    let before = number_of(&cluster, 0, "n2");
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
    // n1 alone decides nothing, and n2 is not the member any more that it was: it vouches for nothing.
    cluster.wait_for(2, |status| status.waiting.contains("ready to join"));
    let client = cluster.client(1);
    for name in ["early", "late"] {
        let refused = get(&client, name, Level::Quorum).unwrap_err();
        let ClientError::Refused(failure) = &refused else { panic!("{refused:?}") };
        assert_eq!(failure.code, FailureCode::LevelNotMet, "{refused}");
    }
    assert_eq!(values(&get(&client, "early", Level::One).unwrap()), ["tea"]);
    cluster.start_node(0);
    // With n0 it is taken in, and takes the place of what it was.
    cluster.wait_for(2, |status| status.waiting.is_empty() && status.members == 3);
    cluster.wait_until_whole();
    assert!(number_of(&cluster, 1, "n2") > before, "it has a number of its own");
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
fn a_wiped_directory_takes_its_own_place_by_itself() {
    let mut cluster = Cluster::start(&[1, 1, 2]);
    for number in 0..50 {
        put(&cluster.client(0), &format!("k{number}"), &format!("v{number}"), Level::All);
    }
    let before = number_of(&cluster, 0, "n2");
    cluster.kill(2);
    fs::remove_dir_all(cluster.directory.path().join("n2")).unwrap();
    cluster.start_node(2);
    cluster.wait_for(2, |status| status.waiting.is_empty() && status.members == 3);
    cluster.wait_until_whole();
    assert!(number_of(&cluster, 2, "n2") > before);
    // It has all that it is to have: the other two may go.
    cluster.kill(0);
    cluster.kill(1);
    cluster.wait_for_up(2, 1);
    for number in 0..50 {
        let got = get(&cluster.client(2), &format!("k{number}"), Level::One).unwrap();
        assert_eq!(values(&got), [format!("v{number}")]);
    }
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
    // It takes the place of what it was, and what only it has reaches the others.
    cluster.wait_for(2, |status| status.waiting.is_empty() && status.members == 3);
    cluster.wait_until_whole();
    cluster.wait_for(1, |status| status.moves.is_empty());
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
