//! What one seed's world is like: its size, its workload, its weather.
//!
//! Swarm testing (Groce et al. 2012): each seed draws its own mixture, with whole kinds of trouble
//! left out, because rare orders of events need lopsided mixtures.
//!
//! Invariant: a mix follows from seed, profile and the number of nodes asked for, and nothing else.

use std::time::Duration;

use clap::ValueEnum;
use ringdove::shard::ShardConfig;
use ringdove::wire::Level;

use crate::dice::Dice;

/// Copies wanted in every run.
const COPIES: usize = 3;
/// How often seats move in a mixed run with more nodes than that: then they do in about half of all.
const MOVING: f64 = 0.75;

/// Which kinds of trouble a run may draw from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Everything; each seed its own mixture. Where seats move no disk goes back in time, see `Fault::goes_back`.
    #[default]
    Mixed,
    /// The same, but every seat stays where it is.
    Still,
    /// Nothing goes wrong.
    Calm,
    /// Lanes as TCP gives them: in order, nothing lost or doubled but by a broken lane.
    Lanes,
    /// The network splits and loses, the nodes stay up.
    Splits,
    /// The nodes crash and lose power, the network is well.
    Crashes,
    /// Disks are wiped, or old copies take their place, among other crashes.
    Restores,
    /// The same, but nodes are soon back, so that dead actors are listed and folded all the time.
    Closings,
    /// Seats of the ring change hands all the time, among splits and crashes. No disk goes back in time.
    Ring,
}

/// Kinds of faults, in the order of [`Mix::faults`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Two groups that do not hear each other.
    Split,
    /// Some directed links go dead.
    OneWay,
    /// One node hears nobody.
    Isolate,
    /// All links work again.
    Heal,
    /// kill -9: memory is gone, the page cache stays.
    Kill,
    /// A machine loses power: what was not synced may be gone.
    Power,
    /// All machines lose power together.
    Blackout,
    /// A node that is down starts.
    Restart,
    /// SIGSTOP for a while.
    Pause,
    /// A node does everything slowly for a while.
    Slow,
    /// The lanes between two nodes break.
    Lanes,
    /// A wall clock jumps.
    Clock,
    /// A node thinks for a while that another is down.
    Slander,
    /// The next sync at a node fails.
    SyncFails,
    /// Somebody puts a copy of a node's disks aside.
    BackUp,
    /// An old copy takes the place of a node's disks, or empty ones do.
    Restore,
    /// A link comes and goes, many times.
    Flap,
    /// A node's disks are full for a while.
    Full,
    /// The next append, read, or making of a segment at a node fails.
    Io,
    /// A bit of a node's disks turns over.
    Rot,
    /// A copy of a node's directory is started: beside it, and on another machine in its place.
    Clone,
}

impl Fault {
    /// Every kind. Those after [`Fault::OLDER`] have dice of their own, so that a seed without them is
    /// what it was before they came.
    pub(crate) const ALL: [Fault; 21] = [
        Fault::Split,
        Fault::OneWay,
        Fault::Isolate,
        Fault::Heal,
        Fault::Kill,
        Fault::Power,
        Fault::Blackout,
        Fault::Restart,
        Fault::Pause,
        Fault::Slow,
        Fault::Lanes,
        Fault::Clock,
        Fault::Slander,
        Fault::SyncFails,
        Fault::BackUp,
        Fault::Restore,
        Fault::Flap,
        Fault::Full,
        Fault::Io,
        Fault::Rot,
        Fault::Clone,
    ];
    /// How many of [`Fault::ALL`] are drawn with the mix's first dice.
    const OLDER: usize = 16;

    fn usual_weight(self) -> f64 {
        match self {
            Fault::Split | Fault::Isolate | Fault::Kill | Fault::Power => 2.0,
            Fault::Heal => 3.0,
            Fault::Restart => 5.0,
            Fault::OneWay | Fault::Pause | Fault::Lanes | Fault::Slander => 1.0,
            Fault::Blackout | Fault::Slow | Fault::Clock => 0.5,
            Fault::SyncFails | Fault::Restore | Fault::Rot | Fault::Clone => 0.3,
            Fault::BackUp | Fault::Flap | Fault::Full | Fault::Io => 1.0,
        }
    }

