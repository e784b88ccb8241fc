//! Disks that are gone for good, more of a row's than it can spare: what an operator says about them, and what comes of it.

use std::fs;

use ringdove::rt;
use ringdove::wire::{Answer, Level, Proposed, Question};

use super::{Cluster, eventually, get, put, values};

fn change(cluster: &Cluster, node: usize, changes: &[Proposed]) -> Result<(), String> {
    let (basis, changes) = (String::new(), changes.to_vec());
    match rt::block_on(cluster.client(node).ask(Question::Change { basis, changes })) {
        Ok(Answer::Changed(_)) => Ok(()),
        Ok(other) => Err(format!("{other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

fn leave(name: &str, lost: bool) -> Proposed {
    Proposed::Leave { member: name.to_owned(), lost }
}

#[test]
fn what_two_lost_disks_leave_of_a_row_is_made_whole_again_when_an_operator_says_so() {
    let mut cluster = Cluster::start(&[1, 1, 1, 2, 1]);
    for number in 0..60 {
        put(&cluster.client(0), &format!("k{number}"), &format!("v{number}"), Level::All);
    }
    for node in [3, 4] {
        cluster.nodes[node].take().unwrap().kill();
        fs::remove_dir_all(cluster.directory.path().join(format!("n{node}"))).unwrap();
    }
    cluster.wait_for_up(0, 3);
    eventually("both are to leave", || {
        change(&cluster, 1, &[leave("n3", false), leave("n4", false)])
    });
    // Rows that had both as owners cannot know what was acknowledged by these two alone.
    eventually("the doctor says what is stuck, and what gives it up", || {
        let answer = rt::block_on(cluster.client(2).ask(Question::Doctor));
        let Ok(Answer::Doctor(findings)) = answer else { return Err(format!("{answer:?}")) };
        let stuck = findings.iter().find(|one| one.what.contains("cannot go on"));
        let told = stuck.is_some_and(|one| one.next.contains("--lost"));
        if told { Ok(()) } else { Err(format!("{findings:?}")) }
    });
    let refused = change(&cluster, 0, &[leave("n1", true)]).unwrap_err();
    assert!(refused.contains("n1 answers"), "{refused}");

    eventually("they are given up", || {
        change(&cluster, 2, &[leave("n3", true), leave("n4", true)])
    });
    for node in 0..3 {
        cluster.wait_for(node, |status| {
            status.members == 3 && status.moves.is_empty() && status.health == "healthy"
        });
    }
    for number in 0..60 {
        let name = format!("k{number}");
        for node in 0..3 {
            let got = eventually("a read of all owners", || {
                get(&cluster.client(node), &name, Level::All).map_err(|error| error.to_string())
            });
            assert_eq!(values(&got), [format!("v{number}")]);
        }
    }
}
