//! The demo's nodes: started, cut from each other, killed and started again.
//!
//! Invariant: whatever was done to the network or a node, this waits until the nodes themselves
//! have noticed, so that the next command meets the cluster that its reader expects. It waits on
//! what nodes say, within a bound, never for a fixed time.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::RngExt;

use super::super::exit::Exit;
use super::super::trouble::Trouble;
use super::super::words::list;
use crate::client::{Client, ClientOptions};
use crate::rt;
use crate::server::{Links, Node, NodeConfig, StartError};
use crate::wire::{Answer, MemberLine, Question};

/// How long the nodes may take to notice.
const PATIENCE: Duration = Duration::from_secs(30);
/// Small, so that many nodes start at once on any disk.
const SEGMENT_BYTES: u32 = 8 << 20;
/// Attempts at removing what running nodes still write to.
const REMOVALS: usize = 5;
/// How often they are asked.
const ASK: Duration = Duration::from_millis(50);
/// Attempts at a set of ports that nobody else takes in between.
const PORT_TRIES: usize = 5;

/// The nodes, their directory, and the switch between them.
pub(super) struct Nodes {
    directory: Directory,
    links: Links,
    seats: Vec<Seat>,
    /// Groups that cannot hear each other; one when the network is whole.
    groups: Vec<Vec<usize>>,
}

/// One node's place, whether it runs or not.
struct Seat {
    name: String,
    addr: SocketAddr,
    node: Option<Node>,
}

/// A directory that goes with the demo, also when the process is asked to stop.
struct Directory(PathBuf);

impl Directory {
    fn make() -> Result<Self, Trouble> {
        let name = format!("ringdove-demo-{:08x}", rand::rng().random::<u32>());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).map_err(|error| {
            Trouble::io(
                format_args!("{} cannot be made", path.display()),
                &error,
                "nothing was started",
            )
        })?;
        let doomed = path.clone();
        // A prompt reads Ctrl-C as a key; this is for everything else that ends a process.
        let watch = async move {
            let Ok(mut signals) = rt::StopSignals::listen() else { return };
            if signals.next().await.is_ok() {
                // The nodes still run, and may make a file while their directories go.
                let removed = (0..REMOVALS).any(|_| std::fs::remove_dir_all(&doomed).is_ok());
                if !removed {
                    eprintln!("{} could not be removed", doomed.display());
                }
                std::process::exit(130);
            }
        };
        rt::spawn(watch).detach();
        Ok(Directory(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} could not be removed: {error}", self.0.display());
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // The nodes end first; what they hold is thrown away, so nothing has to be saved.
        self.seats.iter_mut().filter_map(|seat| seat.node.take()).for_each(Node::kill);
    }
}

