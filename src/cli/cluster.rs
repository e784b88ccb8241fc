//! `status`, `members`, `ring` and `doctor`.

use std::time::{Duration, Instant};

use super::args::{Common, DoctorArgs, Format, RingArgs, StatusArgs};
use super::exit::Exit;
use super::link::{connect, wrong_answer};
use super::screen::Screen;
use super::show;
use super::trouble::Trouble;
use crate::rt;
use crate::wire::{Answer, Question, Status};

/// How often a cluster is asked that is waited for.
const ASK: Duration = Duration::from_millis(100);

/// How the cluster is.
pub(crate) async fn status(
    common: &Common,
    args: &StatusArgs,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let status = match args.wait {
        Some(wait) => wait_for_health(common, Instant::now() + wait).await?,
        None => ask_status(common).await?,
    };
    screen.print(match screen.format {
        Format::Table => show::status_text(&status, screen.width, screen.paint),
        Format::Json => show::json_line(&status),
    });
    let degraded = (args.check || args.wait.is_some()) && status.health != "healthy";
    Ok(if degraded { Exit::Degraded } else { Exit::Ok })
}

/// Asks one endpoint after the other until each has said that the cluster is healthy, or until the
/// time is over. The last answer.
async fn wait_for_health(common: &Common, until: Instant) -> Result<Status, Trouble> {
    let mut left = common.endpoint.iter();
    let mut asked = common.clone();
    asked.endpoint = left.next().cloned().into_iter().collect();
    loop {
        let answer = ask_status(&asked).await;
        if answer.as_ref().is_ok_and(|status| status.health == "healthy") {
            match left.next() {
                Some(next) => asked.endpoint = vec![next.clone()],
                None => return answer,
            }
        } else if Instant::now() >= until {
            return answer;
        } else {
            rt::sleep(ASK).await;
        }
    }
}

async fn ask_status(common: &Common) -> Result<Status, Trouble> {
    let client = connect(common).await?;
    match client.ask(Question::Status).await? {
        Answer::Status(status) => Ok(status),
        _ => Err(wrong_answer()),
    }
}

/// Who is in the cluster.
pub(crate) async fn members(common: &Common, screen: &mut Screen) -> Result<Exit, Trouble> {
    let client = connect(common).await?;
    let Answer::Members(members) = client.ask(Question::Members).await? else {
        return Err(wrong_answer());
    };
    screen.print(match screen.format {
        Format::Table => show::members_text(&members, screen.width, screen.paint),
        Format::Json => show::json_line(&members),
    });
    Ok(Exit::Ok)
}

/// Who owns what.
pub(crate) async fn ring(
    common: &Common,
    args: &RingArgs,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let client = connect(common).await?;
    let Answer::Ring(ring) = client.ask(Question::Ring).await? else {
        return Err(wrong_answer());
    };
    screen.print(match screen.format {
        Format::Table if args.all => show::ring_rows(&ring),
        Format::Table => show::ring_text(&ring, screen.paint),
        Format::Json => show::json_line(&ring),
    });
    Ok(Exit::Ok)
}

/// What is stuck, and why.
pub(crate) async fn doctor(
    common: &Common,
    args: &DoctorArgs,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let client = connect(common).await?;
    let Answer::Doctor(findings) = client.ask(Question::Doctor).await? else {
        return Err(wrong_answer());
    };
    screen.print(match screen.format {
        Format::Table => show::doctor_text(&findings, screen.width, screen.paint),
        Format::Json => show::json_line(&findings),
    });
    let bad = findings.iter().any(|finding| finding.grade == "bad");
    Ok(if args.check && bad { Exit::Degraded } else { Exit::Ok })
}
