//! The commands of the scripts.
//!
//! ```text
//! cluster [nodes=5] [owners=1,2,3] [shards=1,…] [sync] [scrub] [siblings=N] [page=BYTES] [frame=BYTES] [hints=BYTES] [log=N]
//! put n1 k v [level=L] [strict] [seen=NAME | overwrite] [op=N] [again] [as=NAME]   delete n1 k …
//! get n1 k [level=L] [floor=NAME] [as=NAME]
//! cut n1 n2 · mend · hold n1 n2 | kind=Page · deliver · drop · release    one-way loss, or waiting
//! break n1 n2 · double · later n1                     a lane breaks; messages come twice, reads late
//! hold-sync n1 · sync n1 · poison n1                  syncs of a node wait, or fail
//! rot n1 k                                            a bit of k's first value turns over
//! split "1,2" "3,4,5" · suspect n1 n2 · up · stop n1 · start n1 · crash n1 · heal
//! save n1 [copy=NAME] · restore n1 [copy=NAME] [noticed]      a copy of the disks takes their place
//! salvage n1 k                                        or what is left of them without the batch that brought k
//! refuse n1 life=L · list n1 life=L [late=n2]         the ring is going to list an actor as dead, and does
//! outdate n1 · learn [n1]                             a node's ring is the one before; one has the newest, or all
//! ring prepare n4 [for n1] | switch | give n5 | lose n1 | whole | forget n1 [late="n2,n3"]       rows take a step
//! wait 2s · show k · hints n4 · explain n1 k · siblings n1 · answer · status n1
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;

use super::cluster::{Cluster, Plan};
use super::steps::member;
use super::trace;
use crate::causality::Actor;
use crate::key::Key;
use crate::ring::{Epoch, Token};
use crate::wire::{Answer, Basis, Frame, Get, Level, Message, Put, Question};

#[derive(Default)]
pub(super) struct Story {
    cluster: Option<Cluster>,
    contexts: BTreeMap<String, Bytes>,
    /// Requests whose context is wanted, and under which name.
    wanted: BTreeMap<u64, String>,
    requests: u64,
}

struct Args {
    named: BTreeMap<String, String>,
    plain: Vec<String>,
}

impl Args {
    fn of(command: &goldenscript::Command) -> Result<Self, Box<dyn Error>> {
        let (mut named, mut plain) = (BTreeMap::new(), Vec::new());
        for argument in &command.args {
            match argument {
                goldenscript::Argument::Positional(value) => plain.push(value.clone()),
                goldenscript::Argument::KeyValue(key, value) => {
                    named.insert(key.clone(), value.clone());
                }
                other => return Err(format!("unknown kind of argument: {other:?}").into()),
            }
        }
        Ok(Args { named, plain })
    }

    fn node(&self, at: usize) -> Result<u16, Box<dyn Error>> {
        let name = self.plain.get(at).ok_or("a node is missing")?;
        Ok(name.trim_start_matches('n').parse()?)
    }

    fn key(&self, at: usize) -> Result<Key, Box<dyn Error>> {
        Ok(Key::new("default", self.plain.get(at).ok_or("a key is missing")?.as_bytes())?)
    }

    fn has(&self, word: &str) -> bool {
        self.plain.iter().any(|plain| plain == word)
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Box<dyn Error>> {
        Ok(self.named.get(name).map(|number| number.parse()).transpose()?)
    }

    /// Who does not hear of a ring.
    fn late(&self) -> Result<Vec<u16>, Box<dyn Error>> {
        let names = self.named.get("late").into_iter().flat_map(|names| names.split(','));
        names.map(|name| Ok(member(name)?.0)).collect()
    }

    fn level(&self) -> Result<Level, Box<dyn Error>> {
        Ok(self.named.get("level").map_or(Ok(Level::Quorum), |level| level.parse())?)
    }
}

impl Story {
    fn cluster(&mut self) -> &mut Cluster {
        self.cluster.get_or_insert_with(|| Cluster::new(Plan::default()))
    }

