//! The bytes of datagrams and of the control file: frozen ones, changed ones, and rubbish.
//!
//! `RINGDOVE_WRITE_VECTORS=1 cargo test --test control` writes the frozen files anew; the difference is
//! then there to be reviewed, and a change to a released format is wrong however it came about.

use std::fmt::Write;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use proptest::prelude::*;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use ringdove::causality::Secret;
use ringdove::control::{Control, ControlConfig, ControlState, Effect, Event, Ignored, Moved};
use ringdove::ring::{ClusterId, Epoch, MemberNumber, NodeId};
use ringdove::wire::datagram::{
    Card, Datagram, Hello, MAX_DATAGRAM, MAX_NAME, MAX_SEEDS_SHOWN, MAX_SHARDS, Stage,
};
use ringdove::wire::gossip::{
    BUCKETS, Beat, Claim, Details, Digest, Digests, Errand, Essentials, Gossip, Head, MAX_ACCUSERS,
    News, Pull, Rank, Root, Stamp, fit,
};

use super::net::{Net, addr, seconds};

fn card() -> Card {
    Card {
        id: NodeId(0x0123_4567_89ab_cdef_0011_2233_4455_6677),
        name: "anna".to_owned(),
        addr: addr(0),
        zone: "east".to_owned(),
        copies: 3,
        seeds: 0x1122_3344_5566_7788,
        share: Secret(*b"0123456789abcdef"),
    }
}

fn hello(stage: Stage) -> Datagram {
    let seeds = "10.0.0.1:7400, 10.0.0.2:7400".to_owned();
    let (answer, round, at, boot, life) = (false, 7, addr(1), 3, 0xfeed);
    let leader = None;
    Datagram::Hello(Hello { answer, round, at, boot, life, card: card(), stage, seeds, leader })
}

fn head() -> Head {
    Head {
        cluster: ClusterId(0xc1),
        from: card().id,
        to: NodeId(2),
        boot: 3,
        life: 0xfeed,
        incarnation: 1,
        epoch: Epoch(1),
        ring: 0xdead_beef,
        fingerprint: 0x0fed_cba9_8765_4321,
    }
}

fn beat() -> Beat {
    Beat { head: head(), seq: 300, log: vec![70_000, 5], rolled_back: false, news: Vec::new() }
}

fn news() -> Vec<News> {
    let stamp = Stamp { boot: 3, version: 1 };
    let addr = "[2001:db8::1]:7400".parse().expect("an address");
    let essentials = Essentials { stamp, addr, shards: 2 };
    let (epoch, ring, name) = (Epoch(1), 0xdead_beef, "anna".to_owned());
    let details = Details { stamp, name, epoch, ring };
    let full = News {
        of: MemberNumber(1),
        claim: Claim::alive(3, 1),
        accusers: Vec::new(),
        essentials: Some(essentials),
        details: Some(details),
    };
    let suspect = News {
        of: MemberNumber(300),
        claim: Claim::alive(9, 0).ranked(Rank::Suspect),
        accusers: vec![MemberNumber(1), MemberNumber(2)],
        essentials: None,
        details: None,
    };
    vec![full, suspect]
}

fn digest() -> Digest {
    let (essentials, details) = (Stamp { boot: 3, version: 1 }, Stamp { boot: 3, version: 4 });
    Digest { of: MemberNumber(1), claim: Some(Claim::alive(3, 0)), essentials, details }
}

/// Everything that is said of members.
fn gossip() -> Vec<(&'static str, Datagram)> {
    let (head, seq, target) = (head(), 300, MemberNumber(7));
    let errand = |answered, news| Errand { head, seq, target, answered, news };
    let unknown = Digest {
        of: MemberNumber(2),
        claim: None,
        essentials: Stamp::default(),
        details: Stamp::default(),
    };
    let buckets = (0..BUCKETS as u32).map(|n| n * 0x0101_0101).collect();
    vec![
        ("ask", Datagram::Ask(errand(false, Vec::new()))),
        ("told", Datagram::Told(errand(true, news()))),
        ("rumours", Datagram::Rumours(Gossip { head, news: news() })),
        ("root", Datagram::Root(Root { head, buckets })),
        ("digests", Datagram::Digests(Digests { head, digests: vec![digest(), unknown] })),
        ("pull", Datagram::Pull(Pull { head, want: vec![unknown], news: news() })),
        ("facts", Datagram::Facts(Gossip { head, news: news() })),
    ]
}

