//! Steps of rows, as scripts name them.
//!
//! Not here: who hears of the ring when (`cluster::rows`), and whether a step may be taken: scripts take any.

use std::error::Error;

use crate::ring::{Change, Epoch, MemberNumber, Partition};

/// A member by the name that it has in scripts.
pub(super) fn member(name: &str) -> Result<MemberNumber, Box<dyn Error>> {
    Ok(MemberNumber(name.trim_start_matches('n').parse()?))
}

/// Lets a partition take the step that these words tell.
pub(super) fn step(
    partition: &mut Partition,
    epoch: Epoch,
    words: &[String],
) -> Result<(), Box<dyn Error>> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let row = partition.row.clone();
    match (words.as_slice(), partition.change.take()) {
        (["prepare", incoming], None) => {
            let incoming = member(incoming)?;
            partition.change = Some(Change::Prepare { incoming, outgoing: None });
        }
        (["prepare", incoming, "for", outgoing], None) => {
            let (incoming, outgoing) = (member(incoming)?, Some(member(outgoing)?));
            partition.change = Some(Change::Prepare { incoming, outgoing });
        }
        (["switch"], Some(Change::Prepare { incoming, outgoing })) => {
            match outgoing {
                Some(outgoing) => hand_over(partition, outgoing, incoming),
                None => partition.row.push(incoming),
            }
            partition.change = Some(Change::Settle { incoming, before: vec![row] });
        }
        (["give", incoming], Some(Change::Settle { incoming: outgoing, mut before })) => {
            let incoming = member(incoming)?;
            before.push(row);
            hand_over(partition, outgoing, incoming);
            partition.change = Some(Change::Settle { incoming, before });
        }
        (["lose", lost], None) => {
            let lost = member(lost)?;
            partition.row.retain(|owner| *owner != lost);
            partition.former.push(lost);
            partition.change = Some(Change::Cover { lost, before: row });
        }
        (["whole"], Some(_)) => {}
        (["forget", former], None) => {
            let former = member(former)?;
            partition.former.retain(|other| *other != former);
            return Ok(());
        }
        (words, change) => {
            return Err(format!("{words:?} is no step of a row with {change:?}").into());
        }
    }
    partition.since = epoch;
    Ok(())
}

fn hand_over(partition: &mut Partition, outgoing: MemberNumber, incoming: MemberNumber) {
    let seats = partition.row.iter_mut();
    seats.filter(|owner| **owner == outgoing).for_each(|owner| *owner = incoming);
    partition.former.retain(|member| *member != incoming);
    partition.former.push(outgoing);
}
