//! Small pieces of text: numbers, times, values, commands.
//!
//! Invariant: pure functions; nothing here depends on the locale, the terminal or the clock.

use std::time::Duration;

/// `1 key`, `2 keys`, `1,204 keys`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// `1,204`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `312 bytes`, `4.0 KiB`, `1.2 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return count(bytes, "byte", "bytes");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// `0.4 s`, `44 s`, `3 min`, `5 h`, `2 d`: how long ago, for a glance.
pub(crate) fn ago(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    match seconds {
        0..=9 => format!("{:.1} s", elapsed.as_secs_f64()),
        10..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `12 ms`, `2.4 s`, `3 min`: how far apart two moments are.
pub(crate) fn apart(milliseconds: u64) -> String {
    if milliseconds < 1_000 {
        format!("{milliseconds} ms")
    } else {
        ago(Duration::from_millis(milliseconds))
    }
}

/// RFC 3339 in UTC with milliseconds, or a word for a stamp that is no time.
pub(crate) fn time(milliseconds: u64) -> String {
    i64::try_from(milliseconds)
        .ok()
        .and_then(|milliseconds| jiff::Timestamp::from_millisecond(milliseconds).ok())
        .map_or_else(|| format!("{milliseconds} ms (no time)"), |time| format!("{time:.3}"))
}

/// The time of day alone, `10:02:11.120`, for rows that share a day.
pub(crate) fn time_of_day(milliseconds: u64) -> String {
    let time = time(milliseconds);
    match time.split_once('T') {
        Some((_, rest)) => rest.trim_end_matches('Z').to_owned(),
        None => time,
    }
}

/// The day alone, `2026-11-22`.
pub(crate) fn day(milliseconds: u64) -> String {
    let time = time(milliseconds);
    time.split_once('T').map_or(time.clone(), |(day, _)| day.to_owned())
}

/// A paragraph on lines of at most `width` characters, and never more than 100: the first begins with
/// `first`, the others with `others`.
pub(crate) fn wrapped(text: &str, first: &str, others: &str, width: usize) -> String {
    let width = width.clamp(40, 100);
    let (mut lines, mut line, mut empty) = (String::new(), first.to_owned(), true);
    for word in text.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > width {
            lines.push_str(&line);
            lines.push('\n');
            (line, empty) = (others.to_owned(), true);
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    lines + &line + "\n"
}

/// At most `width` characters of a value, on one line. Text is quoted as JSON would; bytes that are
/// not text are shown as hex. `len` is how many bytes the value has, of which `head` is the front.
pub(crate) fn preview(head: &[u8], len: u64, width: usize) -> String {
    let whole = head.len() as u64 == len;
    let (text, cut) = match std::str::from_utf8(head) {
        Ok(text) => (text, false),
        // A cut in the middle of a character is no reason to show hex.
        Err(error) if !whole && error.error_len().is_none() => {
            (std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(), true)
        }
        Err(_) => return hex(head, len, width),
    };
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r')) {
        return hex(head, len, width);
    }
    let mut shown = String::from("\"");
    let mut left = width.saturating_sub(3);
    for character in text.chars() {
        let escaped = match character {
            '"' => "\\\"".to_owned(),
            '\n' => "\\n".to_owned(),
            '\t' => "\\t".to_owned(),
            '\r' => "\\r".to_owned(),
            '\\' => "\\\\".to_owned(),
            other => other.to_string(),
        };
        let room = escaped.chars().count();
        if room > left {
            return format!("{shown}…\" ({})", size(len));
        }
        left -= room;
        shown.push_str(&escaped);
    }
    if whole && !cut { shown + "\"" } else { format!("{shown}…\" ({})", size(len)) }
}

fn hex(head: &[u8], len: u64, width: usize) -> String {
    let bytes = head.len().min(width.saturating_sub(3) / 2).min(16);
    let text = data_encoding::HEXLOWER.encode(&head[..bytes]);
    let dots = if bytes as u64 == len { "" } else { "…" };
    format!("0x{text}{dots} ({})", size(len))
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list(words: &[impl AsRef<str>]) -> String {
    match words {
        [] => "nobody".to_owned(),
        [one] => one.as_ref().to_owned(),
        [front @ .., last] => {
            let front: Vec<&str> = front.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", front.join(", "), last.as_ref())
        }
    }
}

/// A word as a shell takes it: quoted if it must be.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "._-/:@+,=".contains(c);
    if !word.is_empty() && !word.starts_with('-') && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a quote is opened and never closed")]
pub(crate) struct OpenQuote;

/// Splits a line into words as a shell does: blanks part them; '…' and "…" and \ keep them together.
pub(crate) fn split(line: &str) -> Result<Vec<String>, OpenQuote> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            blank if blank.is_whitespace() => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next().ok_or(OpenQuote)? {
                        '\'' => break,
                        inside => word.push(inside),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next().ok_or(OpenQuote)? {
                        '"' => break,
                        '\\' => match characters.next().ok_or(OpenQuote)? {
                            escaped @ ('"' | '\\') => word.push(escaped),
                            other => word.extend(['\\', other]),
                        },
                        inside => word.push(inside),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(characters.next().ok_or(OpenQuote)?),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(1, "key", "keys"), "1 key");
        assert_eq!(count(1_234_567, "key", "keys"), "1,234,567 keys");
        assert_eq!(
            (size(1), size(1023), size(4096)),
            ("1 byte".into(), "1,023 bytes".into(), "4.0 KiB".into())
        );
        assert_eq!(size(9 << 20), "9.0 MiB");
        assert_eq!(ago(Duration::from_millis(420)), "0.4 s");
        assert_eq!(ago(Duration::from_secs(44)), "44 s");
        assert_eq!(apart(12), "12 ms");
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(time(1_794_000_131_120), "2026-11-06T21:22:11.120Z");
        assert_eq!(time_of_day(1_794_000_131_120), "21:22:11.120");
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(time(u64::MAX), "18446744073709551615 ms (no time)");
    }

    #[test]
    fn values_stay_on_one_line() {
        assert_eq!(preview(b"tea", 3, 40), "\"tea\"");
        assert_eq!(preview(b"a\n\"b\"", 5, 40), r#""a\n\"b\"""#);
        assert_eq!(preview(b"abcdefghij", 10, 8), "\"abcde…\" (10 bytes)");
        assert_eq!(preview(b"abc", 900, 40), "\"abc…\" (900 bytes)");
        assert_eq!(preview(&[0xff, 0, 1], 3, 40), "0xff0001 (3 bytes)");
        assert_eq!(preview(&"ä".as_bytes()[..1], 2, 40), "\"…\" (2 bytes)");
        assert_eq!(preview(b"", 0, 40), "\"\"");
    }

    #[test]
    fn paragraphs_are_wrapped_between_words() {
        let text = "one two three four five six seven eight nine ten";
        let expected = "- one two three four five six seven eight\n  nine ten\n";
        assert_eq!(wrapped(text, "- ", "  ", 42), expected);
        assert_eq!(wrapped("", "# ", "# ", 42), "# \n");
        let long = "x".repeat(200);
        assert_eq!(wrapped(&long, "", "  ", 42), format!("{long}\n"));
    }

    #[test]
    fn lines_split_as_in_a_shell() {
        let words = |line| split(line).expect("balanced");
        assert_eq!(
            words("put k 'a b'  \"c\\\"d\" e\\ f ''"),
            ["put", "k", "a b", "c\"d", "e f", ""]
        );
        assert_eq!(split("put 'k"), Err(OpenQuote));
        assert_eq!(words(&format!("get {}", quoted("it's"))), ["get", "it's"]);
    }
}