fn samples() -> Vec<(&'static str, Datagram)> {
    let (cluster, proposal, ring) = (ClusterId(0xc1), 0xabc, 0xdead_beef);
    let mut samples = vec![
        ("hello-gathering", hello(Stage::Gathering)),
        ("hello-voted", hello(Stage::Voted { proposal, ring })),
        ("hello-doubting", hello(Stage::Doubting)),
        ("hello-founded", hello(Stage::Founded { cluster, proposal, ring })),
        ("hello-ready", hello(Stage::Ready { cluster })),
        ("probe", Datagram::Probe(beat())),
        ("ack", Datagram::Ack(Beat { log: Vec::new(), news: news(), ..beat() })),
    ];
    samples.extend(gossip());
    samples
}

/// A state with everything in it: what a founder has on its disk after its cluster is founded.
fn state() -> ControlState {
    let mut net = Net::cluster(1, 2);
    assert!(net.run_until(seconds(10.0), Net::settled));
    let mut state = net.nodes[0].disk.clone();
    state.moved = vec![Moved { id: NodeId(9), addr: addr(9), boot: 4 }];
    state
}

/// Bytes in hex with what can be read in them, after a line of the header.
fn annotate(name: &str, bytes: &[u8]) -> String {
    let (header, body) = bytes.split_at(12);
    let mut text =
        format!("# {name}\n{}  # magic, version, crc32c\n# MessagePack\n", HEXLOWER.encode(header));
    for row in body.chunks(16) {
        let letter = |byte: &u8| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '.' };
        let seen: String = row.iter().map(letter).collect();
        writeln!(text, "{:<32}  # {seen}", HEXLOWER.encode(row)).expect("a string grows");
    }
    text
}

fn frozen(name: &str, bytes: &[u8]) -> Vec<u8> {
    let file = format!("tests/vectors/datagram/{name}.txt");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("RINGDOVE_WRITE_VECTORS").is_some() {
        std::fs::write(&path, annotate(name, bytes)).expect("written");
    }
    let text = std::fs::read_to_string(&path).expect("a frozen file");
    let digits = text.lines().map(|line| line.split('#').next().unwrap_or("").trim());
    HEXLOWER.decode(digits.collect::<String>().as_bytes()).expect("hex")
}

#[test]
fn datagrams_keep_their_bytes() {
    for (name, datagram) in samples() {
        let bytes = datagram.encode();
        let frozen = frozen(name, &bytes);
        assert_eq!(HEXLOWER.encode(&bytes), HEXLOWER.encode(&frozen), "{name} changed its bytes");
        assert_eq!(Datagram::decode(&frozen), Ok(datagram), "{name}");
    }
}

#[test]
fn the_control_file_keeps_its_bytes() {
    // Of the frozen bytes only the reading is fixed: what was written once is read for ever.
    let bytes = frozen("control-state-2", &state().encode());
    let read = ControlState::decode(&bytes).expect("a state");
    assert_eq!(read.encode(), bytes);
    assert_eq!(read.vote.map(|vote| vote.ring()), read.ring);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        assert!(ControlState::decode(&changed).is_err(), "byte {at} does not matter");
        assert!(ControlState::decode(&bytes[..at]).is_err(), "the end does not matter");
    }
}

/// The file of the first release, which knew no votes.
#[test]
fn a_control_file_without_votes_is_read() {
    let text = include_str!("../vectors/datagram/control-state.txt");
    let digits = text.lines().map(|line| line.split('#').next().unwrap_or("").trim());
    let bytes = HEXLOWER.decode(digits.collect::<String>().as_bytes()).expect("hex");
    let read = ControlState::decode(&bytes).expect("a state");
    assert_eq!((read.votes.promised, read.bound), (None, None));
    assert_eq!(read.vote.map(|vote| vote.ring()), read.ring);
}

