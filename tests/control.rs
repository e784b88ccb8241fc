//! The control machine: founding, heartbeats, and their datagrams.

#[path = "control/changes.rs"]
mod changes;
#[path = "control/datagrams.rs"]
mod datagrams;
#[path = "control/founding.rs"]
mod founding;
#[path = "control/gossip.rs"]
mod gossip;
#[path = "control/joining.rs"]
mod joining;
#[path = "control/liveness.rs"]
mod liveness;
#[path = "control/net.rs"]
mod net;
#[path = "control/planning.rs"]
mod planning;
