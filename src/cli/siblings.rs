//! `siblings list` and `show`, and `explain`.

use super::args::{Common, ExplainArgs, Format, KeyArgs, ReadArgs, SiblingsArgs, SiblingsCommand};
use super::data::{not_found, note_omitted};
use super::exit::Exit;
use super::link::{connect, key_of, member_names, wrong_answer};
use super::resolve::resolve;
use super::screen::Screen;
use super::show::{self, Shown};
use super::trouble::Trouble;
use crate::key::Key;
use crate::wire::{Answer, Question};

/// Does what was asked about siblings.
pub(crate) async fn siblings(
    common: &Common,
    args: &SiblingsArgs,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    match &args.command {
        SiblingsCommand::List { bucket, limit } => {
            list(common, bucket.clone(), *limit, screen).await
        }
        SiblingsCommand::Show { key, level } => show_one(common, key, level, screen).await,
        SiblingsCommand::Resolve(args) => resolve(common, args, screen).await,
    }
}

async fn list(
    common: &Common,
    bucket: Option<String>,
    limit: u32,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    if let Some(bucket) = &bucket {
        Key::new(bucket, b"k")?;
    }
    let client = connect(common).await?;
    let Answer::Siblings(found) = client.ask(Question::Siblings { bucket, limit }).await? else {
        return Err(wrong_answer());
    };
    screen.print(match screen.format {
        Format::Table => show::siblings_text(&found, screen.paint),
        Format::Json => show::siblings_json(&found),
    });
    Ok(Exit::Ok)
}

async fn show_one(
    common: &Common,
    key: &KeyArgs,
    level: &ReadArgs,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let key = key_of(key)?;
    let client = connect(common).await?;
    let got = client.get(&key).level(level.read_level).await?;
    if screen.format == Format::Json {
        screen.print(show::get_json(&key, &got));
        return Ok(if got.is_missing() { Exit::NotFound } else { Exit::Ok });
    }
    if got.is_missing() {
        return Err(not_found(&key, &got));
    }
    let names = member_names(&client).await;
    let all = got.values.len() + usize::from(got.omitted);
    let heading = match all {
        1 => format!("{key} has one value, no conflict.\n\n"),
        _ => format!("{key} has {all} conflicting values.\n\n"),
    };
    screen.print(heading);
    let width = screen.width.saturating_sub(10);
    for line in show::siblings_lines(&Shown::of(&got), &names, width, screen.paint) {
        screen.print(format!("  {line}\n"));
    }
    if all > 1 {
        let words = show::key_words(&key);
        screen.print(format!(
            "\nnext:  ringdove siblings resolve {words} --pick 1\n       \
             ringdove siblings resolve {words} --value MERGED\n       \
             ringdove siblings resolve {words} --edit\n"
        ));
    }
    note_omitted(&got, screen);
    Ok(Exit::Ok)
}

/// Shows everything that is known of a key.
pub(crate) async fn explain(
    common: &Common,
    args: &ExplainArgs,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let key = key_of(&args.key)?;
    let client = connect(common).await?;
    let question = Question::Explain { bucket: key.bucket().to_owned(), key: key.key().to_vec() };
    let Answer::Explain(explanation) = client.ask(question).await? else {
        return Err(wrong_answer());
    };
    screen.print(match screen.format {
        Format::Table => show::explain_text(&key, &explanation, screen.width, screen.paint),
        Format::Json => show::explain_json(&key, &explanation),
    });
    Ok(Exit::Ok)
}
