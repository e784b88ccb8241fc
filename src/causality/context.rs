//! Contexts as clients hold them: opaque, bound to one key, and proof against forgery.
//!
//! A client hands back what a read or a write gave it. If it could hand back anything else, one
//! mistaken token would silently cover values nobody was shown; so a token names its bucket and key
//! and carries a MAC under a secret that the cluster's members share.
//!
//! | field | form | what |
//! |---|---|---|
//! | version | u8 | 1 |
//! | context | [`DotSet::encode`] | the dots covered |
//! | mac | 16 bytes | SipHash-2-4-128 of the key's length (u32), the key with its bucket, and all of the above |
//!
//! Invariant: [`open_context`] returns a context only if [`seal_context`] made it for this bucket
//! and key under this secret. Not here: base64, which is the edge's matter.

use std::fmt;
use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher24};
use thiserror::Error;

use super::{Dead, DotSet, Resolve, Unresolved};
use crate::fields::{Reader, WriteFields};
use crate::key::Key;

const VERSION: u8 = 1;
const MAC_BYTES: usize = 16;

/// The key under which a cluster authenticates its context tokens. Made when the cluster is founded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Secret(pub [u8; 16]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why a context token was refused. The request it came with had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ContextError {
    /// Not a token of this cluster for this key.
    #[error(
        "this context belongs to another key or another cluster, or was changed on the way; \
         read the key again and use the context that comes with it"
    )]
    NotOurs,
    /// A token of a later release.
    #[error("this context has format {0}, which this release does not know; read the key again")]
    Version(u8),
    /// A token of a node whose ring lists more dead actors.
    #[error(
        "this context comes from a node whose ring is newer than this node's; nothing is wrong with it; \
         try again in a moment, or through the node that gave it"
    )]
    Ahead,
}

fn mac(secret: &Secret, key: &Key, sealed: &[u8]) -> [u8; MAC_BYTES] {
    let mut hasher = SipHasher24::new_with_key(&secret.0);
    hasher.write(&(key.as_bytes().len() as u32).to_le_bytes());
    hasher.write(key.as_bytes());
    hasher.write(sealed);
    hasher.finish128().as_bytes()
}

/// Makes the token that a client may hand back with its next write to this key.
pub fn seal_context(secret: &Secret, key: &Key, context: &DotSet) -> Vec<u8> {
    let mut token = Vec::with_capacity(64);
    token.put_byte(VERSION);
    context.encode(&mut token);
    let mac = mac(secret, key, &token);
    token.extend_from_slice(&mac);
    token
}

/// Reads a token that a client handed back with a write to this key, where `dead` is the ring's list.
pub fn open_context(
    secret: &Secret,
    dead: &Dead,
    key: &Key,
    token: &[u8],
) -> Result<DotSet, ContextError> {
    let Some((sealed, given)) = token.split_last_chunk::<MAC_BYTES>() else {
        return Err(ContextError::NotOurs);
    };
    // Every byte is compared whatever the outcome, so that timing tells a forger nothing.
    let expected = mac(secret, key, sealed);
    let difference = expected.iter().zip(given).fold(0, |sum, (a, b)| sum | (a ^ b));
    if difference != 0 {
        return Err(ContextError::NotOurs);
    }
    let mut reader = Reader::new(sealed);
    match reader.byte() {
        Ok(VERSION) => {}
        Ok(other) => return Err(ContextError::Version(other)),
        Err(_) => return Err(ContextError::NotOurs),
    }
    let mut context = DotSet::decode(&mut reader).map_err(|_| ContextError::NotOurs)?;
    reader.finish().map_err(|_| ContextError::NotOurs)?;
    match context.resolve(dead) {
        Ok(()) => Ok(context),
        Err(Unresolved::Ahead(_)) => Err(ContextError::Ahead),
        Err(Unresolved::Twice(_)) => Err(ContextError::NotOurs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::causality::{Actor, Dot};

    const SECRET: Secret = Secret([7; 16]);

    fn context() -> DotSet {
        [Dot::new(Actor::new(1, 9), 1), Dot::new(Actor::new(2, 8), 4)].into_iter().collect()
    }

    fn key(bucket: &str, key: &str) -> Key {
        Key::new(bucket, key.as_bytes()).expect("a key")
    }

    #[test]
    fn comes_back_for_its_own_key_only() {
        let token = seal_context(&SECRET, &key("cart", "ann"), &context());
        assert_eq!(open_context(&SECRET, &Dead::NONE, &key("cart", "ann"), &token), Ok(context()));
        for other in [key("cart", "bob"), key("car", "tann"), key("cat", "ann")] {
            assert_eq!(
                open_context(&SECRET, &Dead::NONE, &other, &token),
                Err(ContextError::NotOurs)
            );
        }
        let other = Secret([8; 16]);
        assert_eq!(
            open_context(&other, &Dead::NONE, &key("cart", "ann"), &token),
            Err(ContextError::NotOurs)
        );
    }

    #[test]
    fn waits_for_a_ring_that_lists_as_many_dead() {
        let dead = Dead::new(vec![Actor::new(3, 7)]).expect("one actor");
        let mut closed = context();
        closed.union(&DotSet::of_dead(1, &dead));
        let (key, open) = (key("cart", "ann"), open_context);
        let token = seal_context(&SECRET, &key, &closed);
        assert_eq!(open(&SECRET, &Dead::NONE, &key, &token), Err(ContextError::Ahead));
        let opened = open(&SECRET, &dead, &key, &token).expect("a token of this cluster");
        assert!(opened == closed && opened.contains(Dot::new(Actor::new(3, 7), 1 << 40)));
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_refused() {
        let key = key("cart", "ann");
        let token = seal_context(&SECRET, &key, &context());
        for bit in 0..token.len() * 8 {
            let mut forged = token.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                open_context(&SECRET, &Dead::NONE, &key, &forged),
                Err(ContextError::NotOurs)
            );
        }
        for len in 0..token.len() {
            assert!(open_context(&SECRET, &Dead::NONE, &key, &token[..len]).is_err());
        }
    }
}
