//! The text that `--edit` puts before a person: siblings side by side, as merge tools know it.
//!
//! What all siblings begin and end with stands once. What differs between stands in one block:
//!
//! ```text
//! <<<<<<< #1 written by ann via n1 at …
//! ||||||| the common ancestor, where it is known
//! ======= #2 written by bob via n2 at …        only where there are more than two
//! =======
//! >>>>>>> #3 written by cyd via n3 at …
//! ```
//!
//! Invariant: leaving one side of the block, and no marker, gives that sibling again; a line of a
//! sibling is never taken for a marker, since markers are longer than anything like them in it.
//! Not here: the file and the editor (`editor`).

/// A text and what is said of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side<'a> {
    pub label: &'a str,
    pub text: &'a str,
}

/// The characters that markers are made of.
const MARKS: [char; 4] = ['<', '|', '=', '>'];
/// The least number of them in a marker, as every merge tool has it.
const MARK_LEN: usize = 7;

/// Siblings as they are edited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blocks {
    /// What the file holds at first.
    pub text: String,
    /// How long the markers are.
    mark: usize,
    /// Whether the newline that editors put at the end is no part of the value.
    bare_end: bool,
}

/// What became of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edited {
    /// This is to be written.
    Value(String),
    /// It is as it was.
    Unchanged,
    /// Nothing is in it.
    Empty,
    /// A marker is still there, in this line, counted from 1.
    Marker(usize),
}

impl Blocks {
    /// Puts two or more siblings side by side, with what they came from between, if it is known.
    pub(super) fn of(sides: &[Side<'_>], base: Option<Side<'_>>) -> Blocks {
        let texts = || sides.iter().chain(&base).map(|side| side.text);
        let longest = texts().flat_map(str::lines).map(run_at_front).max().unwrap_or(0);
        let mark = MARK_LEN.max(longest + 1);
        let lines: Vec<Vec<&str>> =
            texts().map(|text| text.split_inclusive('\n').collect()).collect();
        let shortest = lines.iter().map(Vec::len).min().unwrap_or(0);
        let same = |at: &dyn Fn(&Vec<&str>) -> usize| {
            lines.windows(2).all(|pair| pair[0][at(&pair[0])] == pair[1][at(&pair[1])])
        };
        let front = (0..shortest).take_while(|line| same(&|_| *line)).count();
        let back = (1..=shortest - front).take_while(|line| same(&|of| of.len() - line)).count();
        let mut text = String::new();
        let first = lines.first().map(Vec::as_slice).unwrap_or_default();
        text.extend(first[..front].iter().copied());
        let body = |text: &mut String, index: usize| {
            for line in &lines[index][front..lines[index].len() - back] {
                text.push_str(line);
            }
            end_line(text);
        };
        for (index, side) in sides.iter().enumerate() {
            let last = index + 1 == sides.len();
            match index {
                0 => marker(&mut text, '<', mark, side.label),
                _ if last => marker(&mut text, '=', mark, ""),
                _ => marker(&mut text, '=', mark, side.label),
            }
            body(&mut text, index);
            if let (0, Some(base)) = (index, &base) {
                marker(&mut text, '|', mark, base.label);
                body(&mut text, sides.len());
            }
            if last {
                marker(&mut text, '>', mark, side.label);
            }
        }
        text.extend(first[first.len() - back..].iter().copied());
        end_line(&mut text);
        let bare_end = sides.iter().all(|side| !side.text.ends_with('\n'));
        Blocks { text, mark, bare_end }
    }

    /// What was made of it.
    pub(super) fn edited(&self, saved: &str) -> Edited {
        if saved == self.text {
            return Edited::Unchanged;
        }
        if saved.trim().is_empty() {
            return Edited::Empty;
        }
        if let Some(line) = saved.lines().position(|line| run_at_front(line) == self.mark) {
            return Edited::Marker(line + 1);
        }
        let value = match saved.strip_suffix('\n') {
            Some(value) if self.bare_end => value,
            _ => saved,
        };
        Edited::Value(value.to_owned())
    }
}

/// How many of one marker character a line begins with.
fn run_at_front(line: &str) -> usize {
    match line.chars().next() {
        Some(first) if MARKS.contains(&first) => line.chars().take_while(|c| *c == first).count(),
        _ => 0,
    }
}

fn marker(text: &mut String, mark: char, len: usize, label: &str) {
    end_line(text);
    text.extend(std::iter::repeat_n(mark, len));
    if !label.is_empty() {
        text.push(' ');
        text.push_str(label);
    }
    text.push('\n');
}

/// Ends a line that was begun.
fn end_line(text: &mut String) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn side<'a>(label: &'a str, text: &'a str) -> Side<'a> {
        Side { label, text }
    }

