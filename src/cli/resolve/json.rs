//! JSON as it was written: nothing is rounded and nothing is dropped on the way in.
//!
//! A merge writes back what it read, so it must not lose what it does not understand: numbers keep
//! their digits as text, and an object that names a member twice is refused, since one of the two
//! would be gone. `1` and `1.0` are different here.
//!
//! Invariant: writing what was read gives the same value to every reader of JSON. Not here: the
//! merge (`union`).

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The deepest nesting that is read.
const DEPTH_MAX: usize = 128;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// Its digits, as they were written.
    Number(String),
    Text(String),
    List(Vec<Json>),
    /// Its members by name.
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// Reads one value. The error is for people.
    pub(super) fn read(bytes: &[u8]) -> Result<Json, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
        Json::of(text, 0)
    }

    fn of(text: &str, depth: usize) -> Result<Json, String> {
        if depth > DEPTH_MAX {
            return Err(format!("it is nested more than {DEPTH_MAX} deep"));
        }
        let words = |error: serde_json::Error| error.to_string();
        let text = text.trim_matches([' ', '\t', '\n', '\r']);
        Ok(match text.as_bytes().first() {
            Some(b'{') => {
                let Members(members) = serde_json::from_str(text).map_err(words)?;
                let mut object = BTreeMap::new();
                for (name, raw) in members {
                    let value = Json::of(raw.get(), depth + 1)?;
                    if object.insert(name.clone(), value).is_some() {
                        return Err(format!("an object names the member {name:?} twice"));
                    }
                }
                Json::Object(object)
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(words)?;
                let items = items.into_iter().map(|raw| Json::of(raw.get(), depth + 1));
                Json::List(items.collect::<Result<_, _>>()?)
            }
            Some(b'"') => Json::Text(serde_json::from_str(text).map_err(words)?),
            Some(b'n') => serde_json::from_str(text).map(|()| Json::Null).map_err(words)?,
            Some(b't' | b'f') => Json::Bool(serde_json::from_str(text).map_err(words)?),
            _ => {
                let raw: &RawValue = serde_json::from_str(text).map_err(words)?;
                Json::Number(raw.get().to_owned())
            }
        })
    }
}

impl fmt::Display for Json {
    /// On one line, members by name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(truth) => write!(f, "{truth}"),
            Json::Number(digits) => f.write_str(digits),
            Json::Text(text) => f.write_str(&quoted(text)),
            Json::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index > 0 { "," } else { "" })?;
                }
                f.write_str("]")
            }
            Json::Object(members) => {
                f.write_str("{")?;
                for (index, (name, value)) in members.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}{}:{value}", quoted(name))?;
                }
                f.write_str("}")
            }
        }
    }
}

/// A string as JSON writes it.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always JSON")
}

/// An object's members in their order, also those that are named twice.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, &'de RawValue>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_written_as_it_was() {
        for text in [
            "null",
            "true",
            "-0.10e+5",
            "184467440737095516150000000000000000001",
            r#""née \"x\" \\ \n""#,
            "[]",
            r#"[1,1.0,"1"]"#,
            r#"{"a":{"b":[{}]},"c":3}"#,
        ] {
            let read = Json::read(text.as_bytes()).expect("JSON");
            assert_eq!(read.to_string(), text);
        }
        let spaced = Json::read(b" { \"b\" : 1 ,\n\"a\" : [ 1 , 2 ] } \n").expect("JSON");
        assert_eq!(spaced.to_string(), r#"{"a":[1,2],"b":1}"#);
    }

    #[test]
    fn what_would_lose_something_is_refused() {
        for (text, words) in [
            (&b"tea"[..], "expected"),
            (b"", "EOF"),
            (b"{\"a\":1,\"a\":2}", "twice"),
            (b"{\"a\":[{\"b\":1,\"b\":1}]}", "\"b\" twice"),
            (b"1 2", "trailing"),
            (b"[1,]", "trailing comma"),
            (b"01", "invalid number"),
            (b"\"\\ud800\"", "hex escape"),
            (b"\xff", "not text"),
        ] {
            let why = Json::read(text).expect_err("no JSON");
            assert!(why.contains(words), "{words}: {why}");
        }
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert!(Json::read(deep.as_bytes()).expect_err("too deep").contains("deep"));
    }
}