#[test]
fn the_largest_datagrams_fit() {
    let long = "é".repeat(MAX_NAME / 2);
    let far = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().expect("an address");
    let (big, id) = (u64::MAX, NodeId(u128::MAX));
    let card = Card {
        id,
        name: long.clone(),
        addr: far,
        zone: long.clone(),
        copies: u8::MAX,
        seeds: big,
        share: Secret([255; 16]),
    };
    let stage = Stage::Founded { cluster: ClusterId(big), proposal: big, ring: big };
    let seeds = "s".repeat(MAX_SEEDS_SHOWN);
    let (answer, round, at, boot, life) = (true, big, far, big, big);
    let leader = Some(far);
    let hello = Hello { answer, round, at, boot, life, card, stage, seeds, leader };
    let hello = Datagram::Hello(hello);
    let head = Head {
        cluster: ClusterId(big),
        from: id,
        to: id,
        boot: big,
        life: big,
        incarnation: big,
        epoch: Epoch(u32::MAX),
        ring: big,
        fingerprint: big,
    };
    let (of, stamp) = (MemberNumber(u16::MAX), Stamp { boot: big, version: big });
    let claim = Claim { boot: big, incarnation: big, rank: Rank::Left };
    let news = News {
        of,
        claim,
        accusers: vec![of; MAX_ACCUSERS],
        essentials: Some(Essentials { stamp, addr: far, shards: MAX_SHARDS }),
        details: Some(Details { stamp, name: long, epoch: Epoch(u32::MAX), ring: big }),
    };
    let digest = Digest { of, claim: Some(claim), essentials: stamp, details: stamp };
    let log = vec![big; usize::from(MAX_SHARDS)];
    let beside = 40 + 9 * log.len();
    let news = |beside| fit(&mut vec![news.clone(); 100], beside, News::bytes);
    let beat = Datagram::Probe(Beat { head, seq: big, log, rolled_back: true, news: news(beside) });
    let errand = Errand { head, seq: big, target: of, answered: true, news: news(40) };
    let digests = fit(&mut vec![digest; 100], 0, Digest::bytes);
    let want = vec![digest; 10];
    let beside = 10 + want.iter().map(Digest::bytes).sum::<usize>();
    let pull = Pull { head, want, news: news(beside) };
    let gossip = Datagram::Rumours(Gossip { head, news: news(0) });
    let digests = Datagram::Digests(Digests { head, digests });
    let root = Datagram::Root(Root { head, buckets: vec![u32::MAX; BUCKETS] });
    let rest = [gossip, digests, root, Datagram::Told(errand), Datagram::Pull(pull)];
    for datagram in [hello, beat].into_iter().chain(rest) {
        let bytes = datagram.encode();
        assert!(bytes.len() <= MAX_DATAGRAM);
        assert_eq!(Datagram::decode(&bytes), Ok(datagram));
    }
}

/// Datagrams whose checksum is right and whose fields are not.
#[test]
fn fields_beyond_their_limits_are_refused() {
    let one = |news: News| Datagram::Ack(Beat { news: vec![news], ..beat() });
    let first = || news().swap_remove(0);
    let names = |name: String| {
        let details = first().details.map(|it| Details { name, ..it });
        one(News { details, ..first() })
    };
    let shards = |shards| {
        let essentials = first().essentials.map(|it| Essentials { shards, ..it });
        one(News { essentials, ..first() })
    };
    let log = |len| Datagram::Ack(Beat { log: vec![1; len], ..beat() });
    let accusers = |len| one(News { accusers: vec![MemberNumber(1); len], ..first() });
    let buckets = |len| Datagram::Root(Root { head: head(), buckets: vec![0; len] });
    let copies = |copies| match hello(Stage::Gathering) {
        Datagram::Hello(hello) => {
            let card = Card { copies, ..hello.card.clone() };
            Datagram::Hello(Hello { card, ..hello })
        }
        other => other,
    };
    for (fine, wrong) in [
        (names("n".repeat(MAX_NAME)), names("n".repeat(MAX_NAME + 1))),
        (shards(64), shards(0)),
        (shards(1), shards(3)),
        (shards(2), shards(128)),
        (log(64), log(65)),
        (copies(1), copies(0)),
        (accusers(MAX_ACCUSERS), accusers(MAX_ACCUSERS + 1)),
        (buckets(BUCKETS), buckets(BUCKETS - 1)),
    ] {
        assert_eq!(Datagram::decode(&fine.encode()), Ok(fine));
        assert!(Datagram::decode(&wrong.encode()).is_err(), "{wrong:?}");
    }
}

