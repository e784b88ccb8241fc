//! `status`, `members` and `ring`.

use super::args::{Common, Format, RingArgs, StatusArgs};
use super::exit::Exit;
use super::link::{connect, wrong_answer};
use super::screen::Screen;
use super::show;
use super::trouble::Trouble;
use crate::wire::{Answer, Question};

/// How the cluster is.
pub(crate) async fn status(
    common: &Common,
    args: &StatusArgs,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let client = connect(common).await?;
    let Answer::Status(status) = client.ask(Question::Status).await? else {
        return Err(wrong_answer());
    };
    screen.print(match screen.format {
        Format::Table => show::status_text(&status, screen.paint),
        Format::Json => show::json_line(&status),
    });
    let degraded = args.check && status.health != "healthy";
    Ok(if degraded { Exit::Degraded } else { Exit::Ok })
}

/// Who is in the cluster.
pub(crate) async fn members(common: &Common, screen: &mut Screen) -> Result<Exit, Trouble> {
    let client = connect(common).await?;
    let Answer::Members(members) = client.ask(Question::Members).await? else {
        return Err(wrong_answer());
    };
    screen.print(match screen.format {
        Format::Table => show::members_text(&members, screen.paint),
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