    fn of_network(self) -> bool {
        match self {
            Fault::Split | Fault::OneWay | Fault::Isolate | Fault::Lanes | Fault::Slander => true,
            Fault::Flap => true,
            Fault::Kill | Fault::Power | Fault::Blackout | Fault::SyncFails => false,
            Fault::BackUp | Fault::Restore | Fault::Rot | Fault::Clone => false,
            Fault::Full | Fault::Io => false,
            Fault::Heal | Fault::Restart | Fault::Pause | Fault::Slow | Fault::Clock => false,
        }
    }

    fn of_nodes(self) -> bool {
        let crashes =
            matches!(self, Fault::Kill | Fault::Power | Fault::Blackout | Fault::SyncFails);
        crashes || matches!(self, Fault::Full | Fault::Io) || self.of_disks()
    }

    /// Whether a disk may come to hold less than it did after its last sync.
    fn of_disks(self) -> bool {
        matches!(self, Fault::BackUp | Fault::Restore | Fault::Rot | Fault::Clone)
    }

    /// Whether a whole disk is another one than it was. A member that was restored takes a new id before it has a seat
    /// again, which is not played here: so this stays out of runs whose seats move. A log that a bit turned over in
    /// keeps its member number, with what is whole of it.
    fn goes_back(self) -> bool {
        self.of_disks() && self != Fault::Rot
    }

    /// The cures stay in every mixture.
    fn cures(self) -> bool {
        matches!(self, Fault::Heal | Fault::Restart)
    }
}

/// How the network behaves apart from splits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Weather {
    /// Whether frames between two shards stay in order.
    pub(crate) ordered: bool,
    /// The usual delay of a frame, in microseconds, from and to.
    pub(crate) delay: (u64, u64),
    /// How likely a frame is lost.
    pub(crate) loss: f64,
    /// How likely a frame comes twice.
    pub(crate) duplicate: f64,
    /// How likely a frame is very late.
    pub(crate) straggle: f64,
    /// How late.
    pub(crate) straggle_mean: Duration,
}

/// What the clients do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Workload {
    /// Slots that the keys lie in.
    pub(crate) slots: usize,
    /// Keys in each of them.
    pub(crate) keys_per_slot: usize,
    /// How many clients.
    pub(crate) sessions: usize,
    /// How many operations they do together.
    pub(crate) ops: usize,
    /// How long a client thinks, usually.
    pub(crate) think: Duration,
    /// Weights of get, put with a token, blind put, overwrite, delete with a token, blind delete.
    pub(crate) kinds: [f64; 6],
    /// The levels to choose from.
    pub(crate) levels: Vec<Level>,
    /// How likely a write is strict.
    pub(crate) strict: f64,
    /// How likely an older token is sent than the last one.
    pub(crate) stale: f64,
    /// How likely another session's token is sent.
    pub(crate) borrowed: f64,
    /// How likely a client stays with its node.
    pub(crate) sticky: f64,
    /// How likely a write with an unknown outcome is tried again under its name.
    pub(crate) retry: f64,
    /// How many of the clients read with a floor.
    pub(crate) floors: f64,
    /// The longest value.
    pub(crate) value_len: usize,
    /// How long a client waits, in milliseconds, from and to.
    pub(crate) timeout_ms: (u64, u64),
}

/// How the disks behave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Disks {
    /// How long a sync takes, in microseconds, from and to.
    pub(crate) sync: (u64, u64),
    /// How likely a read is answered later.
    pub(crate) later: f64,
    /// How long such a read takes, in microseconds, from and to.
    pub(crate) read: (u64, u64),
    /// How long a driver gathers events before it appends them, in microseconds, at most.
    pub(crate) gather: u64,
    /// The size of a segment.
    pub(crate) segment_bytes: u32,
}

/// Everything that a seed decides before its run begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mix {
    /// Shards of each node.
    pub(crate) shards: Vec<u16>,
    /// Copies wanted.
    pub(crate) copies: u8,
    /// The clients.
    pub(crate) workload: Workload,
    /// The network during the safety phase.
    pub(crate) weather: Weather,
    /// The disks.
    pub(crate) disks: Disks,
    /// How often a node looks who is there.
    pub(crate) detect_every: Duration,
    /// How likely such a look is wrong.
    pub(crate) mistake: f64,
    /// How long between faults, usually.
    pub(crate) fault_every: Duration,
    /// The weight of each fault, as in [`Fault::ALL`]. All 0: none.
    pub(crate) faults: [f64; Fault::ALL.len()],
    /// Whether all nodes are killed when the faults end.
    pub(crate) restart_all: bool,
    /// How long between two looks at dead actors, usually. `None`: nobody is ever listed.
    pub(crate) closing: Option<Duration>,
    /// How long between two steps of the ring, usually. `None`: every seat stays where it is.
    pub(crate) moves: Option<Duration>,
    /// The limits and intervals of every shard.
    pub(crate) config: ShardConfig,
}