impl Nodes {
    /// Starts so many nodes, and waits until all of them see all others.
    pub(super) fn start(count: u16) -> Result<Nodes, Trouble> {
        let names = ('a'..='z').take(usize::from(count)).map(String::from);
        let names: Vec<String> = names.collect();
        for attempt in 1.. {
            match Nodes::try_start(&names) {
                // Another process took a port between its choice and its use.
                Err(Failed::Start(StartError::Listen { .. })) if attempt < PORT_TRIES => {}
                Err(failed) => return Err(failed.into()),
                Ok(nodes) => {
                    nodes.wait("all nodes see each other", || nodes.noticed())?;
                    return Ok(nodes);
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    fn try_start(names: &[String]) -> Result<Nodes, Failed> {
        let directory = Directory::make()?;
        let addrs = free_addrs(names.len())?;
        let seat =
            |(name, addr): (&String, SocketAddr)| Seat { name: name.clone(), addr, node: None };
        let mut nodes = Nodes {
            directory,
            links: Links::new(),
            seats: names.iter().zip(addrs).map(seat).collect(),
            groups: vec![(0..names.len()).collect()],
        };
        for at in 0..names.len() {
            nodes.run(at)?;
        }
        Ok(nodes)
    }

    fn run(&mut self, at: usize) -> Result<(), StartError> {
        let seeds = if self.seats.len() == 1 {
            Vec::new()
        } else {
            self.seats.iter().map(|seat| seat.addr.to_string()).collect()
        };
        let seat = &mut self.seats[at];
        seat.node = Some(Node::start(NodeConfig {
            listen: seat.addr,
            seeds,
            name: Some(seat.name.clone()),
            shards: Some(1),
            segment_bytes: SEGMENT_BYTES,
            pages: Some(self.directory.0.clone()),
            links: self.links.clone(),
            ..NodeConfig::new(self.directory.0.join(&seat.name))
        })?);
        Ok(())
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.seats.iter().map(|seat| seat.name.clone()).collect()
    }

    pub(super) fn name(&self, at: usize) -> &str {
        &self.seats[at].name
    }

    pub(super) fn addr(&self, at: usize) -> SocketAddr {
        self.seats[at].addr
    }

    pub(super) fn place(&self) -> &Path {
        &self.directory.0
    }

    pub(super) fn find(&self, name: &str) -> Result<usize, Trouble> {
        self.seats.iter().position(|seat| seat.name == name).ok_or_else(|| {
            let what = format!("there is no node {name:?}");
            Trouble::usage(what, format!("the nodes are {}", list(&self.names())))
        })
    }

    /// Fails if nobody would answer there.
    pub(super) fn check_runs(&self, at: usize) -> Result<(), Trouble> {
        let name = self.name(at);
        if self.seats[at].node.is_some() {
            return Ok(());
        }
        let running = self.seats.iter().find(|seat| seat.node.is_some());
        let other = running.map_or_else(String::new, |seat| format!("\nuse {}", seat.name));
        Err(Trouble::new(
            Exit::Unreachable,
            format!("{name} is killed, and commands go there"),
            "nothing was sent",
            format!("restart {name}{other}"),
        ))
    }

    fn named(&self, members: &[usize]) -> String {
        list(&members.iter().map(|at| self.name(*at)).collect::<Vec<_>>())
    }

    /// Who runs, and who can hear whom.
    pub(super) fn shown(&self, current: usize) -> String {
        let mut text = String::new();
        for (at, seat) in self.seats.iter().enumerate() {
            let runs = if seat.node.is_some() { "runs" } else { "killed" };
            let mark = if at == current { "  <- commands go here" } else { "" };
            text.push_str(&format!("{}  {}  {runs}{mark}\n", seat.name, seat.addr));
        }
        if self.groups.len() > 1 {
            let groups: Vec<String> = self.groups.iter().map(|group| self.named(group)).collect();
            text.push_str(&format!("split: {}\n", groups.join(" | ")));
        } else {
            text.push_str("the network is whole\n");
        }
        text
    }

    /// Cuts the nodes into groups. Nodes that are not named form one more.
    pub(super) fn split(&mut self, names: &[Vec<String>]) -> Result<String, Trouble> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut left: BTreeSet<usize> = (0..self.seats.len()).collect();
        for names in names {
            let mut group = Vec::new();
            for name in names {
                let at = self.find(name)?;
                if !left.remove(&at) {
                    let what = format!("{name} is in two groups");
                    return Err(Trouble::usage(what, "name each node once: split a,b | c,d,e"));
                }
                group.push(at);
            }
            groups.push(group);
        }
        if !left.is_empty() {
            groups.push(left.into_iter().collect());
        }
        if groups.len() < 2 {
            return Err(Trouble::usage("that is one group of everybody", "split a,b | c,d,e"));
        }
        self.links.heal();
        let addrs: Vec<Vec<SocketAddr>> =
            groups.iter().map(|group| group.iter().map(|at| self.addr(*at)).collect()).collect();
        let addrs: Vec<&[SocketAddr]> = addrs.iter().map(Vec::as_slice).collect();
        self.links.split(&addrs);
        self.groups = groups;
        self.wait("each side notices that the others are gone", || self.noticed())?;
        let groups: Vec<String> = self.groups.iter().map(|group| self.named(group)).collect();
        Ok(format!("cut: {}. Each side has noticed, and goes on alone.\n", groups.join(" | ")))
    }

    /// Joins all groups, and waits until what was kept for absent nodes is delivered.
    pub(super) fn heal(&mut self) -> Result<String, Trouble> {
        self.links.heal();
        self.groups = vec![(0..self.seats.len()).collect()];
        self.wait("all nodes see each other", || self.noticed())?;
        let all_run = self.seats.iter().all(|seat| seat.node.is_some());
        if !all_run {
            return Ok("healed: every running node hears every other.\n".to_owned());
        }
        self.wait("hints are delivered", || self.hints() == Some(0))?;
        Ok("healed: every node hears every other; what they kept for each other is delivered.\n"
            .to_owned())
    }

    /// Ends a node as if its process were killed.
    pub(super) fn kill(&mut self, name: &str) -> Result<String, Trouble> {
        let at = self.find(name)?;
        let Some(node) = self.seats[at].node.take() else {
            return Err(Trouble::usage(
                format!("{name} is killed already"),
                format!("restart {name}"),
            ));
        };
        node.kill();
        self.wait("the others notice", || self.noticed())?;
        Ok(format!("{name} is gone; the others have noticed. Its disk is as it was.\n"))
    }

    /// Starts a killed node again, on its own disk and address.
    pub(super) fn restart(&mut self, name: &str) -> Result<String, Trouble> {
        let at = self.find(name)?;
        if self.seats[at].node.is_some() {
            return Err(Trouble::usage(format!("{name} runs"), format!("kill {name}")));
        }
        self.run(at).map_err(Failed::Start)?;
        self.wait("it sees the others and they see it", || self.noticed())?;
        Ok(format!("{name} is back, with what is on its disk.\n"))
    }

    /// Whether every running node hears exactly the running nodes of its group.
    fn noticed(&self) -> bool {
        self.groups.iter().all(|group| {
            let runs = |at: &&usize| self.seats[**at].node.is_some();
            let running: Vec<usize> = group.iter().filter(runs).copied().collect();
            let names: BTreeSet<String> =
                running.iter().map(|at| self.name(*at).to_owned()).collect();
            running.iter().all(|at| self.hears(*at, &names))
        })
    }

    /// Whether a node counts these members as up, and no others, and has their answers to a
    /// question: heartbeats come back sooner than the connections that data take.
    fn hears(&self, at: usize, names: &BTreeSet<String>) -> bool {
        let Some(Answer::Members(members)) = self.ask(at, Question::Members) else { return false };
        let up = |member: &&MemberLine| member.state.starts_with('U');
        let seen: BTreeSet<&str> =
            members.iter().filter(up).map(|member| member.name.as_str()).collect();
        if seen.len() != names.len() || !seen.iter().all(|name| names.contains(*name)) {
            return false;
        }
        let Some(Answer::Status(status)) = self.ask(at, Question::Status) else { return false };
        status.missing.len() == self.seats.len() - names.len()
            && !status.missing.iter().any(|name| names.contains(name))
    }

    /// Hints that wait at any node, if all of them say.
    fn hints(&self) -> Option<u64> {
        match self.ask(0, Question::Status)? {
            Answer::Status(status) if status.missing.is_empty() => Some(status.hints_pending),
            _ => None,
        }
    }

    fn ask(&self, at: usize, question: Question) -> Option<Answer> {
        let options = ClientOptions { timeout: Duration::from_secs(2), ..ClientOptions::default() };
        let addr = self.addr(at).to_string();
        rt::block_on(async {
            let client = Client::connect(&[addr], options).await.ok()?;
            client.ask(question).await.ok()
        })
    }

    fn wait(&self, what: &str, mut done: impl FnMut() -> bool) -> Result<(), Trouble> {
        let until = Instant::now() + PATIENCE;
        while !done() {
            if Instant::now() > until {
                return Err(Trouble::new(
                    Exit::Error,
                    format!("waited {} s in vain until {what}", PATIENCE.as_secs()),
                    "the switch is set as you asked; the nodes have not caught up",
                    "look at `members @a`, `status @a`; RINGDOVE_LOG=debug shows what nodes do",
                ));
            }
            rt::block_on(rt::sleep(ASK));
        }
        Ok(())
    }
}

/// Addresses on loopback that are free for TCP and UDP now.
fn free_addrs(count: usize) -> Result<Vec<SocketAddr>, Trouble> {
    let mut held = Vec::new();
    let mut addrs = Vec::new();
    for _ in 0..count * 32 {
        if addrs.len() == count {
            break;
        }
        let failed = |error| Trouble::io("no free port", &error, "nothing was started");
        let tcp = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        let addr = tcp.local_addr().map_err(failed)?;
        if let Ok(udp) = UdpSocket::bind(addr) {
            addrs.push(addr);
            held.push((tcp, udp));
        }
    }
    if addrs.len() == count {
        return Ok(addrs);
    }
    let error = std::io::Error::other("no ports are free for TCP and UDP alike");
    Err(Trouble::io("no free port", &error, "nothing was started"))
}

/// Why the nodes did not start.
enum Failed {
    Start(StartError),
    Other(Trouble),
}

impl From<StartError> for Failed {
    fn from(error: StartError) -> Self {
        Failed::Start(error)
    }
}

impl From<Trouble> for Failed {
    fn from(trouble: Trouble) -> Self {
        Failed::Other(trouble)
    }
}

impl From<Failed> for Trouble {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Other(trouble) => trouble,
            Failed::Start(error) => Trouble::new(
                Exit::Error,
                format!("a node did not start: {error}"),
                "the nodes that had started are ended, and their directories removed",
                "check that there is room in the temporary directory, then try again",
            ),
        }
    }
}
