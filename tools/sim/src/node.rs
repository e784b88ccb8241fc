//! A simulated node: disks that outlive it, and a process that does not.
//!
//! Invariant: what a process knew is gone with it; its disks keep what a real disk would. A process
//! goes on under the life before it only if its page says so: that outlives a kill, not the power.
//! Not here: what arrives when (`world`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ringdove::causality::{Actor, Dot, Value};
use ringdove::ring::{Liveness, MemberNumber, Peer, Ring, Slot, View};
use ringdove::shard::{Now, Shard, ShardConfig};
use ringdove::storage::{
    Life, LogEnd, MemoryDisk, MemorySync, Options, Place, ReadResult, Store, StoreError, SyncJob,
    Written,
};

use crate::happening::Happening;

/// One node of the cluster.
pub(crate) struct Node {
    /// Its number in the ring.
    pub(crate) number: MemberNumber,
    /// One disk for each shard.
    pub(crate) disks: Vec<MemoryDisk>,
    /// Its process, while there is one.
    pub(crate) process: Option<Process>,
    /// Whom it thinks up.
    pub(crate) believes: BTreeMap<MemberNumber, bool>,
    /// Whom it thinks down until then, whatever it hears.
    pub(crate) slander: BTreeMap<MemberNumber, Duration>,
    /// By how much its wall clock is off, in milliseconds.
    pub(crate) wall_skew_ms: i64,
    /// By how much everything it does takes longer.
    pub(crate) slowdown: u32,
    /// Whether a bit of its disks turned over since it was started.
    pub(crate) rotten: bool,
    /// Whether its disks are full.
    pub(crate) full: bool,
    /// How often it was started.
    pub(crate) starts: u64,
    /// How often it was stopped or went on.
    pub(crate) pauses: u64,
    /// The life that its directory names.
    pub(crate) last_life: Option<u64>,
    /// What lies in memory of the last process, as long as there is power.
    pub(crate) page: Option<Written>,
    /// Whether its disks went back in time since it ran, and only its page knows.
    pub(crate) page_knows: bool,
    /// Whether its operator is going to say that its disks went back in time.
    pub(crate) restored: bool,
    /// Old copies of its disks.
    pub(crate) copies: Vec<Copy>,
    /// The machine that it ran on before a copy of its directory was started on another.
    pub(crate) original: Option<Original>,
    /// The ring that it knows.
    pub(crate) ring: Arc<Ring>,
    /// Whether its disks ever went back in time.
    pub(crate) ever_restored: bool,
}

/// An old copy of a node's disks.
pub(crate) struct Copy {
    /// One for each shard.
    pub(crate) disks: Vec<MemoryDisk>,
    /// The life that it names.
    pub(crate) last_life: Option<u64>,
    /// Whether a bit turned over in what was copied.
    pub(crate) rotten: bool,
    /// The ring of that time.
    pub(crate) ring: Arc<Ring>,
}

/// A machine that stands still, with what lies in its memory and on its disks.
pub(crate) struct Original {
    /// Its disks.
    pub(crate) copy: Copy,
    /// Its page, until its power fails.
    pub(crate) page: Option<Written>,
}

/// A running node.
pub(crate) struct Process {
    /// Which of the node's starts it is.
    pub(crate) start: u64,
    /// Under which name it writes.
    pub(crate) actor: Actor,
    /// When it was started.
    pub(crate) since: Duration,
    /// Its shards.
    pub(crate) shards: Vec<Running>,
    /// Whether it is stopped for now; what happens meanwhile waits here.
    pub(crate) paused: Option<VecDeque<Happening>>,
}

