//! `demo`: a whole cluster in this process, with a prompt to cut it, heal it and look.
//!
//! The nodes are the very ones that `start` runs, with sockets of their own on loopback; only a
//! switch between them can lose what they send. Every command of the command line works here, and
//! goes to the node that is in use, or to the one named with `@b` or `--on b`.
//!
//! Invariant: whatever is typed, the session goes on, and at its end nothing is left behind.

mod nodes;
mod prompt;
mod tour;
mod verb;

use std::io::IsTerminal;

use clap::Parser;

use self::nodes::Nodes;
use self::prompt::{Prompt, Said};
use self::verb::Verb;
use super::args::{Cli, Common, DemoArgs, Format};
use super::ask;
use super::exit::Exit;
use super::paint::Paint;
use super::screen::Screen;
use super::trouble::Trouble;
use super::words::list;
use crate::rt;

/// What `help` prints.
const HELP: &str = "\
Break and mend the network:
  split a,b | c,d,e      cut the nodes into groups that cannot hear each other
  heal                   join them again
  kill a                 end a node as a power cut would: nothing more is answered or written
  restart a              start it again from its own disk
  nodes                  who runs, and who can hear whom

Say whom commands talk to:
  use c                  from now on c
  get KEY @c             just this once c (or: --on c)

Every command of the command line, with or without the word ringdove:
  put KEY VALUE     get KEY           delete KEY       explain KEY
  siblings list     siblings show KEY                  siblings resolve KEY --pick N
  status            members           ring             bench --seconds 2
  help get               what one of them takes

  quit                   ends the demo and removes everything
";

/// A demo under way.
pub(crate) struct Session {
    nodes: Nodes,
    /// The node that commands talk to.
    current: usize,
    common: Common,
    screen: Screen,
    /// Whether commands that did not come from a terminal are printed before they are run.
    echo: bool,
    failures: u64,
}

/// Runs the demo until its input ends.
pub(crate) fn demo(common: &Common, args: &DemoArgs, screen: &mut Screen) -> Result<Exit, Trouble> {
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let mut own = Screen::single(Box::new(std::io::stdout()), Paint::suits(&std::io::stdout()));
    own.width = screen.width;
    own.print(format!("starting {} nodes in this process …\n", args.nodes));
    own.flush();
    let nodes = Nodes::start(args.nodes)?;
    let common = Common { writer: writer(common), ..common.clone() };
    let mut session =
        Session { nodes, current: 0, common, screen: own, echo: !terminal, failures: 0 };
    session.welcome();
    if args.tour {
        return tour::tour(&mut session, terminal);
    }
    session.screen.print("`help` lists what you can do; `quit` ends it.\n\n");
    session.run(&mut Prompt::new(terminal)?)?;
    Ok(if args.strict && session.failures > 0 { Exit::Error } else { Exit::Ok })
}

/// What this client calls itself, unless it was told.
fn writer(common: &Common) -> String {
    if common.writer == "cli" { "demo".to_owned() } else { common.writer.clone() }
}

impl Session {
    fn welcome(&mut self) {
        let names = list(&self.nodes.names());
        let place = self.nodes.place().display().to_string();
        let is = if self.nodes.names().len() == 1 { "is" } else { "are" };
        self.screen.print(format!("{names} {is} up, with data in {place}\n"));
    }

    fn run(&mut self, prompt: &mut Prompt) -> Result<(), Trouble> {
        loop {
            let text = format!("{}> ", self.nodes.name(self.current));
            self.screen.flush();
            let line = match prompt.read(&text)? {
                Said::Line(line) => line,
                Said::Interrupted => {
                    self.screen.print("`quit` ends the demo\n");
                    continue;
                }
                Said::End => return Ok(()),
            };
            if self.screen.is_closed() || self.line(&line).is_break() {
                return Ok(());
            }
        }
    }

    /// Does what one line says; a break ends the session.
    fn line(&mut self, line: &str) -> std::ops::ControlFlow<()> {
        if self.echo {
            let prompt = format!("{}> ", self.nodes.name(self.current));
            let prompt = self.screen.paint.dim(&prompt);
            self.screen.print(format!("{prompt}{line}\n"));
        }
        let ended = match Verb::parse(line) {
            Ok(Verb::Nothing) => return std::ops::ControlFlow::Continue(()),
            Ok(Verb::Quit) => return std::ops::ControlFlow::Break(()),
            Ok(verb) => self.act(&verb),
            Err(trouble) => Err(trouble),
        };
        self.finish(ended);
        std::ops::ControlFlow::Continue(())
    }

    /// Tells how a command ended, and counts it if it did not end well.
    fn finish(&mut self, ended: Result<Exit, Trouble>) -> Exit {
        let exit = match ended {
            Ok(exit) => exit,
            Err(trouble) => {
                self.screen.trouble(&trouble);
                trouble.exit
            }
        };
        if exit != Exit::Ok {
            self.failures += 1;
            let words = format!("[{}, exit code {}]", exit.words(), exit.number());
            let words = self.screen.paint.dim(&words);
            self.screen.print(format!("{words}\n"));
        }
        self.screen.print("\n");
        self.screen.flush();
        exit
    }

    fn act(&mut self, verb: &Verb) -> Result<Exit, Trouble> {
        let said = match verb {
            Verb::Nothing | Verb::Quit => String::new(),
            Verb::Help => HELP.to_owned(),
            Verb::Nodes => self.nodes.shown(self.current),
            Verb::Split(groups) => self.nodes.split(groups)?,
            Verb::Heal => self.nodes.heal()?,
            Verb::Kill(name) => self.nodes.kill(name)?,
            Verb::Restart(name) => self.nodes.restart(name)?,
            Verb::Use(name) => {
                self.current = self.nodes.find(name)?;
                format!("commands go to {name} now\n")
            }
            Verb::Ask { on, words } => return self.command(on.as_deref(), words),
        };
        self.screen.print(said);
        Ok(Exit::Ok)
    }

    /// Runs a command of the command line against one of the nodes.
    fn command(&mut self, on: Option<&str>, words: &[String]) -> Result<Exit, Trouble> {
        let at = on.map_or(Ok(self.current), |name| self.nodes.find(name))?;
        let typed = std::iter::once("ringdove").chain(words.iter().map(String::as_str));
        let cli = match Cli::try_parse_from(typed) {
            Ok(cli) => cli,
            Err(error) => return self.not_parsed(&error),
        };
        self.nodes.check_runs(at)?;
        let mut common = cli.common;
        common.endpoint = vec![self.nodes.addr(at).to_string()];
        if common.writer == "cli" {
            common.writer.clone_from(&self.common.writer);
        }
        self.screen.format = common.output;
        let ended = rt::block_on(ask(&common, &cli.command, &mut self.screen));
        self.screen.format = Format::Table;
        ended
    }

    /// A line that is no command, or asks for help.
    fn not_parsed(&mut self, error: &clap::Error) -> Result<Exit, Trouble> {
        let text = match self.screen.paint {
            Paint::Plain => error.render().to_string(),
            Paint::Ansi => error.render().ansi().to_string(),
        };
        self.screen.print(text);
        if !error.use_stderr() {
            return Ok(Exit::Ok);
        }
        self.screen.print("`help` lists what you can do here\n");
        Ok(Exit::Usage)
    }
}