    #[test]
    fn what_differs_stands_in_one_block() {
        let sides =
            [side("#1 ann", "tea\nmilk\nend\n"), side("#2 bob", "tea\nbread\nhoney\nend\n")];
        let blocks = Blocks::of(&sides, None);
        let expected = "tea\n<<<<<<< #1 ann\nmilk\n=======\nbread\nhoney\n>>>>>>> #2 bob\nend\n";
        assert_eq!(blocks.text, expected);
        let blocks = Blocks::of(&sides, Some(side("the common ancestor", "tea\nend\n")));
        let expected = "tea\n<<<<<<< #1 ann\nmilk\n||||||| the common ancestor\n=======\nbread\nhoney\n\
                        >>>>>>> #2 bob\nend\n";
        assert_eq!(blocks.text, expected);
        let three = [side("#1 a", "x"), side("#2 b", "y"), side("#3 c", "z")];
        let blocks = Blocks::of(&three, None);
        let expected = "<<<<<<< #1 a\nx\n======= #2 b\ny\n=======\nz\n>>>>>>> #3 c\n";
        assert_eq!(blocks.text, expected);
    }

    #[test]
    fn a_marker_is_longer_than_what_looks_like_one() {
        let sides = [side("#1 a", "title\n=======\n"), side("#2 b", "Title\n========\n")];
        let blocks = Blocks::of(&sides, None);
        assert!(blocks.text.starts_with("<<<<<<<<< #1 a\ntitle\n=======\n=========\n"));
        let saved = "TITLE\n=======\n";
        assert_eq!(blocks.edited(saved), Edited::Value(saved.to_owned()));
        assert_eq!(blocks.edited("one\n=========\ntwo\n"), Edited::Marker(2));
    }

    #[test]
    fn what_was_not_edited_is_not_written() {
        let blocks = Blocks::of(&[side("#1 a", "tea"), side("#2 b", "milk")], None);
        assert_eq!(blocks.edited(&blocks.text), Edited::Unchanged);
        assert_eq!(blocks.edited(""), Edited::Empty);
        assert_eq!(blocks.edited(" \n\n"), Edited::Empty);
        assert_eq!(blocks.edited(&format!("{}more", blocks.text)), Edited::Marker(1));
        assert_eq!(blocks.edited("both\n"), Edited::Value("both".to_owned()), "as they were");
        assert_eq!(blocks.edited("both\n\n"), Edited::Value("both\n".to_owned()));
        let lines = Blocks::of(&[side("#1 a", "tea\n"), side("#2 b", "milk")], None);
        assert_eq!(lines.edited("both\n"), Edited::Value("both\n".to_owned()));
    }

    /// What is left when of the block only this side is.
    fn picked(text: &str, mark: usize, side: usize, sides: usize, base: bool) -> String {
        let (mut part, mut left) = (None, String::new());
        for line in text.split_inclusive('\n') {
            if run_at_front(line) == mark {
                part = match (line.chars().next(), part) {
                    (Some('<'), None) => Some(0),
                    (Some('|'), Some(0)) => Some(sides),
                    (Some('='), Some(before)) if before == sides => Some(1),
                    (Some('='), Some(before)) => Some(before + 1),
                    (Some('>'), Some(_)) => None,
                    other => panic!("{other:?} in {text}"),
                };
            } else if part.is_none_or(|part| part == side) {
                left.push_str(line);
            }
        }
        assert!(part.is_none() && (base || !text.contains(&"|".repeat(mark))));
        left
    }

    proptest! {
        #[test]
        fn leaving_one_side_gives_that_sibling_again(
            texts in prop::collection::vec("([a-c<=|>]{0,9}\n){0,4}[a-c=]{0,2}", 2..4),
            base in prop::option::of("([a-c=]{0,3}\n){0,4}"),
        ) {
            let sides: Vec<Side<'_>> = texts.iter().map(|text| side("who", text)).collect();
            let blocks = Blocks::of(&sides, base.as_ref().map(|text| side("before", text)));
            for (index, text) in texts.iter().enumerate() {
                let left = picked(&blocks.text, blocks.mark, index, texts.len(), base.is_some());
                let mut whole = text.clone();
                end_line(&mut whole);
                prop_assert_eq!(&left, &whole);
                if !left.trim().is_empty() {
                    prop_assert!(matches!(blocks.edited(&left), Edited::Value(_)));
                }
            }
            prop_assert_eq!(blocks.edited(&blocks.text), Edited::Unchanged);
        }
    }
}