/// A running shard with its driver and syncer.
pub(crate) struct Running {
    /// The machine itself.
    pub(crate) shard: Shard<MemoryDisk>,
    /// When its next tick is on the way for.
    pub(crate) tick_at: Option<Duration>,
    /// Whether a flush is on the way.
    pub(crate) flush_due: bool,
    /// What waits for the syncer.
    pub(crate) unsynced: Option<SyncJob<MemorySync>>,
    /// Whether the syncer is at work.
    pub(crate) syncing: bool,
    /// What was counted of hints when they were last looked at: created, superseded.
    pub(crate) hints_noted: (u64, u64),
    /// The dots in them at that time.
    pub(crate) hinted: BTreeSet<(Slot, Dot)>,
    /// Whether a sync failed: it only reads until it is restarted.
    pub(crate) poisoned: bool,
    /// What it did about dead actors, as of the last look.
    pub(crate) folded: u64,
    pub(crate) started_over: u64,
    pub(crate) retired: u64,
    /// Whether writes are excused once it is durable that slots started over.
    pub(crate) excuse_due: bool,
}

/// What a process is started with.
pub(crate) struct Start {
    /// 48 random bits, for a new life.
    pub(crate) drawn: u64,
    /// Where its shards' randomness comes from.
    pub(crate) seed: u64,
    /// When.
    pub(crate) at: Duration,
    /// The limits of its shards; `shard`, `shards`, `life` and `seed` are filled in here.
    pub(crate) config: ShardConfig,
    /// How its stores are opened.
    pub(crate) options: Options,
}

impl Node {
    /// A node with empty disks that does not run.
    pub(crate) fn new(number: MemberNumber, disks: Vec<MemoryDisk>, ring: Arc<Ring>) -> Self {
        Node {
            number,
            disks,
            process: None,
            believes: BTreeMap::new(),
            slander: BTreeMap::new(),
            wall_skew_ms: 0,
            slowdown: 1,
            rotten: false,
            full: false,
            starts: 0,
            pauses: 0,
            last_life: None,
            page: None,
            page_knows: false,
            restored: false,
            copies: Vec::new(),
            original: None,
            ring,
            ever_restored: false,
        }
    }

    /// What the page says of the running process. In this driver frames leave before the append, so
    /// it is in doubt in between.
    fn written(&self) -> Option<Written> {
        let process = self.process.as_ref()?;
        let stores = || process.shards.iter().map(|running| running.shard.store());
        let whole = stores().all(|store| !store.unwritten() && store.poisoned().is_none());
        let ends = stores().map(Store::end).collect();
        whole.then(|| Written { life: process.actor.life(), ends })
    }

    /// Ends its process at once, and leaves what a killed one leaves. Whether there was one.
    pub(crate) fn end_process(&mut self) -> bool {
        let written = self.written();
        let ended = self.process.take().is_some();
        if ended {
            self.page = written;
            self.disks.iter().for_each(MemoryDisk::kill);
        }
        ended
    }

    /// A copy of its disks as they are, with the life that they name.
    pub(crate) fn copy(&self, seed: u64) -> Copy {
        let disks = self.disks.iter().map(|disk| disk.copy(seed)).collect();
        let (last_life, ring) = (self.last_life, Arc::clone(&self.ring));
        Copy { disks, last_life, rotten: self.rotten, ring }
    }

    /// A copy takes the place of its disks, or with `None` nothing does.
    pub(crate) fn put_in_place(&mut self, copy: Option<&Copy>) {
        assert!(self.process.is_none(), "disks are changed while nobody uses them");
        for (at, disk) in self.disks.iter().enumerate() {
            match copy {
                Some(copy) => disk.restore(&copy.disks[at]),
                None => disk.restore(&MemoryDisk::new(0)),
            }
        }
        self.last_life = copy.and_then(|copy| copy.last_life);
        self.rotten = copy.is_some_and(|copy| copy.rotten);
        self.ever_restored = true;
        if let Some(copy) = copy {
            self.ring = Arc::clone(&copy.ring);
        }
    }

