//! Nodes in processes of their own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ringdove::client::{Client, ClientOptions};
use ringdove::rt;
use ringdove::wire::{Answer, MemberLine, Question, RingShown};

use super::eventually;

/// A node in a process of its own. Killed when it is dropped.
pub struct Peer {
    child: Child,
    pub addr: SocketAddr,
}

impl Peer {
    pub fn start(data: &Path, name: &str, addr: SocketAddr, seeds: &[SocketAddr]) -> Self {
        let seeds = seeds.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringdove"));
        command.args(["start", "--name", name, "--shards", "2", "--seeds", &seeds]);
        command.arg("--listen").arg(addr.to_string());
        command.arg("--data").arg(data.join(name)).arg("--pages").arg(data);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Peer { child: command.spawn().unwrap(), addr }
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What a command of the command line prints that succeeds.
    pub fn command(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringdove"));
        command.args(words).arg("--endpoint").arg(self.addr.to_string()).stdin(Stdio::null());
        let output = command.output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8(output.stderr).unwrap())
        }
    }

    pub fn client(&self) -> Client {
        let endpoint = [self.addr.to_string()];
        eventually("a node answers", || {
            rt::block_on(Client::connect(&endpoint, ClientOptions::default()))
                .map_err(|error| error.to_string())
        })
    }

    pub fn members(&self) -> Vec<MemberLine> {
        let client = self.client();
        eventually("a node lists the members", || {
            match rt::block_on(client.ask(Question::Members)).map_err(|error| error.to_string())? {
                Answer::Members(members) => Ok(members),
                other => Err(format!("{other:?} is no list of members")),
            }
        })
    }

    pub fn ring(&self) -> Result<RingShown, String> {
        let answer = rt::block_on(self.client().ask(Question::Ring));
        match answer.map_err(|error| error.to_string())? {
            Answer::Ring(ring) => Ok(ring),
            other => Err(format!("{other:?} is no ring")),
        }
    }

    /// Until it sees so many members, all up and with data connections.
    pub fn wait_for(&self, count: usize) -> Vec<MemberLine> {
        eventually("all members are up", || {
            let members = self.members();
            let up = members.iter().filter(|line| line.state == "UN").count();
            if (members.len(), up) == (count, count) {
                Ok(members)
            } else {
                Err(format!("{} sees {members:?}", self.addr))
            }
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
