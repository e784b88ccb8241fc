//! Directories and disks that are in use, slow, damaged or full: what a node refuses, and how it comes back.

use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

use ringdove::client::{Client, ClientError, ClientOptions};
use ringdove::rt;
use ringdove::server::{Node, NodeConfig, StartError, SyncMode};
use ringdove::storage::StoreError;
use ringdove::wire::{Answer, FailureCode, Level, Question};

use super::{Cluster, eventually, free_addr, get, key, put, values};

#[test]
fn a_directory_is_used_by_one_node_and_keeps_its_shards() {
    let mut cluster = Cluster::start(&[2]);
    let config = NodeConfig { listen: free_addr(), ..cluster.config(0) };
    let refused = Node::start(config.clone());
    assert!(matches!(refused, Err(StartError::Directory(_))), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains("in use by another process"));
    cluster.nodes[0].take().unwrap().stop();
    let other = Node::start(NodeConfig { shards: Some(4), ..config.clone() });
    assert!(matches!(other, Err(StartError::Shards { wanted: 4, has: 2 })), "{other:?}");
    Node::start(NodeConfig { shards: None, ..config }).unwrap().stop();
}

#[test]
fn acknowledgements_wait_for_the_disk_only_where_they_are_told_to() {
    for sync in [SyncMode::Always, SyncMode::Interval(Duration::from_secs(3600)), SyncMode::Os] {
        let directory = tempfile::tempdir().unwrap();
        let listen = free_addr();
        let pages = Some(directory.path().to_owned());
        let config =
            NodeConfig { listen, sync, pages, ..NodeConfig::new(directory.path().join("n")) };
        let node = Node::start(config.clone()).unwrap();
        let endpoint = [listen.to_string()];
        let connected = Client::connect(&endpoint, ClientOptions::default());
        let client = rt::block_on(connected).unwrap();
        put(&client, "k", "v", Level::Quorum);
        let before = node.metrics();
        for number in 0..20 {
            let name = key(&format!("k{number}"));
            rt::block_on(client.put(&name, "v").send()).unwrap();
        }
        let spent = node.metrics().since(&before);
        // One client that waits for each answer: an append each, and a sync each where they count.
        assert_eq!(spent.appends, 20);
        assert_eq!(spent.syncs, if sync == SyncMode::Always { 20 } else { 0 });
        node.stop();
        let node = Node::start(config).unwrap();
        let client = rt::block_on(Client::connect(&endpoint, ClientOptions::default())).unwrap();
        let got = eventually("a get succeeds", || {
            get(&client, "k19", Level::Quorum).map_err(|error| error.to_string())
        });
        assert_eq!(values(&got), ["v"]);
        node.stop();
    }
}

#[test]
fn a_damaged_log_is_refused_by_name_and_comes_back_from_the_peers_once_it_is_moved_aside() {
    let mut cluster = Cluster::start(&[1, 1, 1]);
    let client = cluster.client(0);
    for number in 0..20 {
        put(&client, &format!("k{number}"), &format!("v{number}"), Level::All);
    }
    cluster.nodes[2].take().unwrap().kill();
    let shard = cluster.directory.path().join("n2/shard-0");
    let segment = shard.join("00000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    // In the body of the first batch, which later ones say was synced.
    bytes[60] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let refused = Node::start(cluster.config(2)).unwrap_err();
    let StartError::Store { shard: 0, why: StoreError::Damaged { file, .. } } = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!(file, "00000001.seg");
    assert!(refused.to_string().contains("the body of batch 1 does not match"), "{refused}");
    assert_eq!(std::fs::read(&segment).unwrap(), bytes, "nothing was touched");

    std::fs::rename(&shard, cluster.directory.path().join("moved")).unwrap();
    cluster.start_node(2);
    cluster.wait_until_whole();
    let back = cluster.client(2);
    eventually("the shard has its keys again", || {
        for number in 0..20 {
            let question = Question::Explain {
                bucket: "default".to_owned(),
                key: format!("k{number}").into_bytes(),
            };
            let answer = rt::block_on(back.ask(question)).map_err(|error| error.to_string())?;
            let Answer::Explain(told) = answer else { return Err("no explanation".to_owned()) };
            let holders = told.replicas.iter().filter(|replica| replica.values.len() == 1).count();
            if holders != 3 {
                return Err(format!("{holders} copies of k{number}"));
            }
        }
        Ok(())
    });
    // The page remembers that there was more: the copy counts once it has heard the others.
    eventually("the copy counts again", || {
        let got = get(&back, "k7", Level::All).map_err(|error| error.to_string())?;
        if values(&got) == ["v7"] { Ok(()) } else { Err(format!("{got:?}")) }
    });
}

/// A small file system of its own, gone with this.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, and said so, when this process may not mount anything.
    fn mount(bytes: u32) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={bytes}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(directory.path())
            .output()
            .unwrap();
        if mounted.status.success() {
            return Some(SmallDisk(directory));
        }
        let why = String::from_utf8_lossy(&mounted.stderr);
        let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        assert!(!root, "root may mount a small file system: {why}");
        eprintln!(
            "SKIPPED: a full disk needs a file system to fill, and only root mounts one: {why}"
        );
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "it was mounted");
    }
}

