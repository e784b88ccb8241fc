//! `get`, `put` and `delete`.

use std::ffi::OsStr;
use std::io::Read;
use std::time::Duration;

use bytes::Bytes;

use super::args::{Common, DeleteArgs, Format, GetArgs, PutArgs};
use super::exit::Exit;
use super::lines;
use super::link::{connect, context_of, key_of, member_names, named_key};
use super::screen::Screen;
use super::show::{self, Shown};
use super::trouble::Trouble;
use super::words::{self, count};
use crate::client::{Client, ClientError, Got, NotStable, PutDone, PutRequest};
use crate::key::{Key, VALUE_BYTES_MAX};
use crate::wire::{Outcome, Source};

/// Reads a key.
pub(crate) async fn get(
    common: &Common,
    args: &GetArgs,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    if let Some(path) = &args.lines {
        return lines::get(common, args, path, screen).await;
    }
    let bytes = args.key.as_ref().map(|key| key.as_encoded_bytes()).unwrap_or_default();
    let key = named_key(&args.bucket, bytes)?;
    let floor = args.floor.as_deref().map(context_of).transpose()?;
    let client = connect(common).await?;
    let request = client.get(&key).level(args.level.read_level);
    let got = request.floor(floor.unwrap_or_default()).await?;
    if got.source == Source::Hints {
        screen.say(
            "note: no owner of this key could be reached; this is what one node keeps for them\n",
        );
    }
    if got.source == Source::Recovering {
        screen.say(
            "note: only owners that lost data could be reached, and they are catching up: there may be more\n",
        );
    }
    if screen.format == Format::Json {
        screen.print(show::get_json(&key, &got));
        return Ok(if got.is_missing() { Exit::NotFound } else { Exit::Ok });
    }
    if got.is_missing() {
        return Err(not_found(&key, &got));
    }
    if got.is_conflict() && !args.all {
        return Err(conflict(&client, &key, &got, screen).await);
    }
    let shown = Shown::of(&got);
    for value in &shown.values {
        screen.print(&value.bytes);
        if screen.newline || shown.values.len() > 1 {
            screen.print("\n");
        }
    }
    note_omitted(&got, screen);
    Ok(Exit::Ok)
}

pub(crate) fn not_found(key: &Key, got: &Got) -> Trouble {
    Trouble::new(
        Exit::NotFound,
        format!("{key} has no value"),
        format!("nothing was changed; {} said so", count(got.answered.into(), "node", "nodes")),
        format!("write it: ringdove put {} VALUE", show::key_words(key)),
    )
}

/// One value was asked for and there are several: they are listed with the error.
async fn conflict(client: &Client, key: &Key, got: &Got, screen: &Screen) -> Trouble {
    let all = got.values.len() + usize::from(got.omitted);
    let words = show::key_words(key);
    let mut trouble = Trouble::new(
        Exit::Conflict,
        format!("{key} has {all} conflicting values"),
        "all of them are kept until somebody who has seen them writes again",
        format!(
            "ringdove explain {words}                    why\n\
             ringdove siblings resolve {words} --pick 1  keep one\n\
             ringdove get {words} --all                  print them all"
        ),
    );
    let names = member_names(client).await;
    let width = screen.width.saturating_sub(10);
    trouble.lines = show::siblings_lines(&Shown::of(got), &names, width, screen.paint_err);
    trouble
}

/// Not all values may have fitted into one answer.
pub(crate) fn note_omitted(got: &Got, screen: &mut Screen) {
    if got.omitted > 0 {
        let more = count(got.omitted.into(), "more value does", "more values do");
        screen.say(&format!(
            "note: {more} not fit into one answer; resolve these first, then read again\n"
        ));
    }
}

/// Writes a key, or many.
pub(crate) async fn put(
    common: &Common,
    args: &PutArgs,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    if let Some(path) = &args.lines {
        return lines::put(common, args, path, screen).await;
    }
    let bytes = args.key.as_ref().map(|key| key.as_encoded_bytes()).unwrap_or_default();
    let key = named_key(&args.bucket, bytes)?;
    let context = args.context.as_deref().map(context_of).transpose()?;
    let value = value_of(args.value.as_deref().unwrap_or_default(), screen)?;
    let client = connect(common).await?;
    let mut request = client.put(&key, value).level(args.level.write_level);
    if args.level.strict {
        request = request.strict();
    }
    request = match context {
        Some(context) => request.context(context),
        None if args.blind => request.blind(),
        None => request,
    };
    if let Some(operation) = args.retry.retry {
        request = request.retry(operation);
    }
    let done = write(&key, request, args.wait.stable(), screen, "written").await?;
    note_conflict(&key, &done, screen);
    Ok(Exit::Ok)
}

/// Deletes a key.
pub(crate) async fn delete(
    common: &Common,
    args: &DeleteArgs,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let key = key_of(&args.key)?;
    let context = args.context.as_deref().map(context_of).transpose()?;
    let client = connect(common).await?;
    let mut request = client.delete(&key).level(args.level.write_level);
    if args.level.strict {
        request = request.strict();
    }
    if let Some(context) = context {
        request = request.context(context);
    }
    if let Some(operation) = args.retry.retry {
        request = request.retry(operation);
    }
    let done = write(&key, request, args.wait.stable(), screen, "deleted").await?;
    note_conflict(&key, &done, screen);
    Ok(Exit::Ok)
}

