//! `plan`: what a change of the ring would come to.

use super::args::{Common, Format, PlanArgs, PlanChange};
use super::exit::Exit;
use super::link::{connect, wrong_answer};
use super::screen::Screen;
use super::show;
use super::trouble::Trouble;
use crate::wire::{Answer, Proposed, Question};

/// Asks what would become of the ring, and shows it.
pub(crate) async fn plan(
    common: &Common,
    args: &PlanArgs,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let client = connect(common).await?;
    let Answer::Plan(plan) = client.ask(Question::Plan { changes: proposed(&args.change) }).await?
    else {
        return Err(wrong_answer());
    };
    let volume = show::Volume { bytes: args.data, per_second: args.rate };
    screen.print(match screen.format {
        Format::Table => show::plan_text(
            &plan,
            volume,
            &does(&plan.basis, &args.change),
            screen.width,
            screen.paint,
        ),
        Format::Json => show::json_line(&plan),
    });
    Ok(Exit::Ok)
}

fn proposed(change: &PlanChange) -> Vec<Proposed> {
    match change {
        PlanChange::Join { nodes, zone, weight } => {
            let join = || Proposed::Join { zone: zone.clone(), weight: *weight };
            std::iter::repeat_with(join).take(usize::from(*nodes)).collect()
        }
        PlanChange::Leave { members } => members
            .iter()
            .map(|member| Proposed::Leave { member: member.clone(), lost: false })
            .collect(),
        PlanChange::Replace { member, zone } => {
            vec![Proposed::Replace {
                member: member.clone(),
                zone: zone.clone(),
                with: None,
                lost: false,
            }]
        }
        PlanChange::Weight { member, weight } => {
            vec![Proposed::Weight { member: member.clone(), weight: *weight }]
        }
        PlanChange::Zone { member, zone } => {
            vec![Proposed::Zone { member: member.clone(), zone: zone.clone() }]
        }
        PlanChange::Rebalance => vec![Proposed::Rebalance],
    }
}

/// What has to be typed, or done, for a plan to come true.
fn does(basis: &str, change: &PlanChange) -> String {
    let apply = |change: String| format!("To do it: ringdove apply --plan {basis} {change}");
    match change {
        PlanChange::Join { .. } => {
            "To do it, start the nodes with the address of a member as their seed: they join by themselves."
                .to_owned()
        }
        PlanChange::Leave { members } => apply(format!("leave {}", members.join(" "))),
        PlanChange::Replace { member, .. } => format!(
            "To do it, start the new node with the address of a member as its seed, then: ringdove apply replace \
             {member} NEW"
        ),
        PlanChange::Weight { member, weight } => apply(format!("weight {member} {weight}")),
        PlanChange::Zone { member, zone } => apply(format!("zone {member} {zone}")),
        PlanChange::Rebalance => apply("rebalance".to_owned()),
    }
}
