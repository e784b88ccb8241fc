//! `ring` as text: one screen for a cluster of any size, or every row.

use std::collections::BTreeMap;

use crate::cli::columns::{columns, plain_columns};
use crate::cli::paint::Paint;
use crate::cli::words::{count, grouped};
use crate::ring::SLOTS;
use crate::wire::{PartitionShown, RingShown};

/// How many columns the slots are drawn in.
const WIDTH: usize = 64;
/// How many members are drawn; of a larger cluster the most and the least loaded are.
const MEMBERS: usize = 20;
/// How full a column is, in eighths.
const FULLNESS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What one member holds.
struct Holding<'a> {
    name: &'a str,
    slots: u32,
    /// Slots held in each column of the drawing.
    drawn: [u32; WIDTH],
}

/// Who owns how much, and where it lies.
pub(crate) fn ring_text(ring: &RingShown, paint: Paint) -> String {
    if ring.partitions.is_empty() {
        return "There is no ring yet. `ringdove status` says whom this node waits for.\n"
            .to_owned();
    }
    let holdings = holdings(ring);
    let members = holdings.len();
    let total: u32 = holdings.iter().map(|holding| holding.slots).sum();
    let fair = f64::from(total) / members as f64;
    let chosen = choose(&holdings, fair);
    let mut rows = vec![heading()];
    for holding in &chosen {
        rows.push(row(holding, fair));
    }
    let table = columns(&rows, &[1, 2, 3], |row, column, cell| match (row, column) {
        (0, _) => paint.dim(cell),
        (_, 4) => paint.nth(0, cell),
        _ => cell.to_owned(),
    });
    let mut text = summary(ring, members);
    text.push_str(&under_way(ring));
    text.push('\n');
    text.push_str(&table);
    if chosen.len() < members {
        let hidden = members - chosen.len();
        text.push_str(&format!("… and {hidden} members between them; these are the extremes\n"));
    }
    let legend = "A column is 1/64 of the slots, as full as the member holds it. \
                  `ring --all` lists all.";
    text + &paint.dim(legend) + "\n"
}

fn summary(ring: &RingShown, members: usize) -> String {
    let sizes = || ring.partitions.iter().map(|partition| partition.slots);
    let (least, most) = (sizes().min().unwrap_or(0), sizes().max().unwrap_or(0));
    let size = if least == most { format!("{least}") } else { format!("{least} to {most}") };
    format!(
        "ring {} · {} · {} of {size} slots · {} of each\n",
        ring.epoch,
        count(members as u64, "member", "members"),
        count(ring.partitions.len() as u64, "partition", "partitions"),
        count((usize::from(ring.copies)).min(members) as u64, "copy", "copies"),
    )
}

/// How many partitions change owners, in a line of its own.
fn under_way(ring: &RingShown) -> String {
    let changing = ring.partitions.iter().filter(|at| !at.change.is_empty()).count();
    let waiting = ring.partitions.iter().filter(|at| at.change.is_empty() && !at.goal.is_empty());
    let waiting = waiting.count();
    if (changing, waiting) == (0, 0) {
        return String::new();
    }
    let paused = if ring.paused { "; changes are paused" } else { "" };
    let changing = count(changing as u64, "partition is", "partitions are");
    let waiting = count(waiting as u64, "waits", "wait");
    format!("{changing} changing owners, {waiting} for a turn{paused}; `ring --all` shows which\n")
}

fn holdings(ring: &RingShown) -> Vec<Holding<'_>> {
    let mut by_name: BTreeMap<&str, Holding<'_>> = BTreeMap::new();
    for partition in &ring.partitions {
        for owner in &partition.owners {
            let holding = by_name.entry(owner).or_insert_with(|| Holding {
                name: owner,
                slots: 0,
                drawn: [0; WIDTH],
            });
            holding.slots += u32::from(partition.slots);
            for slot in usize::from(partition.first)..usize::from(partition.first + partition.slots)
            {
                holding.drawn[(slot * WIDTH / usize::from(SLOTS)).min(WIDTH - 1)] += 1;
            }
        }
    }
    by_name.into_values().collect()
}

/// All members, or those furthest from their fair share.
fn choose<'h, 'a>(holdings: &'h [Holding<'a>], fair: f64) -> Vec<&'h Holding<'a>> {
    let mut chosen: Vec<&Holding<'_>> = holdings.iter().collect();
    if chosen.len() > MEMBERS {
        chosen.sort_by(|a, b| b.slots.cmp(&a.slots).then(a.name.cmp(b.name)));
        chosen.drain(MEMBERS / 2..holdings.len() - MEMBERS / 2);
    } else {
        chosen.sort_by_key(|holding| holding.name);
    }
    debug_assert!(fair > 0.0);
    chosen
}

fn heading() -> Vec<String> {
    let last = SLOTS - 1;
    let scale = format!("slot 0{:>width$}", last, width = WIDTH - "slot 0".len());
    ["NODE", "SLOTS", "HOLDS", "VS FAIR", &scale].map(str::to_owned).to_vec()
}

fn row(holding: &Holding<'_>, fair: f64) -> Vec<String> {
    let column = |slots: &u32| {
        let eighths = (*slots as usize * 8).div_ceil(usize::from(SLOTS) / WIDTH);
        FULLNESS[eighths.min(8)]
    };
    let of_all = f64::from(holding.slots) * 100.0 / f64::from(SLOTS);
    let off = (f64::from(holding.slots) - fair) * 100.0 / fair;
    // An empty front must not be taken for an empty cell, so the drawing is framed.
    let drawing: String = holding.drawn.iter().map(column).collect();
    vec![
        holding.name.to_owned(),
        grouped(holding.slots.into()),
        format!("{of_all:.1} %"),
        format!("{off:+.1} %").replace("-0.0", "+0.0"),
        drawing.trim_end().to_owned(),
    ]
}

/// What becomes of a partition.
fn becomes(partition: &PartitionShown) -> String {
    let list = |names: &[String]| names.join(" ");
    let goal = (!partition.goal.is_empty()).then(|| format!("to be {}", list(&partition.goal)));
    let former = (!partition.former.is_empty())
        .then(|| format!("{} still with a copy", list(&partition.former)));
    let change = (!partition.change.is_empty()).then(|| partition.change.clone());
    [change, goal, former].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Every partition with its owners.
pub(crate) fn ring_rows(ring: &RingShown) -> String {
    let mut rows = vec![["SLOTS", "COUNT", "OWNERS", ""].map(str::to_owned).to_vec()];
    for partition in &ring.partitions {
        let last = u32::from(partition.first) + u32::from(partition.slots) - 1;
        rows.push(vec![
            format!("{}-{last}", partition.first),
            partition.slots.to_string(),
            partition.owners.join(" "),
            becomes(partition),
        ]);
    }
    plain_columns(&rows, &[1])
}