    /// Starts a process on the disks as they are. Gives its life. `Err` when a store does not open.
    pub(crate) fn start(&mut self, start: &Start) -> Result<Life, StoreError> {
        assert!(self.process.is_none(), "a node runs once at a time");
        self.starts += 1;
        let shards = self.disks.len() as u16;
        let options = Options { last_life: self.last_life, ..start.options };
        let open = |disk: &MemoryDisk| Store::open(disk.clone(), options).map(|(store, _)| store);
        let mut stores: Vec<_> = self.disks.iter().map(open).collect::<Result<_, _>>()?;
        let ends = |stores: &[Store<MemoryDisk>]| stores.iter().map(Store::end).collect();
        let found: Vec<LogEnd> = ends(&stores);
        let lacks = self.page.as_ref().is_some_and(|page| page.reaches_beyond(&found));
        if lacks || self.restored {
            stores.iter_mut().try_for_each(Store::begin_recovering)?;
        }
        self.restored = false;
        self.page_knows = false;
        let ends: Vec<LogEnd> = ends(&stores);
        let life = Life::after(self.last_life, self.page.as_ref(), &ends, || start.drawn);
        self.last_life = Some(life.life());
        let mut running = Vec::new();
        for (index, store) in stores.into_iter().enumerate() {
            let config = ShardConfig {
                shard: index as u16,
                shards,
                life: life.life(),
                seed: start.seed.wrapping_add(index as u64),
                ..start.config.clone()
            };
            running.push(Running {
                shard: Shard::new(store, config),
                tick_at: None,
                flush_due: false,
                unsynced: None,
                syncing: false,
                hints_noted: (0, 0),
                hinted: BTreeSet::new(),
                poisoned: false,
                folded: 0,
                started_over: 0,
                retired: 0,
                excuse_due: false,
            });
        }
        self.process = Some(Process {
            start: self.starts,
            actor: Actor::new(self.number.0, life.life()),
            since: start.at,
            shards: running,
            paused: None,
        });
        Ok(life)
    }

    /// Whether synced data are missing from a disk of its running process, and it has not caught up.
    pub(crate) fn recovers(&self) -> bool {
        let mut shards = self.process.iter().flat_map(|process| &process.shards);
        shards.any(|running| running.shard.store().recovering())
    }

    /// A value that a shard staged just now, so that no disk is asked.
    pub(crate) fn staged_value(&mut self, shard: usize, place: Place) -> Option<Value> {
        let process = self.process.as_mut()?;
        match process.shards[shard].shard.store_mut().read(place) {
            Ok(ReadResult::Now(value)) => Some(value),
            Ok(ReadResult::Later(_)) | Err(_) => None,
        }
    }

    /// The actors that its running process writes as, or will.
    pub(crate) fn actors(&self) -> impl Iterator<Item = Actor> + '_ {
        self.process.iter().flat_map(|process| {
            process.shards.iter().map(|running| running.shard.actor().unwrap_or(process.actor))
        })
    }

    /// Whether it runs and is not stopped.
    pub(crate) fn answers(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.paused.is_none())
    }

    /// Whether this start of it still runs.
    pub(crate) fn runs(&self, start: u64) -> bool {
        self.process.as_ref().is_some_and(|process| process.start == start)
    }

    /// The time as its process is told it.
    pub(crate) fn now(&self, at: Duration) -> Now {
        let since = self.process.as_ref().map_or(Duration::ZERO, |process| process.since);
        let wall = 1_700_000_000_000 + at.as_millis() as i64 + self.wall_skew_ms;
        Now { elapsed: at.saturating_sub(since), wall_ms: wall.max(0) as u64 }
    }

    /// The cluster as it sees it. `shards` are those of every node, by place.
    pub(crate) fn view(&self, shards: &[u16]) -> View {
        let peers = self.believes.iter().map(|(member, up)| {
            let liveness = if *up { Liveness::Up } else { Liveness::Down };
            (*member, Peer { liveness, shards: shards[place(*member)] })
        });
        let (me, ring) = (self.number, Arc::clone(&self.ring));
        View { me, ring, rolled_back: false, peers: peers.collect() }
    }
}

/// A member's place among the nodes: numbers go from 1.
pub(crate) fn place(member: MemberNumber) -> usize {
    usize::from(member.0) - 1
}