impl Mix {
    /// Draws the mix of a seed.
    pub(crate) fn draw(seed: u64, nodes: Option<usize>, profile: Profile) -> Mix {
        let dice = &mut Dice::new(seed, "mix");
        let nodes = nodes.unwrap_or_else(|| match profile {
            Profile::Ring => dice.pick(&[4, 4, 5, 5, 6]),
            _ => dice.pick(&[3, 3, 4, 5, 5, 6]),
        });
        let odd_shards = dice.chance(0.1);
        let shard_count = |dice: &mut Dice| if odd_shards { dice.pick(&[1, 2, 4]) } else { 2 };
        let mut mix = Mix {
            shards: (0..nodes).map(|_| shard_count(dice)).collect(),
            copies: COPIES as u8,
            workload: Workload::draw(dice, &mut Dice::new(seed, "floor share"), profile),
            weather: Weather::draw(dice, profile),
            disks: Disks::draw(dice),
            detect_every: dice.micros(50_000, 500_000),
            mistake: if profile == Profile::Calm { 0.0 } else { dice.pick(&[0.0, 0.0, 0.01, 0.1]) },
            fault_every: dice.micros(100_000, 1_500_000),
            faults: draw_faults(dice, &mut Dice::new(seed, "more faults"), profile),
            restart_all: profile != Profile::Calm && dice.chance(0.3),
            config: draw_config(dice, profile),
            closing: draw_closing(seed, profile),
            moves: draw_moves(seed, profile, nodes),
        };
        if mix.moves.is_some() {
            let weights = Fault::ALL.iter().zip(&mut mix.faults);
            weights.filter(|(fault, _)| fault.goes_back()).for_each(|(_, weight)| *weight = 0.0);
        }
        let lopsided = &mut Dice::new(seed, "lopsided");
        if profile == Profile::Ring && lopsided.chance(0.5) {
            mix.hold_apart(lopsided);
        }
        mix
    }

    /// Copies stay different for long, and what is promised is asked for: quorums while seats change hands fast.
    fn hold_apart(&mut self, dice: &mut Dice) {
        self.moves = Some(dice.micros(30_000, 300_000));
        self.config.sync_interval = dice.micros(1_000_000, 4_000_000);
        self.weather.loss = dice.pick(&[0.1, 0.3, 0.5]);
        self.weather.ordered = false;
        self.workload.levels = vec![Level::Quorum];
        self.workload.strict = 1.0;
        self.workload.kinds = [4.0, 1.0, 2.0, 1.0, 0.5, 0.0];
        self.workload.keys_per_slot = 3;
        self.workload.ops = 120;
    }
}

fn draw_faults(dice: &mut Dice, more: &mut Dice, profile: Profile) -> [f64; Fault::ALL.len()] {
    let some_more = more.chance(0.7);
    let mut place = 0;
    let mut weights = Fault::ALL.map(|fault| {
        place += 1;
        let older = place <= Fault::OLDER;
        let dice = if older { &mut *dice } else { &mut *more };
        let allowed = match profile {
            Profile::Mixed | Profile::Still | Profile::Lanes => older || some_more,
            Profile::Calm => false,
            Profile::Splits => !fault.of_nodes(),
            Profile::Crashes => !fault.of_network() && !fault.of_disks(),
            Profile::Restores => older || some_more,
            Profile::Closings => !fault.of_network() && (older || some_more),
            Profile::Ring => !fault.of_disks() && (older || some_more),
        };
        let drawn = fault.cures() || dice.chance(if older { 0.6 } else { 0.4 });
        let restores = matches!(profile, Profile::Restores | Profile::Closings);
        let drawn = drawn || (restores && fault.of_disks() && older);
        let often = match profile {
            Profile::Restores if fault.of_disks() => 3.0,
            Profile::Closings if fault == Fault::Restart => 10.0,
            Profile::Closings if fault.of_disks() => 5.0,
            _ => 1.0,
        };
        if allowed && drawn {
            often * fault.usual_weight() * dice.pick(&[0.3, 1.0, 1.0, 3.0])
        } else {
            0.0
        }
    });
    if matches!(profile, Profile::Mixed | Profile::Still) && dice.chance(0.04) {
        weights = [0.0; Fault::ALL.len()];
    }
    weights
}

