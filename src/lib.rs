#![doc = include_str!("architecture.md")]

// Values with laws, and their bytes.
pub mod fields;
pub mod key;
#[cfg(test)]
mod layers;
mod pack;
pub mod rules;

pub mod causality;
pub mod ring;
pub mod wire;

pub mod storage;

// The machines.
pub mod shard;

pub mod control;

// The edges.
pub mod rt;

pub mod server;

pub mod client;

pub mod cli;
