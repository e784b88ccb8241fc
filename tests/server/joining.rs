//! Real processes: a node joins a cluster that exists, and the leader is killed meanwhile.

use std::net::SocketAddr;

use ringdove::rt;
use ringdove::wire::{Answer, Level, MemberLine, Question};

use super::peers::Peer;
use super::{eventually, free_addr, get, put, values};

#[test]
fn a_fourth_process_joins_though_the_leader_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let addrs: Vec<SocketAddr> = (0..4).map(|_| free_addr()).collect();
    let (founders, names) = (&addrs[..3], ["n0", "n1", "n2", "n3"]);
    let start = |place: usize| {
        // With one seed it could not join while that one is dead.
        Peer::start(directory.path(), names[place], addrs[place], founders)
    };
    let mut peers: Vec<Peer> = (0..3).map(start).collect();
    let members = peers[0].wait_for(3);
    put(&peers[0].client(), "before", "1", Level::All);
    let leader = members.iter().find(|line| line.leader).unwrap().addr.clone();
    let leader = addrs.iter().position(|addr| addr.to_string() == leader).unwrap();

    // The newcomer is ready as soon as a seed has answered it; the leader dies while it takes it in, or just before.
    peers.push(start(3));
    eventually("the newcomer is about to join", || {
        let mut others = (0..3).filter(|place| *place != leader);
        let joined = others.any(|place| peers[place].members().len() == 4);
        let answer = rt::block_on(peers[3].client().ask(Question::Status));
        let Ok(Answer::Status(status)) = answer else { return Err(format!("{answer:?}")) };
        let ready = joined || status.waiting.is_empty() || status.waiting.contains("ready to join");
        if ready { Ok(()) } else { Err(status.waiting) }
    });
    peers[leader].kill();

    let others: Vec<usize> = (0..4).filter(|place| *place != leader).collect();
    eventually("the others take it in", || {
        let counts: Vec<usize> = others.iter().map(|place| peers[*place].members().len()).collect();
        if counts == [4; 3] { Ok(()) } else { Err(format!("{counts:?} members")) }
    });
    // Reads and writes go on, through the newcomer too, whatever it owns by now.
    put(&peers[3].client(), "while", "2", Level::Quorum);
    peers[leader] = start(leader);
    let lists: Vec<Vec<MemberLine>> = peers.iter().map(|peer| peer.wait_for(4)).collect();
    for list in &lists {
        let shown = |lines: &[MemberLine]| {
            lines.iter().map(|line| (line.number, line.id.clone())).collect::<Vec<_>>()
        };
        assert_eq!(shown(list), shown(&lists[0]));
        assert_eq!(list.iter().map(|line| line.number).max(), Some(4));
    }
    for peer in &peers {
        eventually("each of four owns three quarters of everything", || {
            let shares: Vec<String> =
                peer.members().into_iter().map(|line| line.share_percent).collect();
            let ring = peer.ring()?;
            let moving = ring.partitions.iter().filter(|at| !at.change.is_empty()).count();
            let even = |share: &String| (24.5..25.5).contains(&share.parse().unwrap());
            let done = shares.iter().all(even) && moving == 0;
            if done { Ok(()) } else { Err(format!("{shares:?} %, {moving} partitions change")) }
        });
        for (name, value) in [("before", "1"), ("while", "2")] {
            let got = eventually("a get succeeds", || {
                get(&peer.client(), name, Level::Quorum).map_err(|error| error.to_string())
            });
            assert_eq!(values(&got), [value]);
        }
    }
}
