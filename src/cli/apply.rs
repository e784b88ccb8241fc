//! `apply`, `pause`, `resume`, `abort` and `force-epoch`: changes of the ring, and how far they are.
//!
//! Invariant: what is printed as decided is decided. Progress goes to standard error, as bars on a terminal.
//! Not here: what a change comes to (`plan`).

use std::time::{Duration, Instant};

use super::args::{ApplyArgs, ApplyChange, Common, ForceArgs, Format, Joins, ResumeArgs};
use super::exit::Exit;
use super::link::{connect, wrong_answer};
use super::screen::Screen;
use super::show::{self, Ahead};
use super::trouble::Trouble;
use crate::client::Client;
use crate::rt;
use crate::wire::{Answer, Changed, Proposed, Question, RingShown};

/// How often it is looked how far rows are.
const LOOK: Duration = Duration::from_millis(250);

/// Changes the ring.
pub(crate) async fn apply(
    common: &Common,
    args: &ApplyArgs,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let basis = args.plan.clone();
    change(common, basis, proposed(&args.change), args.wait, screen).await
}

/// Stops changes of owners between two steps.
pub(crate) async fn pause(common: &Common, screen: &mut Screen) -> Result<Exit, Trouble> {
    change(common, String::new(), vec![Proposed::Pause], None, screen).await
}

/// Lets them go on.
pub(crate) async fn resume(
    common: &Common,
    args: &ResumeArgs,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    change(common, String::new(), vec![Proposed::Resume], args.wait, screen).await
}

/// Gives up what has not happened yet.
pub(crate) async fn abort(common: &Common, screen: &mut Screen) -> Result<Exit, Trouble> {
    change(common, String::new(), vec![Proposed::Abort], None, screen).await
}

/// Goes on without a majority.
pub(crate) async fn force(
    common: &Common,
    args: &ForceArgs,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    if !args.others_are_gone {
        return Err(Trouble::usage(
            "the members that are not named would be given up, with all that only they have",
            "make sure that none of them runs or ever will, then say so with --others-are-gone",
        ));
    }
    let client = connect(common).await?;
    let changed = ask(&client, Question::Force { left: args.left.clone() }).await?;
    print(&changed, screen);
    Ok(Exit::Ok)
}

async fn change(
    common: &Common,
    basis: String,
    changes: Vec<Proposed>,
    wait: Option<Duration>,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let client = connect(common).await?;
    let changed = ask(&client, Question::Change { basis, changes }).await?;
    print(&changed, screen);
    match wait {
        Some(wait) => follow(&client, changed.epoch, Instant::now() + wait, screen).await,
        None => Ok(Exit::Ok),
    }
}

async fn ask(client: &Client, question: Question) -> Result<Changed, Trouble> {
    match client.ask(question).await? {
        Answer::Changed(changed) => Ok(changed),
        Answer::Undecided(why) => Err(Trouble::new(
            Exit::LevelNotMet,
            why,
            "the change may have been decided, or may yet be",
            "look at `ringdove status` and `ringdove doctor`; asking again does no harm",
        )),
        _ => Err(wrong_answer()),
    }
}

fn print(changed: &Changed, screen: &mut Screen) {
    screen.print(match screen.format {
        Format::Table => show::changed_text(changed),
        Format::Json => show::json_line(changed),
    });
    screen.flush();
}

/// Shows how far rows are, until none changes owners any more.
async fn follow(
    client: &Client,
    epoch: u32,
    until: Instant,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let (mut all, mut drawn) = (Ahead::default(), 0);
    loop {
        // The asked node may be the one that leaves, or be restarted meanwhile.
        let ring = match client.ask(Question::Ring).await {
            Ok(Answer::Ring(ring)) => Some(ring),
            Ok(_) | Err(_) => None,
        };
        if let Some(ring) = ring.filter(|ring| ring.epoch >= epoch) {
            let ahead = Ahead::of(&ring);
            all.widen(&ahead);
            drawn = draw(&all, &ahead, &ring, drawn, screen);
            if ahead.is_over() {
                return Ok(Exit::Ok);
            }
            if ring.paused {
                screen.say("changes of owners are paused: `ringdove resume` lets them go on\n");
                return Ok(Exit::Degraded);
            }
        }
        if Instant::now() >= until {
            screen.say(
                "not all rows have changed owners yet; `ringdove doctor` says what they wait for\n",
            );
            return Ok(Exit::Degraded);
        }
        rt::sleep(LOOK).await;
    }
}

/// Draws the bars over those that were drawn before. How many lines there are.
fn draw(all: &Ahead, ahead: &Ahead, ring: &RingShown, drawn: usize, screen: &mut Screen) -> usize {
    if !screen.progress {
        return 0;
    }
    let bars = show::bars(all, ahead, ring.epoch, screen.width, screen.paint_err);
    let up = if drawn == 0 { String::new() } else { format!("\x1b[{drawn}A") };
    let lines: String = bars.iter().map(|bar| format!("\x1b[2K{bar}\n")).collect();
    screen.say(&format!("{up}{lines}"));
    bars.len()
}

fn proposed(change: &ApplyChange) -> Vec<Proposed> {
    match change {
        ApplyChange::Leave { members, lost } => {
            let leave = |member: &String| Proposed::Leave { member: member.clone(), lost: *lost };
            members.iter().map(leave).collect()
        }
        ApplyChange::Replace { member, with, lost } => vec![Proposed::Replace {
            member: member.clone(),
            zone: None,
            with: Some(with.clone()),
            lost: *lost,
        }],
        ApplyChange::Weight { member, weight } => {
            vec![Proposed::Weight { member: member.clone(), weight: *weight }]
        }
        ApplyChange::Zone { member, zone } => {
            vec![Proposed::Zone { member: member.clone(), zone: zone.clone() }]
        }
        ApplyChange::Rebalance => vec![Proposed::Rebalance],
        ApplyChange::Joins { how } => vec![Proposed::Manual(*how == Joins::Manual)],
    }
}