    fn found(&mut self, args: &Args) -> Result<(), Box<dyn Error>> {
        let mut plan = Plan::default();
        plan.nodes = args.number("nodes")?.map_or(plan.nodes, |nodes| nodes as u16);
        if let Some(shards) = args.named.get("shards") {
            plan.shards = shards.split(',').map(str::parse).collect::<Result<_, _>>()?;
        }
        if let Some(owners) = args.named.get("owners") {
            plan.row = owners.split(',').map(str::parse).collect::<Result<_, _>>()?;
        }
        if args.has("scrub") {
            plan.config.scrub_interval = Duration::from_secs(3);
        }
        if args.has("sync") {
            plan.config.sync_interval = Duration::from_secs(1);
        }
        if let Some(most) = args.number("siblings")? {
            (plan.config.siblings_max, plan.config.siblings_warn) = (most as usize, most as usize);
        }
        plan.config.page_bytes = args.number("page")?.unwrap_or(plan.config.page_bytes);
        plan.config.frame_values_max =
            args.number("frame")?.unwrap_or(plan.config.frame_values_max);
        plan.config.delete_log_max = args.number("log")?.unwrap_or(plan.config.delete_log_max);
        plan.config.hint_bytes_max = args.number("hints")?.unwrap_or(plan.config.hint_bytes_max);
        self.cluster = Some(Cluster::new(plan));
        Ok(())
    }

    fn put(&mut self, args: &Args, value: Option<Bytes>) -> Result<(), Box<dyn Error>> {
        let basis = match args.named.get("seen") {
            Some(name) => Basis::Context(self.contexts.get(name).ok_or("no such context")?.clone()),
            None if args.has("overwrite") => Basis::Overwrite,
            None => Basis::Blind,
        };
        let put = Put {
            key: args.key(1)?,
            value,
            basis,
            level: args.level()?,
            strict: args.has("strict"),
            operation: args.number("op")?.unwrap_or(0).into(),
            again: args.has("again"),
            writer: "ann".into(),
            timeout_ms: 3_000,
            forwarded: false,
        };
        self.request(args, Token::of(&put.key), Message::Put(put))
    }

    fn request(
        &mut self,
        args: &Args,
        token: Token,
        message: Message,
    ) -> Result<(), Box<dyn Error>> {
        self.requests += 1;
        let request = self.requests;
        if let Some(name) = args.named.get("as") {
            self.wanted.insert(request, name.clone());
        }
        let frame = Frame { slot: token.slot(), epoch: Epoch(1), request, token, message };
        self.cluster().client(args.node(0)?, frame);
        Ok(())
    }

    /// Keeps the contexts of replies that were wanted.
    fn note_contexts(&mut self) {
        let Some(cluster) = &self.cluster else { return };
        for (request, name) in &self.wanted {
            match cluster.reply(*request).map(|frame| &frame.message) {
                Some(Message::PutReply(reply)) => {
                    self.contexts.insert(name.clone(), reply.context.clone());
                }
                Some(Message::GetReply(reply)) => {
                    self.contexts.insert(name.clone(), reply.context.clone());
                }
                Some(_) | None => {}
            }
        }
    }

    fn show(&mut self, key: &Key) -> Result<String, Box<dyn Error>> {
        let (mut out, slot) = (String::new(), Token::of(key).slot());
        let cluster = self.cluster();
        for node in cluster.nodes() {
            if !cluster.runs(node) {
                writeln!(out, "n{node} does not run")?;
                continue;
            }
            let store = cluster.shard(node, slot).store();
            let (entry, clock) = (store.entry(slot, key).unwrap_or_default(), store.clock(slot));
            if entry.is_empty() && clock.is_empty() {
                continue;
            }
            let dots: Vec<String> = entry.dots().map(trace::dot).collect();
            let residual = if entry.residual().is_empty() {
                String::new()
            } else {
                format!(" residual={}", trace::set(entry.residual()))
            };
            let deletes: Vec<String> =
                store.deletes(slot).map(|(dot, _)| trace::dot(dot)).collect();
            let log = if deletes.is_empty() {
                String::new()
            } else {
                format!(" log=[{}]", deletes.join(" "))
            };
            let mark = if store.mark(slot).is_empty() {
                String::new()
            } else {
                format!(" mark={}", trace::set(store.mark(slot)))
            };
            let (dots, clock) = (dots.join(" "), trace::set(clock));
            writeln!(out, "n{node} holds [{dots}] clock={clock}{residual}{log}{mark}")?;
        }
        Ok(out)
    }

