//! The control machine: founding, heartbeats, gossip, rings, and their datagrams.
//!
//! Membership protocols have fallen into the same traps again and again. Each is a test here:
//!
//! | | trap | test |
//! |---|---|---|
//! | 1 | ghosts: the dead come back, or never go | `traps::ghosts`; in the module `control::membership`, `ghosts` |
//! | 2 | a restart loses to what was said of its own death | `gossip::mass_restart` |
//! | 3 | a split outlives the memory of the other half | `gossip::long_split`, `gossip::a_split_of_sixty_heals` |
//! | 4 | messages grow with the cluster | `gossip::size_5000`; the net refuses long datagrams in every test |
//! | 5 | storms of rumours | `gossip::quiesce`, `traps::a_crowd_that_restarts_is_quiet_again` |
//! | 6 | generations made of clocks | `traps::clock_chaos` |
//! | 7 | who was paused condemns the world | `gossip::pause_sweep`, `liveness::a_paused_node_accuses_nobody` |
//! | 8 | addresses as identities | `gossip::addr_chaos`, `liveness::a_member_that_moved_is_found_again`, `liveness::a_cluster_that_moved_as_a_whole_is_found_through_names` |
//! | 9 | two processes with one id, and old copies of a disk | `liveness::a_copied_directory_is_noticed`, `liveness::a_disk_that_went_back_is_noticed` |
//! | 10 | two leaders | `liveness::splits_heal`, `joining::a_join_survives_the_loss_of_leaders`; every step of a vote in the module `control::register` and in the simulator |
//! | 11 | ring changes on views that differ, or stuck on one dead node | `joining::nobody_joins_without_a_majority_and_status_says_so`, `joining::a_join_survives_the_loss_of_leaders`; the simulator's profile `ring` |
//! | 12 | anti-entropy that depends on order, or starves | `traps::anti_entropy`, `traps::essentials_before_bulk` |
//! | 13 | rubbish and hostile members end the loop | `gossip::hostile_members`, `datagrams::no_bytes_are_too_strange`, `datagrams::strange_datagrams_stop_nobody` |
//! | 14 | a second cluster out of a split start | `traps::no_second_cluster`, `founding::who_is_missing_is_named_and_time_alone_changes_nothing` |
//! | 15 | in small clusters chance leaves somebody out | `gossip::small_clusters_probe_everybody` |
//! | 16 | what changes often is gossiped | `traps::hot_soft_state` |
//! | 17 | a bad value hangs whoever uses it | `gossip::hostile_members`: effects are handed back, nothing is called |

#[path = "control/changes.rs"]
mod changes;
#[path = "control/closing.rs"]
mod closing;
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
#[path = "control/traps.rs"]
mod traps;
