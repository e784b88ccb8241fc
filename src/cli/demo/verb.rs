//! What a line at the demo's prompt says.

use super::super::trouble::Trouble;
use super::super::words;

/// The words that only the demo knows.
pub(super) const VERBS: [&str; 9] =
    ["split", "heal", "kill", "restart", "use", "nodes", "help", "quit", "exit"];

/// One line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verb {
    /// An empty line, or one that begins with `#`.
    Nothing,
    Help,
    Quit,
    Nodes,
    Heal,
    /// Groups of names.
    Split(Vec<Vec<String>>),
    Kill(String),
    Restart(String),
    Use(String),
    /// A command of the command line, and the node that it is for.
    Ask {
        on: Option<String>,
        words: Vec<String>,
    },
}

impl Verb {
    pub(super) fn parse(line: &str) -> Result<Verb, Trouble> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(Verb::Nothing);
        }
        if let Some(rest) = line.strip_prefix("split")
            && rest.chars().next().is_none_or(char::is_whitespace)
        {
            return split(rest);
        }
        let mut words = words::split(line).map_err(|error| {
            Trouble::usage(error.to_string(), "close it, or put a \\ before a quote that is meant")
        })?;
        if words[0] == "ringdove" {
            words.remove(0);
        }
        let Some(first) = words.first() else { return Ok(Verb::Help) };
        match (first.as_str(), &words[1..]) {
            ("help" | "?", []) => Ok(Verb::Help),
            ("quit" | "exit", []) => Ok(Verb::Quit),
            ("heal", []) => Ok(Verb::Heal),
            ("nodes", []) => Ok(Verb::Nodes),
            ("kill", [name]) => Ok(Verb::Kill(name.clone())),
            ("restart", [name]) => Ok(Verb::Restart(name.clone())),
            ("use", [name]) => Ok(Verb::Use(name.trim_start_matches('@').to_owned())),
            (verb @ ("kill" | "restart" | "use"), _) => Err(Trouble::usage(
                format!("{verb} takes the name of one node"),
                format!("{verb} a"),
            )),
            (verb @ ("heal" | "nodes" | "quit" | "exit"), _) => {
                Err(Trouble::usage(format!("{verb} stands alone"), verb))
            }
            _ => ask(words),
        }
    }
}

/// `a,b | c,d,e`: groups parted by `|`, names by commas or blanks.
fn split(rest: &str) -> Result<Verb, Trouble> {
    let names = |group: &str| -> Vec<String> {
        let names = group.split([',', ' ', '\t']).map(str::trim).filter(|name| !name.is_empty());
        names.map(str::to_owned).collect()
    };
    let groups: Vec<Vec<String>> = rest.split('|').map(names).collect();
    if groups.iter().any(Vec::is_empty) {
        let what = "split takes groups of nodes with a | between them";
        return Err(Trouble::usage(what, "split a,b | c,d,e"));
    }
    Ok(Verb::Split(groups))
}

/// Takes out `@b` or `--on b`.
fn ask(words: Vec<String>) -> Result<Verb, Trouble> {
    let (mut on, mut kept) = (None, Vec::with_capacity(words.len()));
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            kept.push(word);
            kept.extend(words.by_ref());
        } else if word == "--on" {
            let named = words.next();
            on = Some(named.ok_or_else(|| Trouble::usage("--on names a node", "get KEY --on c"))?);
        } else if let Some(name) = word.strip_prefix('@')
            && !name.is_empty()
        {
            on = Some(name.to_owned());
        } else {
            kept.push(word);
        }
    }
    Ok(Verb::Ask { on, words: kept })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Verb {
        Verb::parse(line).expect("a verb")
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lines_are_understood() {
        assert_eq!(parsed("  # why"), Verb::Nothing);
        let groups = vec![names(&["a", "b"]), names(&["c", "d", "e"])];
        assert_eq!(parsed("split a,b | c,d,e"), Verb::Split(groups.clone()));
        assert_eq!(parsed("split a b|c  d, e"), Verb::Split(groups));
        assert_eq!(parsed("use @c"), Verb::Use("c".to_owned()));
        let ask = |on: Option<&str>, words: &[&str]| Verb::Ask {
            on: on.map(str::to_owned),
            words: names(words),
        };
        assert_eq!(parsed("ringdove get k @c -r one"), ask(Some("c"), &["get", "k", "-r", "one"]));
        assert_eq!(parsed("put k 'a b' --on e"), ask(Some("e"), &["put", "k", "a b"]));
        assert_eq!(parsed("put k -- @c"), ask(None, &["put", "k", "--", "@c"]));
        assert_eq!(parsed("splitter"), ask(None, &["splitter"]));
    }

    #[test]
    fn what_is_not_understood_says_what_would_be() {
        for line in ["split", "split a |", "kill", "use a b", "heal now", "put 'k", "get k --on"] {
            let trouble = Verb::parse(line).expect_err(line);
            assert_eq!(trouble.exit, super::super::super::exit::Exit::Usage, "{line}");
            assert!(!trouble.next.is_empty(), "{line}");
        }
    }
}
