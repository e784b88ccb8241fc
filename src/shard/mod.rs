//! The data plane of one shard, as a state machine: requests in, replies and messages out.
//!
//! Invariant: [`step`](event) is deterministic: same state, same event, same `now`, same effects. It
//! waits for nothing, reads no clock and draws no randomness but from the generator it was given.
//! Not here: sockets, threads, syncing (`server`), what is up and who owns what (`control`; a
//! shard is told through a [`View`](crate::ring::View)).

pub mod event;