/// A header over any body.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut bytes = b"RDOV\x01\0\0\0".to_vec();
    bytes.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..1400)) {
        let _ = Datagram::decode(&bytes);
        let _ = Datagram::decode(&sealed(&bytes));
        let _ = ControlState::decode(&bytes);
    }

    #[test]
    fn a_changed_byte_is_noticed(which in 0usize..13, at: prop::sample::Index, bit in 0u8..8) {
        let (_, datagram) = samples().swap_remove(which);
        let mut bytes = datagram.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(Datagram::decode(&bytes).is_err());
        // With the checksum made right it may be another datagram, and nothing worse.
        let _ = Datagram::decode(&sealed(&bytes[12..]));
    }
}

/// Whatever comes in, in whatever stage, the machine goes on as it would have without it.
#[test]
fn strange_datagrams_stop_nobody() {
    let mut random = ChaCha8Rng::seed_from_u64(16);
    let mut net = Net::new(16);
    net.add_all(3, &[0, 1, 2]);
    net.start(0);
    net.start(1);
    for round in 0..400 {
        if round == 200 {
            net.start(2);
        }
        let place = usize::from(random.random_bool(0.5));
        let bytes = if random.random_bool(0.5) {
            let (_, datagram) = samples().swap_remove(random.random_range(0..13));
            let mut body = datagram.encode().split_off(12);
            for _ in 0..random.random_range(0..3) {
                let at = random.random_range(0..body.len());
                body[at] ^= 1 << random.random_range(0..8);
            }
            sealed(&body)
        } else {
            (0..random.random_range(0..1300)).map(|_| random.random()).collect()
        };
        net.step(place, Event::Datagram(addr(60), bytes));
        net.run(0.05);
    }
    assert!(net.run_until(seconds(5.0), Net::settled));
    net.assert_one_cluster();
    let ignored = net.machine(0).ignored();
    assert!(ignored.get(&Ignored::Malformed).is_some_and(|count| *count > 20), "{ignored:?}");
}

#[test]
fn what_cannot_work_is_refused_with_words() {
    let fine = ControlConfig {
        name: "n1".to_owned(),
        advertise: addr(0),
        zone: String::new(),
        seeds: vec!["10.0.0.1:7400".to_owned(), " Node-2.test:7400 ".to_owned()],
        copies: 3,
        shards: 2,
    };
    let state = ControlState::new(&mut ChaCha8Rng::seed_from_u64(1));
    let refusal = |config: ControlConfig| {
        let refused = Control::new(config, state.clone(), 1).err();
        refused.map(|error| error.to_string())
    };
    assert_eq!(refusal(fine.clone()), None);
    let seeds = |seed: &str| ControlConfig { seeds: vec![seed.to_owned()], ..fine.clone() };
    let anywhere = "0.0.0.0:7400".parse().expect("an address");
    for (config, words) in [
        (ControlConfig { name: String::new(), ..fine.clone() }, "1 to 64 bytes"),
        (ControlConfig { name: "n".repeat(65), ..fine.clone() }, "1 to 64 bytes"),
        (ControlConfig { name: "a\nb".to_owned(), ..fine.clone() }, "control characters"),
        (ControlConfig { copies: 0, ..fine.clone() }, "copies"),
        (ControlConfig { shards: 3, ..fine.clone() }, "power of two"),
        (ControlConfig { advertise: anywhere, ..fine.clone() }, "--advertise"),
        (seeds("10.0.0.1"), "HOST:PORT"),
        (seeds("10.0.0.1:0"), "HOST:PORT"),
        (seeds("10.0.0.1:99999"), "HOST:PORT"),
        (seeds("http://a:7400"), "HOST:PORT"),
        (seeds("::1:7400"), "HOST:PORT"),
        (seeds(":7400"), "HOST:PORT"),
        (seeds("bücher.test:7400"), "HOST:PORT"),
        (
            ControlConfig { seeds: (1..300).map(|n| format!("h:{n}")).collect(), ..fine.clone() },
            "at most",
        ),
    ] {
        let said = refusal(config.clone());
        assert!(said.as_ref().is_some_and(|said| said.contains(words)), "{config:?}: {said:?}");
    }
}