/// From dice of its own, so that all else in a mix is as it would be without.
fn draw_closing(seed: u64, profile: Profile) -> Option<Duration> {
    let dice = &mut Dice::new(seed, "closing mix");
    let likely = match profile {
        Profile::Calm | Profile::Splits => 0.0,
        Profile::Mixed | Profile::Still | Profile::Lanes => 0.3,
        Profile::Crashes | Profile::Ring => 0.3,
        Profile::Restores => 0.7,
        Profile::Closings => 1.0,
    };
    let slowest = if profile == Profile::Closings { 400_000 } else { 2_000_000 };
    let every = dice.micros(50_000, slowest);
    dice.chance(likely).then_some(every)
}

/// From dice of its own, too. A seat can change hands only where somebody has none.
fn draw_moves(seed: u64, profile: Profile, nodes: usize) -> Option<Duration> {
    let every = Dice::new(seed, "moves mix").micros(50_000, 1_500_000);
    let moves = match profile {
        Profile::Ring => true,
        Profile::Mixed => nodes > COPIES && Dice::new(seed, "moves or not").chance(MOVING),
        Profile::Still | Profile::Calm | Profile::Lanes | Profile::Splits => false,
        Profile::Crashes | Profile::Restores | Profile::Closings => false,
    };
    moves.then_some(every)
}

/// Limits small enough to be met, in some runs, and intervals short enough to matter in a minute.
fn draw_config(dice: &mut Dice, profile: Profile) -> ShardConfig {
    let mut config = ShardConfig {
        sync_interval: dice.micros(100_000, 2_000_000),
        scrub_interval: Duration::from_secs(5),
        hint_timeout: dice.micros(300_000, 5_000_000),
        hint_retry: dice.micros(100_000, 1_000_000),
        row_retry: Duration::from_millis(100),
        ask_timeout: dice.micros(300_000, 5_000_000),
        page_bytes: dice.pick(&[1, 200, 1 << 20]),
        asks_max: dice.pick(&[1, 8]),
        hints_in_flight_max: dice.pick(&[1, 64]),
        strips_per_round: dice.pick(&[1, 4_096]),
        delete_log_max: dice.pick(&[0, 3, 1 << 18]),
        clocks_max: dice.pick(&[1, 4_096]),
        ..ShardConfig::default()
    };
    if profile != Profile::Calm && dice.chance(0.3) {
        config.siblings_max = dice.pick(&[3, 128]);
        config.siblings_warn = config.siblings_warn.min(config.siblings_max);
        config.requests_max = dice.pick(&[1, 3, 65_536]);
        config.unsynced_max = dice.pick(&[1, 65_536]);
        config.loads_max = dice.pick(&[1, 4_096]);
        config.hint_bytes_max = dice.pick(&[500, 1 << 30]);
    }
    config
}

impl Weather {
    /// What the network is like once everything is healed.
    pub(crate) const FAIR: Weather = Weather {
        ordered: true,
        delay: (100, 1_000),
        loss: 0.0,
        duplicate: 0.0,
        straggle: 0.0,
        straggle_mean: Duration::ZERO,
    };

    fn draw(dice: &mut Dice, profile: Profile) -> Weather {
        let rough = match profile {
            Profile::Mixed
            | Profile::Still
            | Profile::Restores
            | Profile::Closings
            | Profile::Ring => dice.chance(0.6),
            Profile::Splits => dice.chance(0.5),
            Profile::Calm | Profile::Lanes | Profile::Crashes => false,
        };
        let slowest = dice.pick(&[1_000, 5_000, 50_000]);
        if !rough {
            return Weather { delay: (100, slowest), ..Weather::FAIR };
        }
        Weather {
            ordered: false,
            delay: (100, slowest),
            loss: dice.pick(&[0.0, 0.01, 0.1, 0.3]),
            duplicate: dice.pick(&[0.0, 0.05, 0.3]),
            straggle: dice.pick(&[0.0, 0.02, 0.1]),
            straggle_mean: dice.micros(50_000, 4_000_000),
        }
    }
}

