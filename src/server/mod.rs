//! A running node: everything that waits, and the drivers that feed the machines.

pub mod rt;