    fn hints(&mut self, node: u16) -> Result<String, Box<dyn Error>> {
        let mut out = String::new();
        let slot = crate::ring::Slot::new(0).expect("slot 0");
        let shard = self.cluster().shard(node, slot);
        for (_, hint) in shard.store().hints() {
            let dots: Vec<String> = hint.delta.dots().map(trace::dot).collect();
            writeln!(out, "n{node} owes n{} {} [{}]", hint.owed_to, hint.key, dots.join(" "))?;
        }
        let m = shard.metrics();
        writeln!(
            out,
            "n{node} created={} delivered={} superseded={} pending={}",
            m.hints_created, m.hints_delivered, m.hints_superseded, m.hints_pending
        )?;
        Ok(out)
    }

    fn explained(&self) -> Result<String, Box<dyn Error>> {
        let cluster = self.cluster.as_ref().ok_or("nothing was asked")?;
        let reply = cluster.reply(self.requests).ok_or("no answer")?;
        let mut out = String::new();
        match &reply.message {
            Message::Answer(Answer::Explain(explanation)) => {
                for replica in &explanation.replicas {
                    let role = if replica.owner { "owner" } else { "no owner" };
                    writeln!(out, "{} ({role})", replica.name)?;
                    for value in &replica.values {
                        let text = String::from_utf8_lossy(&value.head);
                        writeln!(
                            out,
                            "  {text:?} written by {} via {}, saw {} others",
                            value.written_by,
                            value.via,
                            value.saw.len()
                        )?;
                    }
                    if !replica.replaced.is_empty() {
                        writeln!(out, "  replaced there: {}", replica.replaced.len())?;
                    }
                    for hint in &replica.hints {
                        let text = hint.values.iter().map(|v| String::from_utf8_lossy(&v.head));
                        writeln!(out, "  owes {} {:?}", hint.owed_to, text.collect::<Vec<_>>())?;
                    }
                }
                writeln!(out, "missing {:?}", explanation.missing)?;
            }
            Message::Answer(Answer::Siblings(list)) => {
                for line in &list.keys {
                    let key = String::from_utf8_lossy(&line.key);
                    writeln!(out, "{}/{key} has {} values", line.bucket, line.siblings)?;
                }
                writeln!(out, "more={} missing {:?}", list.more, list.missing)?;
            }
            other => return Err(format!("not an answer: {other:?}").into()),
        }
        Ok(out)
    }

    fn ask(&mut self, args: &Args, token: Token, question: Question) -> Result<(), Box<dyn Error>> {
        self.request(args, token, Message::Question(question))
    }

