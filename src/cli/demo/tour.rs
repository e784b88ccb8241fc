//! `demo --tour`: a conflict from its making to its resolution, in a minute.
//!
//! Invariant: every step says which end it expects, and the tour fails if it ends otherwise: what
//! the tour tells is what the store does. It waits on conditions and for its reader, never for time.

use std::io::BufRead;

use super::super::exit::Exit;
use super::super::trouble::Trouble;
use super::super::words::{list, wrapped};
use super::Session;
use super::verb::Verb;
use crate::client::{Client, ClientOptions};
use crate::rt;
use crate::wire::{Answer, Question};

/// A paragraph, then commands, each with the end that is expected of it.
struct Step {
    says: String,
    types: Vec<(String, Exit)>,
}

/// Keys that the tour may use.
const KEYS: usize = 200;

pub(super) fn tour(session: &mut Session, terminal: bool) -> Result<Exit, Trouble> {
    let names = session.nodes.names();
    if names.len() < 5 {
        return Err(Trouble::usage("the tour needs five nodes", "ringdove demo --tour"));
    }
    let (left, right) = names.split_at(2);
    let (key, near) = straddling_key(session, left)?;
    session.echo = true;
    for step in steps(&key, &near, left, right) {
        session.screen.print(format!("\n{}", wrapped(&step.says, "# ", "# ", 90)));
        for (line, expected) in &step.types {
            pause(session, terminal);
            run(session, line, *expected)?;
        }
    }
    session.screen.print(format!("\n{}", wrapped(END, "# ", "# ", 90)));
    session.screen.flush();
    Ok(Exit::Ok)
}

const END: &str = "That was it: nothing was lost on either side, nobody's clock decided, and the \
store could say why. `ringdove demo` gives you the same five nodes and a prompt.";

fn steps(key: &str, near: &str, left: &[String], right: &[String]) -> Vec<Step> {
    let (a, c) = (&left[0], &right[0]);
    let (here, there) = (left.join(","), right.join(","));
    let (left, right) = (list(left), list(right));
    let step = |says: String, types: &[(String, Exit)]| Step { says, types: types.to_vec() };
    vec![
        step(
            "Five nodes run in this process, with sockets and disks of their own. None is special: \
             each takes reads and writes of every key."
                .to_owned(),
            &[("members".to_owned(), Exit::Ok)],
        ),
        step(
            "A shopping cart. Three of the five own the key, and `-w all` waits until it is on the \
             disks of all three. Any node can be asked for it."
                .to_owned(),
            &[
                (format!("put {key} tea -w all @{a}"), Exit::Ok),
                (format!("get {key} @{c}"), Exit::Ok),
            ],
        ),
        step(
            format!("Now the network breaks: {left} cannot hear {right}."),
            &[(format!("split {here} | {there}"), Exit::Ok)],
        ),
        step(
            format!(
                "Both sides go on writing. On the left only one owner is there, {near}; the other \
                 left node keeps the write for an absent owner, as a hint, and that counts. On the \
                 right are the other two owners."
            ),
            &[
                (format!("put {key} 'tea, milk' @{a}"), Exit::Ok),
                (format!("put {key} 'tea, bread' @{c}"), Exit::Ok),
            ],
        ),
        step(
            "What do reads answer now? A read asks a quorum of the owners, two of three. The right \
             side has them. The left side has not, and says so: no guess is passed off as an answer. \
             Who would rather have what is at hand asks for one."
                .to_owned(),
            &[
                (format!("get {key} @{c}"), Exit::Ok),
                (format!("get {key} @{a}"), Exit::LevelNotMet),
                (format!("get {key} -r one @{a}"), Exit::Ok),
            ],
        ),
        step(
            "The network heals. Hints find their owners at once. What no hint brings, the owners find \
             out by themselves when they next compare what they have."
                .to_owned(),
            &[("heal".to_owned(), Exit::Ok)],
        ),
        step(
            "Two people changed one cart, and neither had seen the other's change. No clock may \
             decide whose is thrown away, so both are kept, and shown."
                .to_owned(),
            &[
                (format!("get {key}"), Exit::Conflict),
                ("siblings list".to_owned(), Exit::Ok),
            ],
        ),
        step(
            "Why? Every value carries its name (a dot) and what its writer had seen. That is all \
             it takes to tell."
                .to_owned(),
            &[(format!("explain {key}"), Exit::Ok)],
        ),
        step(
            "Somebody who has seen both writes what the cart should be. That replaces both, and \
             exactly those."
                .to_owned(),
            &[
                (format!("siblings resolve {key} --value 'tea, milk, bread'"), Exit::Ok),
                (format!("get {key} -r all @{c}"), Exit::Ok),
                ("siblings list".to_owned(), Exit::Ok),
            ],
        ),
    ]
}

/// A key with one owner on the left side, and that owner: then the two sides differ in what they
/// can answer. Which key that is depends on the nodes' random ids.
fn straddling_key(session: &Session, left: &[String]) -> Result<(String, String), Trouble> {
    let addr = session.nodes.addr(0).to_string();
    rt::block_on(async {
        let client = Client::connect(&[addr], ClientOptions::default()).await?;
        for nth in 1..=KEYS {
            let key = format!("cart/{nth}");
            let question =
                Question::Explain { bucket: "default".to_owned(), key: key.clone().into_bytes() };
            let Answer::Explain(explanation) = client.ask(question).await? else { break };
            let owner = |name: &&String| {
                let number = explanation.names.iter().find(|(_, other)| other == *name);
                number.is_some_and(|(number, _)| explanation.owners.contains(number))
            };
            let owners: Vec<&String> = left.iter().filter(owner).collect();
            if let ([near], 3) = (owners.as_slice(), explanation.owners.len()) {
                return Ok((key, (*near).clone()));
            }
        }
        Err(Trouble::new(
            Exit::Error,
            format!("none of {KEYS} keys has just one owner among {}", list(left)),
            "nothing was written",
            "start the tour again: nodes get other random ids",
        ))
    })
}

/// Types a line for the reader, and fails if it ends in another way than was told.
fn run(session: &mut Session, line: &str, expected: Exit) -> Result<(), Trouble> {
    let prompt = format!("{}> ", session.nodes.name(session.current));
    let prompt = session.screen.paint.dim(&prompt);
    let typed = session.screen.paint.bold(line);
    session.screen.print(format!("{prompt}{typed}\n"));
    session.screen.flush();
    let ended = Verb::parse(line).and_then(|verb| session.act(&verb));
    let exit = session.finish(ended);
    if exit == expected {
        return Ok(());
    }
    Err(Trouble::new(
        Exit::Error,
        format!(
            "the tour expected `{line}` to end with {}, not with {}",
            expected.words(),
            exit.words()
        ),
        "the tour ends here; its nodes and their data are removed",
        "run it again; if it does the same, report it with what is printed above",
    ))
}

/// On a terminal the reader says when to go on.
fn pause(session: &mut Session, terminal: bool) {
    if !terminal {
        return;
    }
    let words = session.screen.paint.dim("(press Enter) ");
    session.screen.print(words);
    session.screen.flush();
    let mut line = String::new();
    // An input that ends is a reader in a hurry.
    let _ = std::io::stdin().lock().read_line(&mut line);
}
