//! Real processes in network namespaces of their own: the network splits while a node joins.
//!
//! Every node has an address on a bridge; a cut is a route into nowhere, in both directions. It takes root, as network
//! namespaces do: `cargo test --test server -- --ignored split`. All of it is inside namespaces that the test made, and
//! takes away again.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::eventually;

/// Keys that are there before, and written on each side meanwhile.
const KEYS: usize = 60;

fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {said} (it takes root)", words.join(" "));
}

/// Nodes, each in a namespace, and the one with the bridge between them.
struct Town {
    prefix: String,
    nodes: Vec<Option<Child>>,
}

impl Town {
    fn new(count: usize) -> Self {
        let mut town = Town { prefix: format!("rd{}", std::process::id()), nodes: Vec::new() };
        let hub = town.name("hub");
        ip(&["netns", "add", &hub]);
        ip(&["-n", &hub, "link", "add", "bridge", "type", "bridge"]);
        ip(&["-n", &hub, "link", "set", "bridge", "up"]);
        for node in 0..count {
            town.nodes.push(None);
            let (name, wire) = (town.node(node), format!("wire{node}"));
            ip(&["netns", "add", &name]);
            ip(&[
                "-n", &hub, "link", "add", &wire, "type", "veth", "peer", "name", "net", "netns",
                &name,
            ]);
            ip(&["-n", &hub, "link", "set", &wire, "master", "bridge", "up"]);
            ip(&["-n", &name, "address", "add", &format!("{}/24", Town::addr(node)), "dev", "net"]);
            ip(&["-n", &name, "link", "set", "net", "up"]);
            ip(&["-n", &name, "link", "set", "lo", "up"]);
        }
        town
    }

    fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.prefix)
    }

    fn node(&self, node: usize) -> String {
        self.name(&format!("n{node}"))
    }

    fn addr(node: usize) -> String {
        format!("10.77.0.{}", node + 1)
    }

    fn start(&mut self, node: usize, data: &Path) {
        let seeds: Vec<String> = (0..3).map(|seed| format!("{}:7400", Town::addr(seed))).collect();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.node(node), env!("CARGO_BIN_EXE_ringdove"), "start"]);
        command.args(["--name", &format!("n{node}"), "--seeds", &seeds.join(",")]);
        command.args(["--listen", &format!("{}:7400", Town::addr(node))]);
        command.arg("--data").arg(data.join(format!("n{node}"))).arg("--pages").arg(data);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.nodes[node] = Some(command.spawn().unwrap());
    }

    /// What a command prints that is given at a node.
    fn run(&self, node: usize, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.node(node), env!("CARGO_BIN_EXE_ringdove")]);
        command.args(words).arg("--endpoint").arg(format!("{}:7400", Town::addr(node)));
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    fn json(&self, node: usize, words: &[&str]) -> Result<Value, String> {
        let text = self.run(node, &[words, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    /// Cuts, or mends, every link between two groups.
    fn cut(&self, verb: &str, some: &[usize], others: &[usize]) {
        for (from, to) in some.iter().flat_map(|from| others.iter().map(move |to| (*from, *to))) {
            for (here, there) in [(from, to), (to, from)] {
                let route = format!("{}/32", Town::addr(there));
                ip(&["-n", &self.node(here), "route", verb, "blackhole", &route]);
            }
        }
    }

    /// How many partitions of a node's ring change owners or are to, and its members.
    fn moving(&self, node: usize) -> Result<(usize, usize), String> {
        let ring = self.json(node, &["ring"])?;
        let partitions = ring["partitions"].as_array().ok_or("no ring")?;
        let moves = |at: &&Value| {
            at["change"] != "" || at["goal"].as_array().is_some_and(|g| !g.is_empty())
        };
        let members = self.json(node, &["members"])?.as_array().map_or(0, Vec::len);
        Ok((partitions.iter().filter(moves).count(), members))
    }

    fn put(&self, node: usize, key: &str, level: &str) {
        eventually("a put succeeds", || self.run(node, &["put", key, key, "-w", level]).map(drop));
    }

    fn holds(&self, node: usize, key: &str, level: &str) {
        eventually("a get shows what was put", || {
            let value = self.run(node, &["get", key, "-r", level])?;
            if value == key { Ok(()) } else { Err(format!("{key} is {value}")) }
        });
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let nodes = (0..self.nodes.len()).map(|node| self.node(node));
        for name in nodes.chain([self.name("hub")]) {
            let _ = Command::new("ip").args(["netns", "del", &name]).status();
        }
    }
}

#[test]
#[ignore = "network namespaces take root"]
fn a_split_during_a_join_is_survived_by_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    let mut town = Town::new(4);
    (0..3).for_each(|node| town.start(node, directory.path()));
    eventually("three found a cluster", || town.run(0, &["status", "--check"]).map(drop));
    (0..KEYS).for_each(|key| town.put(key % 3, &format!("before-{key}"), "all"));

    town.start(3, directory.path());
    let all = eventually("rows are on the move to the fourth", || {
        let (moving, members) = town.moving(1)?;
        if members == 4 && moving > 0 { Ok(moving) } else { Err(format!("{moving} {members}")) }
    });
    town.cut("add", &[0], &[1, 2, 3]);
    println!("n0 is cut off while {all} partitions are to change owners");

    // The majority completes the join, and goes on at quorum.
    eventually("the majority completes the join", || match town.moving(1)? {
        (0, 4) => Ok(()),
        (moving, members) => Err(format!("{moving} partitions of {members} members still move")),
    });
    let ring = town.json(1, &["members"]).unwrap();
    println!("completed without n0: {}", town.run(1, &["status"]).unwrap());
    let share = |name: &str| {
        let members = ring.as_array().unwrap();
        let line = members.iter().find(|line| line["name"] == name).unwrap();
        line["share_percent"].as_str().unwrap().parse::<f64>().unwrap()
    };
    assert!((share("n3") - 25.0).abs() < 0.5, "{ring}");
    for key in 0..KEYS {
        town.put(1 + key % 3, &format!("majority-{key}"), "quorum");
        town.holds(1 + (key + 1) % 3, &format!("before-{key}"), "quorum");
    }
    // The minority serves what it has at level one, and takes writes.
    for key in 0..KEYS {
        town.holds(0, &format!("before-{key}"), "one");
        town.put(0, &format!("minority-{key}"), "one");
    }
    let minority = town.run(0, &["get", "before-0", "-r", "quorum"]).unwrap_err();
    assert!(minority.contains("level quorum needs"), "{minority}");

    town.cut("del", &[0], &[1, 2, 3]);
    eventually("one ring, at rest", || {
        let rings: Vec<Value> =
            (0..4).map(|node| town.json(node, &["ring"])).collect::<Result<_, _>>()?;
        let lingers = rings[0]["partitions"].as_array().is_some_and(|partitions| {
            partitions.iter().any(|at| at["former"].as_array().is_some_and(|f| !f.is_empty()))
        });
        if rings.iter().all(|ring| *ring == rings[0]) && !lingers {
            Ok(())
        } else {
            let epochs: Vec<_> = rings.iter().map(|ring| ring["epoch"].to_string()).collect();
            Err(format!("epochs {epochs:?}, copies are kept: {lingers}"))
        }
    });
    for key in 0..KEYS {
        for side in ["before", "majority", "minority"] {
            town.holds(key % 4, &format!("{side}-{key}"), "all");
        }
    }
    println!("healed: {}", town.run(0, &["status"]).unwrap());
}