#[test]
fn nothing_is_sent_before_the_boot_counter_is_on_the_disk() {
    let config = ControlConfig {
        name: "n1".to_owned(),
        advertise: addr(0),
        zone: String::new(),
        seeds: vec![addr(0).to_string(), addr(1).to_string()],
        copies: 3,
        shards: 1,
    };
    let state = ControlState::new(&mut ChaCha8Rng::seed_from_u64(1));
    let mut machine = Control::new(config, state, 1).expect("a fine configuration");
    let mut effects = Vec::new();
    let hello = hello(Stage::Gathering).encode();
    for tick in 0..20 {
        machine.step(
            seconds(f64::from(tick)),
            Event::Datagram(addr(1), hello.clone()),
            &mut effects,
        );
    }
    let persists: Vec<(u64, u64)> = effects
        .iter()
        .map(|effect| match effect {
            Effect::Persist(number, state) => (*number, state.boot),
            other => panic!("{other:?} came too early"),
        })
        .collect();
    assert_eq!(persists, [(1, 1)]);
    machine.step(seconds(21.0), Event::PersistFailed(1, "no space".to_owned()), &mut effects);
    assert!(machine.status_part().waiting.contains("no space"));
    effects.clear();
    machine.step(seconds(30.0), Event::Persisted(1), &mut effects);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Datagram(..))), "{effects:?}");
}

/// Two versions that make different rings of the same cards must not found: both say so.
#[test]
fn another_ring_of_the_same_founders_is_refused() {
    for end in ["voted", "founded"] {
        let config = ControlConfig {
            name: "n1".to_owned(),
            advertise: addr(0),
            zone: String::new(),
            seeds: vec![addr(0).to_string(), addr(1).to_string()],
            copies: 3,
            shards: 1,
        };
        let state = ControlState::new(&mut ChaCha8Rng::seed_from_u64(1));
        let mut machine = Control::new(config, state, 1).expect("a fine configuration");
        let (mut now, mut vote, mut asked) = (0.0, None, None);
        for _ in 0..200 {
            now += 0.1;
            let mut effects = Vec::new();
            let event = match (asked.take(), &vote) {
                (Some(Hello { round, at, card, seeds, .. }), vote) => {
                    let id = NodeId(u128::MAX);
                    let card = Card { id, name: "n2".to_owned(), addr: at, ..card };
                    let stage = match vote {
                        None => Stage::Gathering,
                        Some(proposal) if end == "voted" => {
                            Stage::Voted { proposal: *proposal, ring: 1 }
                        }
                        Some(proposal) => {
                            Stage::Founded { cluster: ClusterId(1), proposal: *proposal, ring: 1 }
                        }
                    };
                    let (answer, boot, life) = (true, 1, 2);
                    let leader = None;
                    let hello = Hello { answer, round, at, boot, life, card, stage, seeds, leader };
                    Event::Datagram(addr(1), Datagram::Hello(hello).encode())
                }
                (None, _) => Event::Tick,
            };
            machine.step(seconds(now), event, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Persist(number, state) => {
                        vote = state.vote.as_ref().map(|vote| vote.hash());
                        assert_eq!(state.ring, None, "founded with another ring");
                        let mut later = Vec::new();
                        machine.step(seconds(now), Event::Persisted(number), &mut later);
                        asked = asked.or_else(|| later.iter().find_map(question));
                    }
                    other => asked = question(&other).or(asked),
                }
            }
        }
        assert!(vote.is_some(), "it never voted");
        let waiting = machine.status_part().waiting;
        assert!(waiting.contains("n2 (10.0.0.2:7400) makes another ring"), "{end}: {waiting}");
        assert!(machine.view().is_none());
    }
}

fn question(effect: &Effect) -> Option<Hello> {
    match effect {
        Effect::Datagram(_, bytes) => match Datagram::decode(bytes) {
            Ok(Datagram::Hello(hello)) if !hello.answer => Some(hello),
            _ => None,
        },
        _ => None,
    }
}
