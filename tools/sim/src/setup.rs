//! What a run begins with: its keys, its ring, its disks.
//!
//! Invariant: the ring is a founding ring as real nodes would compute it.

use std::sync::Arc;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::BytesMut;
use ringdove::causality::Secret;
use ringdove::key::{DEFAULT_BUCKET, Key};
use ringdove::ring::{
    ClusterId, Epoch, Member, MemberNumber, NodeId, Ring, Settings, Slot, Token, found,
};
use ringdove::storage::MemoryDisk;
use ringdove::wire::{Frame, encode, split};

use crate::dice::Dice;
use crate::history::KeyPlace;
use crate::mix::{Mix, Workload};
use crate::node::Node;

/// How many names are tried to find keys that share a slot.
const NAMES: u32 = 100_000;
/// How many keys are wanted in a slot.
pub(crate) const KEYS_PER_SLOT_MAX: usize = 4;

/// Slots in which some names share a place, with those names.
fn crowded_slots() -> &'static Vec<Vec<KeyPlace>> {
    static SLOTS: OnceLock<Vec<Vec<KeyPlace>>> = OnceLock::new();
    SLOTS.get_or_init(|| {
        let mut slots: BTreeMap<Slot, Vec<KeyPlace>> = BTreeMap::new();
        for number in 0..NAMES {
            let name = format!("k{number}");
            let key = Key::new(DEFAULT_BUCKET, name.as_bytes()).expect("a key");
            let token = Token::of(&key);
            let places = slots.entry(token.slot()).or_default();
            if places.len() < KEYS_PER_SLOT_MAX {
                places.push(KeyPlace { key, name, token, slot: token.slot() });
            }
        }
        slots.into_values().filter(|places| places.len() == KEYS_PER_SLOT_MAX).collect()
    })
}

/// The keys of a run: some in one slot, because they share its clock.
pub(crate) fn keys(seed: u64, workload: &Workload) -> Vec<KeyPlace> {
    assert!(workload.keys_per_slot <= KEYS_PER_SLOT_MAX, "so many names are known per slot");
    let dice = &mut Dice::new(seed, "keys");
    let crowded = crowded_slots();
    let mut keys: Vec<KeyPlace> = Vec::new();
    while keys.len() < workload.slots * workload.keys_per_slot {
        let places = &crowded[dice.index(crowded.len())];
        if keys.iter().all(|place| place.slot != places[0].slot) {
            keys.extend(places.iter().take(workload.keys_per_slot).cloned());
        }
    }
    keys
}

/// The founding ring.
pub(crate) fn ring(mix: &Mix) -> Ring {
    let member = |number: u16| Member {
        number: MemberNumber(number),
        id: NodeId(u128::from(number) << 96),
        name: format!("n{number}"),
        addr: ([127, 0, 0, 1], 7400 + number).into(),
        zone: String::new(),
        weight: 1,
        since: Epoch(1),
        leaving: false,
    };
    let members = (1..=mix.shards.len() as u16).map(member).collect();
    found(
        ClusterId(1),
        Secret([7; 16]),
        members,
        Settings { copies: mix.copies, ..Settings::default() },
    )
}

/// The nodes, none of them running, with empty disks.
pub(crate) fn nodes(seed: u64, mix: &Mix, ring: &Arc<Ring>) -> Vec<Node> {
    let dice = &mut Dice::new(seed, "disk whims");
    let node = |(place, shards): (usize, &u16)| {
        let disks = (0..*shards).map(|_| {
            let disk = MemoryDisk::new(dice.bits());
            disk.delay_reads(mix.disks.later);
            disk
        });
        Node::new(MemberNumber(place as u16 + 1), disks.collect(), Arc::clone(ring))
    };
    mix.shards.iter().enumerate().map(node).collect()
}

/// A frame after it went through the real codec and back, or why it did not.
pub(crate) fn carried(frame: &Frame) -> Result<Frame, String> {
    let mut bytes = Vec::new();
    encode(frame, &mut bytes).map_err(|why| format!("does not encode: {why}"))?;
    let mut buffer = BytesMut::from(&bytes[..]);
    match split(&mut buffer) {
        Ok(Some(frame)) if buffer.is_empty() => Ok(frame),
        Ok(_) => Err("is not all of its bytes".to_owned()),
        Err(why) => Err(format!("does not decode: {why}")),
    }
}
