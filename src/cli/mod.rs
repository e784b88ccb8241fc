//! The `ringdove` command: what is typed becomes requests, what is answered becomes text or JSON.
//!
//! `args` says what can be typed, `show` how answers look, `exit` how a command may end; the other
//! files are the commands. The demo runs the same commands against nodes in its own process.
//!
//! Invariant: a command prints its answer to standard output and everything else to standard error,
//! and ends with one of the exit codes in [`Exit`]. Every error says what happened, what state is
//! left and what to do. Not here: anything that a program could not do through [`crate::client`].

mod apply;
mod args;
mod bench;
mod cluster;
mod columns;
mod data;
mod demo;
mod exit;
mod inspect;
mod lines;
mod link;
mod paint;
mod plan;
mod resolve;
mod screen;
mod settings;
mod show;
mod siblings;
mod start;
mod trouble;
mod words;

use std::process::ExitCode;

use clap::Parser;

use self::args::{Command, Common, Format};
use self::screen::Screen;
use self::trouble::Trouble;
use crate::rt;

pub use args::Cli;
pub use exit::Exit;

/// Runs the command line of this process, and says how it ended.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error).into(),
    };
    log_as(&cli.command);
    let mut screen = Screen::standard(cli.common.output);
    let ended = run(&cli.common, &cli.command, &mut screen);
    let exit = match ended {
        Ok(exit) => exit,
        Err(trouble) => {
            screen.trouble(&trouble);
            trouble.exit
        }
    };
    screen.end(exit).into()
}

fn run(common: &Common, command: &Command, screen: &mut Screen) -> Result<Exit, Trouble> {
    match command {
        Command::Start(args) => start::start(common, args, screen),
        Command::Demo(args) => demo::demo(common, args, screen),
        asking => rt::block_on(ask(common, asking, screen)),
    }
}

/// The commands that ask a node, for the demo's prompt as for the command line.
async fn ask(common: &Common, command: &Command, screen: &mut Screen) -> Result<Exit, Trouble> {
    match command {
        Command::Get(args) => data::get(common, args, screen).await,
        Command::Put(args) => data::put(common, args, screen).await,
        Command::Delete(args) => data::delete(common, args, screen).await,
        Command::Siblings(args) => siblings::siblings(common, args, screen).await,
        Command::Explain(args) => siblings::explain(common, args, screen).await,
        Command::Status(args) => cluster::status(common, args, screen).await,
        Command::Members(_) => cluster::members(common, screen).await,
        Command::Ring(args) => cluster::ring(common, args, screen).await,
        Command::Doctor(args) => cluster::doctor(common, args, screen).await,
        Command::Plan(args) => plan::plan(common, args, screen).await,
        Command::Apply(args) => apply::apply(common, args, screen).await,
        Command::Pause(_) => apply::pause(common, screen).await,
        Command::Resume(args) => apply::resume(common, args, screen).await,
        Command::Abort(_) => apply::abort(common, screen).await,
        Command::ForceEpoch(args) => apply::force(common, args, screen).await,
        Command::Bench(args) => bench::bench(common, args, screen).await,
        Command::Inspect(args) => inspect::inspect(args, screen),
        Command::Demo(_) | Command::Start(_) => Err(Trouble::usage(
            "a node is not started from here",
            "leave the demo, and run `ringdove start`",
        )),
    }
}

/// Sends logs to standard error: warnings, or what `RINGDOVE_LOG` says.
fn log_as(command: &Command) {
    // The demo cuts and kills on purpose; that its nodes notice is no news.
    let unless_said = if matches!(command, Command::Demo(_)) { "off" } else { "warn" };
    let env = env_logger::Env::new().filter_or("RINGDOVE_LOG", unless_said);
    env_logger::Builder::from_env(env).init();
}

/// What clap says of a line that is no command, or of one that asks for help.
fn usage(error: &clap::Error) -> Exit {
    let json = |arg: &str| matches!(arg, "-ojson" | "json" | "--output=json" | "-o=json");
    let wants_json = std::env::args().any(|arg| json(&arg))
        || std::env::var("RINGDOVE_OUTPUT").is_ok_and(|value| value == "json");
    if error.use_stderr() && wants_json {
        let text = error.render().to_string();
        let what = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let next = "run the command with --help for what it takes";
        Screen::standard(Format::Json).trouble(&Trouble::usage(what, next));
    } else if let Err(error) = error.print() {
        log::debug!("the help could not be printed: {error}");
    }
    if error.use_stderr() { Exit::Usage } else { Exit::Ok }
}
