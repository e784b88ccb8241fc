//! Where a key lies: its token, and the slot that the token falls into.
//!
//! Invariant: the token of a bucket and key is the same on every machine and in every release; the
//! frozen vectors in `tests/vectors/tokens.txt` hold it to that. The key of the hash is public: it spreads keys, it
//! does not protect.

use std::fmt;
use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;
use thiserror::Error;

use crate::key::Key;

/// The number of slots: the top 14 bits of a token.
pub const SLOTS: u16 = 1 << 14;

const HASH_KEY: [u8; 16] = *b"ringdove token 1";

/// A key's place on the ring: SipHash-2-4 of its bucket and key under a fixed key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token(pub u64);

impl Token {
    /// The token of a key: the hash of [`Key::as_bytes`].
    pub fn of(key: &Key) -> Self {
        let mut hasher = SipHasher24::new_with_key(&HASH_KEY);
        hasher.write(key.as_bytes());
        Token(hasher.finish())
    }

    /// The slot it falls into.
    pub fn slot(self) -> Slot {
        Slot((self.0 >> 50) as u16)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One of [`SLOTS`] equal ranges of tokens: the unit of causality, repair and transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Slot(u16);

/// A number that no slot has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("there is no slot {0}: slots go from 0 to 16383")]
pub struct NoSuchSlot(pub u16);

impl TryFrom<u16> for Slot {
    type Error = NoSuchSlot;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        Slot::new(number).ok_or(NoSuchSlot(number))
    }
}

impl From<Slot> for u16 {
    fn from(slot: Slot) -> Self {
        slot.0
    }
}

impl Slot {
    /// The slot of this number, if there is one.
    pub fn new(number: u16) -> Option<Self> {
        (number < SLOTS).then_some(Slot(number))
    }

    /// Its number, below [`SLOTS`].
    pub fn number(self) -> u16 {
        self.0
    }

    /// All slots, ascending.
    pub fn all() -> impl Iterator<Item = Slot> {
        (0..SLOTS).map(Slot)
    }

    /// Which of a node's `shards` (a power of two) holds it.
    pub fn shard(self, shards: u16) -> u16 {
        self.0 % shards.max(1)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frozen_vectors_hold() {
        let vectors = include_str!("../../tests/vectors/tokens.txt");
        let mut checked = 0;
        for line in vectors.lines().filter(|line| !line.starts_with('#')) {
            let [bucket, key, token, slot] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("four fields: {line}")
            };
            let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).expect("hex");
            let key = match key.split_once('*') {
                Some((byte, times)) => hex(byte).repeat(times.parse().expect("a number")),
                None => hex(key),
            };
            let found = Token::of(&Key::new(bucket, &key).expect("a key"));
            assert_eq!((found.to_string(), found.slot().to_string()), (token.into(), slot.into()));
            checked += 1;
        }
        assert_eq!(checked, 12);
    }

    #[test]
    fn bucket_and_key_do_not_run_together() {
        let token =
            |bucket, key: &str| Token::of(&Key::new(bucket, key.as_bytes()).expect("a key"));
        assert_ne!(token("cart", "ann"), token("car", "tann"));
    }
}
