//! `siblings resolve`: one value in the place of the conflicting ones.
//!
//! It is picked, typed, merged (`union`) or edited (`blocks`, `editor`). Merging and editing look for
//! the common ancestor (`ancestor`) before they read, for a read repairs the very replica that may
//! still hold it.
//!
//! Invariant: what is written replaces exactly the values that were read, so one that came meanwhile
//! is left and told. What could not be merged or was not edited is not written.

mod ancestor;
mod blocks;
mod editor;
mod json;
mod union;

use std::path::Path;

use bytes::Bytes;

use self::ancestor::{Ancestor, ancestor};
use self::blocks::{Blocks, Edited, Side};
use self::editor::{Draft, editor};
use self::json::Json;
use self::union::{Conflict, union};
use super::args::{Common, MergeKind, ResolveArgs};
use super::data::{check_value, not_found, note_omitted, value_of, write};
use super::exit::Exit;
use super::link::{connect, key_of, member_names};
use super::screen::Screen;
use super::show::{self, Shown, ShownValue};
use super::trouble::Trouble;
use super::words::{self, count};
use crate::client::{Client, Got, PutDone};
use crate::key::{Key, VALUE_BYTES_MAX};
use crate::wire::{Answer, Explanation, Question};

/// At most so many conflicts are told one by one.
const CONFLICTS_TOLD: usize = 20;

/// Replaces exactly the values that were read by one.
pub(super) async fn resolve(
    common: &Common,
    args: &ResolveArgs,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let key = key_of(&args.key)?;
    let written = args.value.as_deref().map(|typed| value_of(typed, screen)).transpose()?;
    let given = args.base.as_deref().map(base_of).transpose()?;
    let editor = args.edit.then(|| editor_for(screen)).transpose()?;
    let client = connect(common).await?;
    let merges = args.merge.is_some() || args.edit;
    let explanation = if merges && given.is_none() { explained(&client, &key).await } else { None };
    let got = client.get(&key).level(args.read.read_level).await?;
    if got.is_missing() {
        return Err(not_found(&key, &got));
    }
    let shown = Shown::of(&got);
    let picked = args.pick.as_deref().map(|pick| picked(&key, &got, &shown, pick)).transpose()?;
    if written.is_none() && !got.is_conflict() {
        screen.say(&format!("{key} has one value already; nothing was written.\n"));
        return Ok(Exit::Ok);
    }
    note_omitted(&got, screen);
    let mut draft = None;
    let value = if let Some(value) = written {
        value
    } else if let Some(index) = picked {
        shown.values[index].bytes.clone()
    } else if shown.values.len() == 1 {
        // The others did not fit into the answer.
        return Err(too_large_to_merge(&key));
    } else {
        let base = match given {
            Some(bytes) => Some(Base { label: "the common ancestor, as given".to_owned(), bytes }),
            None => known_base(explanation.as_ref(), &shown, screen),
        };
        match (args.merge, editor) {
            (Some(MergeKind::JsonUnion), _) => merged(&key, &shown, base.as_ref())?,
            (None, Some(editor)) => {
                let (value, kept) = edited(&client, &key, &shown, base.as_ref(), &editor).await?;
                draft = Some(kept);
                value
            }
            (None, None) => {
                return Err(Trouble::usage(
                    "no value was chosen",
                    "say --pick, --value, --merge or --edit",
                ));
            }
        }
    };
    let mut request =
        client.put(&key, value).context(got.context.clone()).level(args.write.write_level);
    if args.write.strict {
        request = request.strict();
    }
    match (write(&key, request, None, screen, "resolved").await, draft) {
        (Err(mut trouble), Some(draft)) => {
            trouble.lines.push(kept_in(&draft));
            Err(trouble)
        }
        (Err(trouble), None) => Err(trouble),
        (Ok(done), draft) => {
            if let Some(draft) = draft {
                draft.remove();
            }
            if done.siblings > 1 { Err(left(&key, &done)) } else { Ok(Exit::Ok) }
        }
    }
}

/// What was read is resolved, and the key has other values.
fn left(key: &Key, done: &PutDone) -> Trouble {
    let words = show::key_words(key);
    Trouble::new(
        Exit::Conflict,
        format!("{key} still has {} conflicting values", done.siblings),
        "the values that were read are replaced; those that came meanwhile, or did not fit into one \
         answer, are left",
        format!("ringdove siblings show {words}"),
    )
}