impl Workload {
    fn draw(dice: &mut Dice, floors: &mut Dice, profile: Profile) -> Workload {
        let mut kinds = [3.0, 3.0, 1.0, 1.0, 1.0, 0.1];
        for weight in &mut kinds {
            *weight *= dice.pick(&[0.2, 1.0, 1.0, 3.0]);
        }
        let levels = match dice.index(4) {
            0 => vec![Level::Quorum],
            1 => vec![Level::One, Level::Quorum],
            2 => vec![Level::One],
            _ => vec![Level::One, Level::Quorum, Level::Quorum, Level::All, Level::Count(2)],
        };
        Workload {
            slots: dice.pick(&[1, 1, 2, 4]),
            keys_per_slot: dice.pick(&[1, 2, 3]),
            sessions: dice.pick(&[1, 2, 3, 5]),
            ops: dice.range(20, 120) as usize,
            think: dice.micros(2_000, 150_000),
            kinds,
            levels,
            strict: dice.pick(&[0.0, 0.5, 1.0]),
            stale: dice.pick(&[0.0, 0.1, 0.4]),
            borrowed: dice.pick(&[0.0, 0.1]),
            sticky: dice.pick(&[0.0, 0.8, 1.0]),
            retry: dice.pick(&[0.0, 0.0, 0.5]),
            floors: floors.pick(&[0.0, 0.0, 0.4, 1.0]),
            value_len: dice.pick(&[0, 60, 400]),
            timeout_ms: match (profile, dice.pick(&[(200, 800), (1_000, 3_000), (5_000, 5_000)])) {
                (Profile::Calm, _) => (10_000, 10_000),
                (_, timeout) => timeout,
            },
        }
    }
}

impl Disks {
    fn draw(dice: &mut Dice) -> Disks {
        Disks {
            sync: dice.pick(&[(100, 1_000), (1_000, 20_000), (1_000, 300_000)]),
            later: dice.pick(&[0.0, 0.3, 1.0]),
            read: dice.pick(&[(50, 500), (1_000, 50_000)]),
            gather: dice.pick(&[0, 500, 5_000]),
            segment_bytes: dice.pick(&[4 << 10, 16 << 10, 64 << 10]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(mix: &Mix, fault: Fault) -> f64 {
        mix.faults[Fault::ALL.iter().position(|other| *other == fault).expect("listed")]
    }

    #[test]
    fn seats_move_in_mixed_runs_and_change_nothing_else() {
        let mut moving = 0;
        for seed in 0..1000 {
            let mixed = Mix::draw(seed, None, Profile::Mixed);
            let still = Mix::draw(seed, None, Profile::Still);
            assert_eq!(still.moves, None);
            if mixed.moves.is_none() {
                assert_eq!(mixed, still);
                continue;
            }
            moving += 1;
            for fault in Fault::ALL {
                let expected = if fault.goes_back() { 0.0 } else { weight(&still, fault) };
                assert_eq!(weight(&mixed, fault), expected, "{fault:?}");
            }
            let faults = still.faults;
            assert_eq!(Mix { moves: None, faults, ..mixed }, still);
        }
        assert!((450..=550).contains(&moving), "seats move in {moving} of 1000 mixed runs");
    }

    #[test]
    fn a_profile_keeps_out_what_it_says() {
        for seed in 0..200 {
            let calm = Mix::draw(seed, None, Profile::Calm);
            assert!(calm.faults.iter().all(|weight| *weight == 0.0) && calm.weather.loss == 0.0);
            let splits = Mix::draw(seed, None, Profile::Splits);
            assert_eq!(weight(&splits, Fault::Power), 0.0);
            assert_eq!(weight(&splits, Fault::Io) + weight(&splits, Fault::Rot), 0.0);
            let crashes = Mix::draw(seed, Some(5), Profile::Crashes);
            assert_eq!(weight(&crashes, Fault::Split) + weight(&crashes, Fault::Flap), 0.0);
            assert_eq!(crashes.shards.len(), 5);
        }
    }
}
