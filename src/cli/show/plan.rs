//! A plan as text: before and after, and what it would take to get there.

use crate::cli::columns::columns;
use crate::cli::paint::Paint;
use crate::cli::words::{count, grouped, size, wrapped};
use crate::ring::SLOTS;
use crate::wire::{PlanShown, PlannedMember};

/// How many members and how many links are listed; the busiest are.
const LISTED: usize = 20;

/// What is known of the data: how many bytes one copy of all of it has, and how fast a member copies.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Volume {
    pub bytes: Option<u64>,
    pub per_second: u64,
}

/// What a change would come to, and what does it.
pub(crate) fn plan_text(
    plan: &PlanShown,
    volume: Volume,
    does: &str,
    width: usize,
    paint: Paint,
) -> String {
    let mut rows = vec![["NODE", "ZONE", "WEIGHT", "NOW", "THEN", "COPIES", "SENDS", ""]];
    let mut rows: Vec<Vec<String>> =
        rows.drain(..).map(|head| head.map(str::to_owned).to_vec()).collect();
    let mut members: Vec<&PlannedMember> = plan.members.iter().collect();
    let busy = |member: &PlannedMember| {
        let changes = member.fate != "stays";
        (!changes, std::cmp::Reverse(member.copies.max(member.sends)))
    };
    if members.len() > LISTED {
        members.sort_by(|a, b| busy(a).cmp(&busy(b)).then(a.name.cmp(&b.name)));
        members.truncate(LISTED);
    }
    members.sort_by(|a, b| a.name.cmp(&b.name));
    rows.extend(members.iter().map(|member| row(member, volume)));
    let table = columns(&rows, &[2, 3, 4, 5, 6], |row, _, cell| match row {
        0 => paint.dim(cell),
        _ => cell.to_owned(),
    });
    let hidden = plan.members.len() - members.len();
    let more = if hidden == 0 {
        String::new()
    } else {
        format!("… and {}\n", count(hidden as u64, "member that does less", "members that do less"))
    };
    let sentences = sentences(plan, volume);
    let sentences: String = sentences.iter().map(|text| wrapped(text, "", "  ", width)).collect();
    let legend = format!(
        "NOW and THEN are parts of all keys, COPIES and SENDS are moved. This is plan {}; nothing was changed.",
        plan.basis
    );
    let legend = wrapped(&legend, "", "", width);
    format!("{table}{more}\n{}\n{sentences}{}{does}\n", links(plan, volume), paint.dim(&legend))
}

/// Slots as people count them: bytes where those are known, else a part of one copy of everything.
fn amount(slots: u32, volume: Volume) -> String {
    match volume.bytes {
        _ if slots == 0 => "-".to_owned(),
        Some(bytes) => size(bytes_of(slots, bytes)),
        None => format!("{:.1} %", f64::from(slots) * 100.0 / f64::from(SLOTS)),
    }
}

fn bytes_of(slots: u32, all: u64) -> u64 {
    (u128::from(all) * u128::from(slots) / u128::from(SLOTS)) as u64
}

fn row(member: &PlannedMember, volume: Volume) -> Vec<String> {
    let holds = |slots: u32| match slots {
        0 => "-".to_owned(),
        slots => format!("{:.1} %", f64::from(slots) * 100.0 / f64::from(SLOTS)),
    };
    let zone = if member.zone.is_empty() { "-" } else { &member.zone };
    let fate = if member.fate == "stays" { "" } else { &member.fate };
    vec![
        member.name.clone(),
        zone.to_owned(),
        member.weight.to_string(),
        holds(member.slots),
        holds(member.slots_after),
        amount(member.copies, volume),
        amount(member.sends, volume),
        fate.to_owned(),
    ]
}

/// Who copies from whom, the most first.
fn links(plan: &PlanShown, volume: Volume) -> String {
    let mut links: Vec<_> = plan.links.iter().collect();
    links.sort_by(|a, b| b.slots.cmp(&a.slots).then((&a.to, &a.from).cmp(&(&b.to, &b.from))));
    let listed = links.iter().take(LISTED);
    let mut text: String = listed
        .map(|link| format!("{} → {}  {}\n", link.from, link.to, amount(link.slots, volume)))
        .collect();
    if let Some(rest) = links.get(LISTED..).filter(|rest| !rest.is_empty()) {
        let slots: u32 = rest.iter().map(|link| link.slots).sum();
        let links = count(rest.len() as u64, "link", "links");
        text.push_str(&format!("… and {} over {links}\n", amount(slots, volume)));
    }
    if text.is_empty() { "Nothing is copied.\n".to_owned() } else { text }
}

fn sentences(plan: &PlanShown, volume: Volume) -> Vec<String> {
    let all: u32 = plan.links.iter().map(|link| link.slots).sum();
    let copies = format!(
        "{} of {} change owners, and {} of one copy of all data is copied.",
        count(plan.rows.into(), "partition", "partitions"),
        grouped(plan.partitions_after.into()),
        if all == 0 { "nothing".to_owned() } else { amount(all, Volume::default()) },
    );
    let copies = if plan.rows == 0 { "No partition changes owners.".to_owned() } else { copies };
    let cut = plan.partitions_after.saturating_sub(plan.partitions);
    let cut = (cut > 0).then(|| {
        format!(
            "{} made by cuts, which move nothing.",
            count(cut.into(), "partition is", "partitions are")
        )
    });
    let busiest = plan.members.iter().map(|m| m.copies.max(m.sends)).max().unwrap_or(0);
    let time = volume.bytes.filter(|_| busiest > 0 && volume.per_second > 0).map(|bytes| {
        let seconds = bytes_of(busiest, bytes).div_ceil(volume.per_second);
        let took = humantime::format_duration(std::time::Duration::from_secs(seconds));
        format!(
            "At {} a second and member that takes about {took}, as long as nothing else is slower.",
            size(volume.per_second)
        )
    });
    let risk = if plan.rows == 0 {
        None
    } else if plan.rows_at_risk == 0 {
        Some("Each of them can lose one more owner on the way and still answer quorums.".to_owned())
    } else {
        Some(format!(
            "{} of them cannot lose one more owner on the way and still answer quorums: too few are up now.",
            grouped(plan.rows_at_risk.into())
        ))
    };
    let zones = (plan.zones_shared > 0).then(|| {
        format!(
            "In {} two of {} owners would share a zone: there are too few zones, or too few members in one.",
            count(plan.zones_shared.into(), "partition", "partitions"),
            plan.copies
        )
    });
    let under_way = (plan.under_way > 0).then(|| {
        format!(
            "{} changing owners now, and would go on first.",
            count(plan.under_way.into(), "partition is", "partitions are")
        )
    });
    [Some(copies), cut, time, risk, zones, under_way].into_iter().flatten().collect()
}