/// Which value was picked: by number, as they are shown, or by dot.
fn picked(key: &Key, got: &Got, shown: &Shown, pick: &str) -> Result<usize, Trouble> {
    let by_dot = shown.values.iter().position(|value| value.dot == pick);
    let number = pick.trim_start_matches('#').parse::<usize>().ok();
    let by_number = number.filter(|number| (1..=shown.values.len()).contains(number));
    by_dot.or(by_number.map(|number| number - 1)).ok_or_else(|| {
        let values = count(got.values.len() as u64, "value", "values");
        Trouble::new(
            Exit::Usage,
            format!("{key} has {values} now, and {pick} is the number or dot of none"),
            "nothing was written",
            format!("look again: ringdove siblings show {}", show::key_words(key)),
        )
    })
}

/// What the siblings came from, as far as it is known.
struct Base {
    label: String,
    bytes: Bytes,
}

/// What everybody has of the key; `None` if nobody says.
async fn explained(client: &Client, key: &Key) -> Option<Explanation> {
    let question = Question::Explain { bucket: key.bucket().to_owned(), key: key.key().to_vec() };
    match client.ask(question).await {
        Ok(Answer::Explain(explanation)) => Some(explanation),
        Ok(_) | Err(_) => None,
    }
}

/// The common ancestor, if somebody still holds it; and what the merge is without it.
fn known_base(
    explanation: Option<&Explanation>,
    shown: &Shown,
    screen: &mut Screen,
) -> Option<Base> {
    let dots: Vec<String> = shown.values.iter().map(|value| value.dot.clone()).collect();
    let found = explanation.map_or(Ancestor::Nowhere, |explained| ancestor(explained, &dots));
    match found {
        Ancestor::Held { by, shown } => {
            let at = words::time(shown.written_at_ms);
            let from = format!("written by {} via {} at {at}", shown.written_by, shown.via);
            screen.say(&format!("note: {by} still holds the common ancestor, {from}\n"));
            let label = format!("the common ancestor, {from}");
            Some(Base { label, bytes: shown.head.into() })
        }
        Ancestor::TooLong { by, len } => {
            screen.say(&format!(
                "note: {by} still holds the common ancestor, but its {} are more than is shown of a \
                 value; without --base FILE only what the siblings say counts\n",
                words::size(len)
            ));
            None
        }
        Ancestor::Nowhere => {
            screen.say(
                "note: nobody holds the common ancestor any more, which is usual; without --base \
                 FILE only what the siblings say counts\n",
            );
            None
        }
    }
}

/// The file that was given as the common ancestor.
fn base_of(path: &Path) -> Result<Bytes, Trouble> {
    let bytes = std::fs::read(path).map_err(|error| {
        Trouble::io(format!("{} cannot be read", path.display()), &error, "nothing was sent")
    })?;
    check_value(bytes.len())?;
    Ok(bytes.into())
}

/// The union of all siblings as JSON.
fn merged(key: &Key, shown: &Shown, base: Option<&Base>) -> Result<Bytes, Trouble> {
    let read = |what: &str, bytes: &[u8]| {
        Json::read(bytes).map_err(|why| {
            Trouble::new(
                Exit::Error,
                format!("{what} is no JSON that can be merged: {why}"),
                "nothing was written",
                other_ways(key),
            )
        })
    };
    let siblings = (1..).zip(&shown.values);
    let siblings = siblings.map(|(number, value)| read(&format!("value #{number}"), &value.bytes));
    let siblings: Vec<Json> = siblings.collect::<Result<_, _>>()?;
    let base = base.map(|base| read(&base.label, &base.bytes)).transpose()?;
    let value = union(base.as_ref(), &siblings).map_err(|found| conflicts(key, &found))?;
    // One that is the union already is kept to the byte.
    let same = siblings.iter().position(|sibling| *sibling == value);
    let bytes = match same {
        Some(index) => shown.values[index].bytes.clone(),
        None => value.to_string().into(),
    };
    if bytes.len() > VALUE_BYTES_MAX { Err(too_large_to_merge(key)) } else { Ok(bytes) }
}

/// Where siblings say different things, with what each says.
fn conflicts(key: &Key, found: &[Conflict]) -> Trouble {
    let places = count(found.len() as u64, "place", "places");
    let mut trouble = Trouble::new(
        Exit::Conflict,
        format!(
            "{key} cannot be merged: its values differ in {places}, and nothing says which is right"
        ),
        "nothing was written",
        other_ways(key),
    );
    let side = |(index, value): &(usize, Option<Json>)| match value {
        Some(value) => {
            let text = value.to_string();
            let shown: String = text.chars().take(60).collect();
            let more = if shown.len() < text.len() { "…" } else { "" };
            format!("#{} has {shown}{more}", index + 1)
        }
        None => format!("#{} removed it", index + 1),
    };
    for conflict in found.iter().take(CONFLICTS_TOLD) {
        let sides: Vec<String> = conflict.sides.iter().map(side).collect();
        trouble.lines.push(format!("{}: {}", conflict.path, sides.join(", ")));
    }
    if found.len() > CONFLICTS_TOLD {
        trouble.lines.push(format!("and {} more", found.len() - CONFLICTS_TOLD));
    }
    trouble
}