/// Sends a write, waits until every owner has it if that was asked for, and tells how it ended.
pub(crate) async fn write(
    key: &Key,
    request: PutRequest<'_>,
    wait: Option<Duration>,
    screen: &mut Screen,
    verb: &str,
) -> Result<PutDone, Trouble> {
    let ended = match wait {
        Some(at_most) => request.until_stable(at_most).send().await,
        None => request.send().await,
    };
    let done = match ended {
        Ok(done) => done,
        Err(error) => {
            if screen.format == Format::Json {
                match &error {
                    ClientError::Unknown(unknown) => screen.print(match &unknown.reply {
                        Some(reply) => show::put_json(reply, None),
                        None => show::put_json(&nothing_known(unknown.operation), None),
                    }),
                    ClientError::NotStable(unstable) => {
                        screen.print(show::put_json(&unstable.done, Some(false)));
                    }
                    _ => {}
                }
            }
            if let ClientError::NotStable(unstable) = &error {
                return Err(not_stable(key, unstable, verb));
            }
            return Err(Trouble::from(error));
        }
    };
    match screen.format {
        Format::Json => screen.print(show::put_json(&done, wait.map(|_| true))),
        Format::Table => {
            let text = format!("{} {verb}: {}\n", screen.paint.good("ok"), acks(&done));
            screen.print(text);
            if wait.is_some() {
                screen.print(format!("{} stable: every owner has it\n", screen.paint.good("ok")));
            }
        }
    }
    Ok(done)
}

/// A write may have come to stand beside others.
fn note_conflict(key: &Key, done: &PutDone, screen: &mut Screen) {
    if done.siblings > 1 && screen.format == Format::Table {
        screen.say(&format!(
            "note: {key} has {} conflicting values now: ringdove explain {}\n",
            done.siblings,
            show::key_words(key)
        ));
    }
}

/// A write is done, and the time is over in which every owner should have come to have it.
fn not_stable(key: &Key, unstable: &NotStable, verb: &str) -> Trouble {
    let NotStable { done, after, lacking, why } = unstable;
    let (words, wait) = (show::key_words(key), humantime::format_duration(*after));
    let what = match lacking.as_slice() {
        [] => format!(
            "{key} is {verb}, but within {wait} not every owner had seen all that the write had: {why}"
        ),
        names => format!(
            "{key} is {verb}, but after {wait} not every owner has it: no word of it from {}",
            words::list(names)
        ),
    };
    let context = data_encoding::BASE64URL_NOPAD.encode(&done.context);
    let explain = format!("ringdove explain {words}");
    let width = explain.len().max("ringdove members".len());
    let mut trouble = Trouble::new(
        Exit::LevelNotMet,
        what,
        format!("it is {}, and reaches every owner by itself once it is back", acks(done)),
        format!(
            "{:width$}  who is down\n{explain:width$}  who has what\n\
             wait again, until this gives an answer:\n\
             ringdove get {words} -r all --timeout 1m --floor {context}",
            "ringdove members",
        ),
    );
    trouble.detail = Some("not_stable".to_owned());
    trouble
}

/// Who has a write on disk: `on 1 owner + 1 fallback (2 were asked for)`.
fn acks(done: &PutDone) -> String {
    let owners = count(done.owners.into(), "owner", "owners");
    let who = match (done.owners, done.fallbacks) {
        (_, 0) => owners,
        (0, fallbacks) => count(fallbacks.into(), "fallback", "fallbacks"),
        (_, fallbacks) => {
            format!("{owners} + {}", count(fallbacks.into(), "fallback", "fallbacks"))
        }
    };
    format!("on the disk of {who} ({} asked for)", done.needed)
}

/// What is known of a write of which nothing was heard.
fn nothing_known(operation: u128) -> PutDone {
    PutDone {
        outcome: Outcome::Unknown,
        dot: None,
        context: Bytes::new(),
        owners: 0,
        fallbacks: 0,
        needed: 0,
        siblings: 0,
        operation,
    }
}

/// The value that was typed, or standard input for `-`.
pub(crate) fn value_of(typed: &OsStr, screen: &Screen) -> Result<Bytes, Trouble> {
    let value = if typed == "-" {
        if !screen.reads_stdin {
            return Err(Trouble::usage(
                "`-` reads standard input, which the demo's commands come from",
                "write the value itself, in quotes if it has blanks",
            ));
        }
        let mut value = Vec::new();
        let most = VALUE_BYTES_MAX as u64 + 1;
        std::io::stdin().lock().take(most).read_to_end(&mut value).map_err(|error| {
            Trouble::io("standard input cannot be read", &error, "nothing was sent")
        })?;
        value
    } else {
        typed.as_encoded_bytes().to_vec()
    };
    check_value(value.len())?;
    Ok(value.into())
}

pub(crate) fn check_value(len: usize) -> Result<(), Trouble> {
    if len <= VALUE_BYTES_MAX {
        return Ok(());
    }
    Err(Trouble::usage(
        format!("the value has more than {VALUE_BYTES_MAX} bytes (8 MiB)"),
        "cut it into parts, one key each, or keep it elsewhere and put its address here",
    ))
}