    fn faults(&mut self, name: &str, args: &Args) -> Result<(), Box<dyn Error>> {
        let cluster = self.cluster();
        match name {
            "cut" => drop(cluster.cut.insert((args.node(0)?, args.node(1)?))),
            "mend" => cluster.cut.clear(),
            "hold" => match args.named.get("kind") {
                Some(kind) => cluster.held_kind = Some(kind.clone()),
                None => drop(cluster.held.insert((args.node(0)?, args.node(1)?))),
            },
            "deliver" => cluster.deliver_held().ok_or("nothing waits")?,
            "drop" => cluster.drop_held(),
            "release" => {
                cluster.held.clear();
                cluster.held_kind = None;
            }
            "up" => cluster.all_up(),
            "hold-sync" => drop(cluster.unsyncing.insert(args.node(0)?)),
            "sync" => drop(cluster.unsyncing.remove(&args.node(0)?)),
            "break" => cluster.break_lane(args.node(0)?, args.node(1)?),
            "suspect" => cluster.suspect(args.node(0)?, args.node(1)?),
            "stop" => cluster.stop(args.node(0)?),
            "start" => cluster.start(args.node(0)?),
            "crash" => cluster.crash(args.node(0)?),
            "save" | "restore" => {
                let copy = args.named.get("copy").map_or("", String::as_str);
                match name {
                    "save" => cluster.save(args.node(0)?, copy),
                    _ => cluster.restore(args.node(0)?, copy, args.has("noticed")),
                }
            }
            "rot" => {
                let key = args.key(1)?;
                cluster.rot(args.node(0)?, &key);
            }
            "salvage" => {
                let key = args.key(1)?;
                cluster.salvage(args.node(0)?, &key);
            }
            "heal" => cluster.heal(),
            "refuse" => {
                let life = args.number("life")?.ok_or("life=")?;
                cluster.refuse(Actor::new(args.node(0)?, life));
            }
            "outdate" => cluster.forget_dead(args.node(0)?, 1),
            "learn" if args.plain.is_empty() => cluster.all_learn(),
            "learn" => cluster.learns(args.node(0)?),
            "poison" => cluster.poison(args.node(0)?),
            "later" => cluster.delay_reads(args.node(0)?),
            "double" => cluster.doubling = true,
            "split" => {
                let sides: Vec<Vec<u16>> = args
                    .plain
                    .iter()
                    .map(|side| side.split(',').map(str::parse).collect::<Result<_, _>>())
                    .collect::<Result<_, _>>()?;
                let [left, right] = sides.as_slice() else { return Err("two sides".into()) };
                cluster.split(left, right);
            }
            "wait" => {
                let time = args.plain.first().ok_or("how long?")?;
                let time = match time.strip_suffix("ms") {
                    Some(ms) => Duration::from_millis(ms.parse()?),
                    None => Duration::from_secs(time.trim_end_matches('s').parse()?),
                };
                cluster.wait(time);
            }
            other => return Err(format!("no such command: {other}").into()),
        }
        Ok(())
    }
}

impl goldenscript::Runner for Story {
    type Command = goldenscript::Command;

    fn run(
        &mut self,
        command: &goldenscript::Command,
        _context: &goldenscript::Context,
    ) -> Result<String, Box<dyn Error>> {
        let args = Args::of(command)?;
        let mut shown = String::new();
        match command.name.as_str() {
            "cluster" => self.found(&args)?,
            "put" => {
                let text = args.plain.get(2).ok_or("a value is missing")?;
                let size = args.number("size")?.unwrap_or(0) as usize;
                let mut value = text.clone().into_bytes();
                value.resize(value.len().max(size), b'.');
                self.put(&args, Some(value.into()))?;
            }
            "delete" => self.put(&args, None)?,
            "get" => {
                let (key, level) = (args.key(1)?, args.level()?);
                let floor = match args.named.get("floor") {
                    Some(name) => self.contexts.get(name).ok_or("no such context")?.clone(),
                    None => Bytes::new(),
                };
                let get = Get { key, floor, level, timeout_ms: 3_000, forwarded: false };
                self.request(&args, Token::of(&get.key), Message::Get(get))?;
            }
            "list" => {
                let life = args.number("life")?.ok_or("life=")?;
                let (actor, late) = (Actor::new(args.node(0)?, life), args.late()?);
                if let Err(node) = self.cluster().list_dead(actor, &late) {
                    shown = format!("n{node} does not confirm\n");
                }
            }
            "ring" => self.cluster().step_rows(&args.plain, &args.late()?)?,
            "show" => shown = self.show(&args.key(0)?)?,
            "hints" => shown = self.hints(args.node(0)?)?,
            "answer" => shown = self.explained()?,
            "explain" => {
                let key = args.key(1)?;
                let (bucket, bytes) = (key.bucket().to_owned(), key.key().to_vec());
                self.ask(&args, Token::of(&key), Question::Explain { bucket, key: bytes })?;
            }
            "siblings" => {
                let question = Question::Siblings { bucket: None, limit: 10 };
                self.ask(&args, Token(0), question)?;
            }
            "status" => self.ask(&args, Token(0), Question::Status)?,
            other => self.faults(other, &args)?,
        }
        self.cluster().settle();
        self.note_contexts();
        let traced: Vec<String> = std::mem::take(&mut self.cluster().trace);
        let mut out = String::new();
        for line in traced {
            writeln!(out, "{line}")?;
        }
        Ok(out + &shown)
    }
}