fn other_ways(key: &Key) -> String {
    let words = show::key_words(key);
    format!(
        "ringdove siblings resolve {words} --edit     by hand\n\
         ringdove siblings resolve {words} --pick 1   keep one of them"
    )
}

fn too_large_to_merge(key: &Key) -> Trouble {
    Trouble::new(
        Exit::Error,
        format!("the values of {key} are too large together to be merged"),
        "nothing was written",
        format!("keep one of them: ringdove siblings resolve {} --pick 1", show::key_words(key)),
    )
}

/// The editor, if there is a person to use it.
fn editor_for(screen: &Screen) -> Result<String, Trouble> {
    if screen.reads_stdin {
        return editor();
    }
    Err(Trouble::usage(
        "--edit opens an editor, and the demo's commands come from where it would read",
        "say --pick, --value or --merge here, or edit from another terminal with --endpoint",
    ))
}

/// What a person made of the siblings, and the file it is in.
async fn edited(
    client: &Client,
    key: &Key,
    shown: &Shown,
    base: Option<&Base>,
    editor: &str,
) -> Result<(Bytes, Draft), Trouble> {
    let names = member_names(client).await;
    let label = |(index, value): (usize, &ShownValue)| {
        let via = names.get(&value.member).cloned();
        let via = via.unwrap_or_else(|| format!("member {}", value.member));
        let at = words::time(value.written_at_ms);
        format!("#{} written by {} via {via} at {at}", index + 1, value.written_by)
    };
    let labels: Vec<String> = shown.values.iter().enumerate().map(label).collect();
    let texts = labels.iter().zip(&shown.values);
    let sides = texts.map(|(label, value)| side(key, label, &value.bytes));
    let sides: Vec<Side<'_>> = sides.collect::<Result<_, _>>()?;
    let base = base.map(|base| side(key, &base.label, &base.bytes)).transpose()?;
    let blocks = Blocks::of(&sides, base);
    let draft = Draft::new(key, &blocks.text)?;
    let ended = draft.edit(editor);
    let saved = draft.read().map_err(|error| {
        let what = format!("{} cannot be read any more", draft.path().display());
        Trouble::io(what, &error, "nothing was written")
    })?;
    let Ok(saved) = String::from_utf8(saved) else {
        return Err(not_edited(key, "what was saved is not text", Some(&draft)));
    };
    let made = blocks.edited(&saved);
    let unused = matches!(made, Edited::Unchanged | Edited::Empty);
    let failed = match ended {
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("the editor failed ({status})")),
        Err(error) => Some(format!("the editor did not start: {error}")),
    };
    let why = match (failed, made) {
        (None, Edited::Value(value)) => {
            return match check_value(value.len()) {
                Ok(()) => Ok((value.into(), draft)),
                Err(trouble) => Err(not_edited(key, &trouble.what, Some(&draft))),
            };
        }
        (Some(why), _) => why,
        (None, Edited::Unchanged) => "the file was left as it was".to_owned(),
        (None, Edited::Empty) => "the file was left empty".to_owned(),
        (None, Edited::Marker(line)) => format!("line {line} is a conflict marker still"),
    };
    if unused {
        draft.remove();
        return Err(not_edited(key, &why, None));
    }
    Err(not_edited(key, &why, Some(&draft)))
}

/// A value as text to be edited.
fn side<'a>(key: &Key, label: &'a str, bytes: &'a [u8]) -> Result<Side<'a>, Trouble> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Side { label, text }),
        Err(_) => Err(Trouble::new(
            Exit::Error,
            format!("{label} is not text, so it cannot be edited"),
            "nothing was written",
            format!(
                "keep one of them: ringdove siblings resolve {} --pick 1",
                show::key_words(key)
            ),
        )),
    }
}

/// Nothing came of the editing; a file with work in it is kept.
fn not_edited(key: &Key, why: &str, draft: Option<&Draft>) -> Trouble {
    let words = show::key_words(key);
    let next = match draft {
        Some(draft) => format!(
            "finish the file, then write it:\n\
             ringdove siblings resolve {words} --value - < {}",
            words::quoted(&draft.path().display().to_string())
        ),
        None => format!(
            "ringdove siblings resolve {words} --edit       again\n\
             ringdove siblings resolve {words} --value ''   to write an empty value"
        ),
    };
    let mut trouble = Trouble::new(Exit::Error, why, "nothing was written", next);
    trouble.lines.extend(draft.map(kept_in));
    trouble
}

fn kept_in(draft: &Draft) -> String {
    format!("what was edited is kept in {}", draft.path().display())
}
