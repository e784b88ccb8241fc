//! A running node: everything that waits, and the drivers that feed the machines.
//!
//! ```text
//!  port ─▶ accept, handshake ┬─▶ driver of shard 0 ── sockets, one loop ──▶ Shard ─▶ log ─▶ syncer
//!          (rt)              └─▶ driver of shard 1 …        ▲ views, completions, requests: its inbox
//!  UDP ──▶ control thread ── Control ──── views, routes ────┘──▶ dialler (rt) ─▶ drivers
//! ```
//!
//! A [`Node`] is threads and tasks around pure machines: per shard a driver thread, a syncer thread
//! and one that makes segments ahead, one control thread, and on the runtime's threads whatever shakes hands or dials.
//!
//! Invariant: a machine is touched by its own thread only; what passes between threads are events,
//! through queues that are bounded, with room reserved for what completes something. Not here: what
//! the machines decide (`shard`, `control`).

mod accept;
mod clients;
mod config;
mod connection;
mod control;
mod dial;
mod driver;
mod gather;
mod greet;
mod home;
mod house;
mod inbox;
mod lanes;
mod lines;
mod links;
mod maker;
mod metrics;
mod node;
mod slab;
mod syncer;

#[doc = include_str!("cost.md")]
pub mod cost {}

pub use config::{DEFAULT_PORT, Limits, NodeConfig, StartError};
pub use links::Links;
pub use metrics::Metrics;
pub use node::Node;
pub use syncer::SyncMode;
