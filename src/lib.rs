//! Ringdove.
pub mod causality;
pub mod cli;
pub mod client;
pub mod control;
pub mod fields;
pub mod key;
pub mod ring;
pub mod rules;
pub mod server;
pub mod shard;
pub mod storage;
pub mod wire;
