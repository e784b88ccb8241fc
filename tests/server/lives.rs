//! Lives that are over: they leave clocks and tokens by themselves.

use std::fs;

use ringdove::rt;
use ringdove::wire::{Answer, Level, Question};

use super::{Cluster, eventually, get, key, values};

impl Cluster {
    /// All nodes lose power: what is only in memory is gone, and so are their pages.
    fn reboot(&mut self) {
        for node in &mut self.nodes {
            node.take().unwrap().kill();
        }
        for entry in fs::read_dir(self.directory.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::remove_file(path).unwrap();
            }
        }
        (0..self.nodes.len()).for_each(|node| self.start_node(node));
        self.wait_until_whole();
    }

    /// The clocks of a key's slot, at all owners.
    fn clocks(&self, name: &str) -> Vec<String> {
        let question =
            Question::Explain { bucket: key(name).bucket().to_owned(), key: name.into() };
        match rt::block_on(self.client(0).ask(question)).unwrap() {
            Answer::Explain(explained) => {
                explained.replicas.into_iter().map(|replica| replica.clock).collect()
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A node writes in the place of what there is.
fn overwrite(cluster: &Cluster, node: usize, value: &str) {
    let client = cluster.client(node);
    eventually("a put succeeds", || {
        let put = client.put(&key("k"), value.to_owned()).level(Level::All);
        rt::block_on(put.send()).map_err(|error| error.to_string())
    });
}

#[test]
fn lives_that_are_over_leave_all_clocks_and_their_values_stay() {
    let mut cluster = Cluster::start(&[2, 1, 2]);
    for life in 0..3 {
        if life > 0 {
            cluster.reboot();
        }
        for node in 0..3 {
            overwrite(&cluster, node, &format!("{life} of n{node}"));
        }
    }
    // Three nodes in their third lives: of each the two before are over.
    eventually("the lives before are one number", || {
        let clocks = cluster.clocks("k");
        let folded = |clock: &String| clock.contains("closed=6") && clock.matches('~').count() == 3;
        if clocks.len() == 3 && clocks.iter().all(folded) { Ok(()) } else { Err(clocks.join(" ")) }
    });
    assert_eq!(values(&get(&cluster.client(1), "k", Level::All).unwrap()), ["2 of n2"]);
    overwrite(&cluster, 2, "after");
    assert_eq!(values(&get(&cluster.client(0), "k", Level::All).unwrap()), ["after"]);
}