#[test]
fn a_full_disk_refuses_writes_and_takes_them_again_once_there_is_space() {
    let Some(disk) = SmallDisk::mount(8 << 20) else { return };
    let listen = free_addr();
    let data = disk.0.path().join("node");
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 4 << 20]).unwrap();
    let pages = Some(disk.0.path().to_owned());
    let (segment_bytes, shards) = (1 << 20, Some(1));
    let config = NodeConfig { listen, segment_bytes, shards, pages, ..NodeConfig::new(data) };
    let node = Node::start(config.clone()).unwrap();
    let endpoint = [listen.to_string()];
    let client = rt::block_on(Client::connect(&endpoint, ClientOptions::default())).unwrap();
    put(&client, "first", "v", Level::Quorum);
    let (mut written, mut waits) = (0, false);
    let refused = loop {
        let name = key(&format!("k{written}"));
        match rt::block_on(client.put(&name, "x".repeat(50_000)).send()) {
            // One that overtakes the thread which finds the disk full is staged already: it waits for
            // space, is told as unknown, and is there when there is some.
            Ok(_) => written += 1,
            Err(ClientError::Unknown(_)) => (written, waits) = (written + 1, true),
            Err(ClientError::Refused(failure)) => break failure,
            Err(other) => panic!("after {written}: {other}"),
        }
        assert!(written < 200, "four megabytes hold no more");
    };
    assert!(written > 20);
    assert_eq!(refused.code, FailureCode::DiskFull);
    assert!(refused.message.contains("nothing was written"), "{}", refused.message);
    let gone = get(&client, &format!("k{written}"), Level::Quorum).unwrap();
    assert!(gone.values.is_empty(), "and nothing was");
    let last = format!("k{}", written - 1);
    assert_eq!(get(&client, &last, Level::Quorum).unwrap().values.len(), 1);
    // What is kept free for deletes is taken by one that waits, if there is one.
    if waits {
        std::fs::remove_file(&ballast).unwrap();
    }
    eventually("a delete succeeds", || {
        let deleted = rt::block_on(client.delete(&key("first")).send());
        let refused = deleted.as_ref().is_err_and(|error| error.to_string().contains("no room"));
        assert!(waits || !refused, "there is room for a delete: {deleted:?}");
        deleted.map_err(|error| error.to_string())
    });
    assert!(get(&client, "first", Level::Quorum).unwrap().values.is_empty());

    if !waits {
        std::fs::remove_file(&ballast).unwrap();
    }
    put(&client, "after", &"y".repeat(50_000), Level::Quorum);
    node.kill();
    let node = Node::start(config).unwrap();
    let client = rt::block_on(Client::connect(&endpoint, ClientOptions::default())).unwrap();
    for (name, values) in [("first", 0), (last.as_str(), 1), ("after", 1)] {
        let got = eventually("a get succeeds", || {
            get(&client, name, Level::Quorum).map_err(|error| error.to_string())
        });
        assert_eq!(got.values.len(), values, "{name}");
    }
    node.stop();
}
