//! The union of JSON siblings: what only one of them changed is taken, what all say stays, and what
//! two of them say differently is told and not chosen.
//!
//! With a common ancestor it is a three-way merge: a member that some siblings changed, all in the
//! same way, or removed, takes that change. Without one nobody can tell a removal from an addition,
//! so whatever any sibling has is kept. Lists are united element by element, in the order of the
//! siblings, each element once.
//!
//! Invariant: siblings in another order give the same members, elements and conflicts; equal siblings
//! give what they are. Every number, string, truth and null in the result is some sibling's.
//! Not here: reading and writing JSON (`json`).

use std::collections::{BTreeMap, BTreeSet};

use super::json::{Json, quoted};

/// A place where siblings differ and nothing says which of them is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conflict {
    /// Where: `$.price`, `$.lines["a b"]`.
    pub path: String,
    /// What each of the siblings that changed it says, by index; `None` where it is removed.
    pub sides: Vec<(usize, Option<Json>)>,
}

/// The union of the siblings, or every conflict between them.
pub(super) fn union(base: Option<&Json>, siblings: &[Json]) -> Result<Json, Vec<Conflict>> {
    let mut merge = Merge { path: "$".to_owned(), conflicts: Vec::new() };
    let base = base.map_or(Base::Unknown, |base| Base::Known(Some(base)));
    let sides: Vec<Side<'_>> =
        siblings.iter().enumerate().map(|(index, value)| (index, Some(value))).collect();
    match (merge.value(base, &sides), merge.conflicts) {
        (Some(value), conflicts) if conflicts.is_empty() => Ok(value),
        (_, conflicts) => Err(conflicts),
    }
}

/// What one sibling has at a place: its index, and the value unless there is none.
type Side<'a> = (usize, Option<&'a Json>);

/// What was at a place before the siblings.
#[derive(Debug, Clone, Copy)]
enum Base<'a> {
    /// Nobody knows.
    Unknown,
    /// This, or nothing.
    Known(Option<&'a Json>),
}

struct Merge {
    path: String,
    conflicts: Vec<Conflict>,
}

impl Merge {
    /// What to have at this place; `None` for nothing, or when there is a conflict.
    fn value(&mut self, base: Base<'_>, sides: &[Side<'_>]) -> Option<Json> {
        let changed: Vec<Side<'_>> = match base {
            Base::Known(base) => sides.iter().copied().filter(|(_, side)| *side != base).collect(),
            Base::Unknown => sides.iter().copied().filter(|(_, side)| side.is_some()).collect(),
        };
        let Some((_, first)) = changed.first().copied() else {
            return match base {
                Base::Known(base) => base.cloned(),
                Base::Unknown => None,
            };
        };
        if changed.iter().all(|(_, side)| *side == first) {
            return first.cloned();
        }
        let objects = changed.iter().all(|(_, side)| matches!(side, Some(Json::Object(_))));
        let lists = changed.iter().all(|(_, side)| matches!(side, Some(Json::List(_))));
        if objects {
            Some(self.object(base, &changed))
        } else if lists {
            Some(list(base, &changed))
        } else {
            let sides = changed.into_iter().map(|(index, side)| (index, side.cloned()));
            self.conflicts.push(Conflict { path: self.path.clone(), sides: sides.collect() });
            None
        }
    }

    /// Objects are merged member by member.
    fn object(&mut self, base: Base<'_>, sides: &[Side<'_>]) -> Json {
        let mut names: BTreeSet<&String> = BTreeSet::new();
        for (_, side) in sides {
            if let Some(Json::Object(members)) = side {
                names.extend(members.keys());
            }
        }
        let mut merged = BTreeMap::new();
        let length = self.path.len();
        for name in names {
            let base = match base {
                Base::Unknown => Base::Unknown,
                Base::Known(value) => Base::Known(value.and_then(|value| get(value, name))),
            };
            let sides: Vec<Side<'_>> = sides
                .iter()
                .map(|(index, side)| (*index, side.and_then(|side| get(side, name))))
                .collect();
            self.path.push_str(&step(name));
            if let Some(value) = self.value(base, &sides) {
                merged.insert(name.clone(), value);
            }
            self.path.truncate(length);
        }
        Json::Object(merged)
    }
}

/// A member of an object; nothing else has any.
fn get<'a>(value: &'a Json, name: &str) -> Option<&'a Json> {
    match value {
        Json::Object(members) => members.get(name),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::List(_) => None,
    }
}

/// The elements of a list; nothing else has any.
fn items(value: Option<&Json>) -> &[Json] {
    match value {
        Some(Json::List(items)) => items,
        _ => &[],
    }
}

/// Lists are united; what was there before and some sibling removed is removed.
fn list(base: Base<'_>, sides: &[Side<'_>]) -> Json {
    let before: BTreeSet<&Json> = match base {
        Base::Known(base) => items(base).iter().collect(),
        Base::Unknown => BTreeSet::new(),
    };
    let mut removed: BTreeSet<&Json> = BTreeSet::new();
    for (_, side) in sides {
        let here: BTreeSet<&Json> = items(*side).iter().collect();
        removed.extend(before.difference(&here));
    }
    let mut seen: BTreeSet<&Json> = BTreeSet::new();
    let all = sides.iter().flat_map(|(_, side)| items(*side));
    let kept = all.filter(|item| !removed.contains(item) && seen.insert(item));
    Json::List(kept.cloned().collect())
}

/// One step of a path: `.name`, or `["any name"]`.
fn step(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.is_empty()
        && name.chars().all(plain)
        && !name.starts_with(|c: char| c.is_ascii_digit())
    {
        format!(".{name}")
    } else {
        format!("[{}]", quoted(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(text: &str) -> Json {
        Json::read(text.as_bytes()).expect("JSON")
    }

    fn merged(base: Option<&str>, siblings: &[&str]) -> String {
        let base = base.map(json);
        let siblings: Vec<Json> = siblings.iter().map(|text| json(text)).collect();
        match union(base.as_ref(), &siblings) {
            Ok(value) => value.to_string(),
            Err(conflicts) => {
                let side = |(index, side): &(usize, Option<Json>)| match side {
                    Some(value) => format!("#{} {value}", index + 1),
                    None => format!("#{} removed", index + 1),
                };
                let conflict = |conflict: &Conflict| {
                    let sides: Vec<String> = conflict.sides.iter().map(side).collect();
                    format!("{}: {}", conflict.path, sides.join(", "))
                };
                conflicts.iter().map(conflict).collect::<Vec<_>>().join("; ")
            }
        }
    }

    #[test]
    fn without_an_ancestor_whatever_anybody_has_is_kept() {
        let (ann, bob) = (r#"{"a":1,"x":{"p":1}}"#, r#"{"b":2,"x":{"q":[1]}}"#);
        assert_eq!(merged(None, &[ann, bob]), r#"{"a":1,"b":2,"x":{"p":1,"q":[1]}}"#);
        assert_eq!(merged(None, &["[3,1,3]", "[2,1]", "[2,4]"]), "[3,1,2,4]");
        assert_eq!(merged(None, &["[1,1]", "[1,1]"]), "[1,1]", "equal ones are no conflict");
        assert_eq!(merged(None, &["7", "7"]), "7");
        assert_eq!(merged(None, &[r#"{"a":null}"#, r#"{"b":1}"#]), r#"{"a":null,"b":1}"#);
    }

    #[test]
    fn a_true_conflict_is_told_with_its_path() {
        assert_eq!(merged(None, &["1", "2"]), "$: #1 1, #2 2");
        assert_eq!(merged(None, &["1", "1.0"]), "$: #1 1, #2 1.0");
        assert_eq!(merged(None, &["[]", "{}"]), "$: #1 [], #2 {}");
        let siblings = [
            r#"{"cart":{"a b":1,"c":true,"d":0},"e":[1]}"#,
            r#"{"cart":{"a b":"1","c":null,"d":0},"e":{}}"#,
        ];
        let told =
            "$.cart[\"a b\"]: #1 1, #2 \"1\"; $.cart.c: #1 true, #2 null; $.e: #1 [1], #2 {}";
        assert_eq!(merged(None, &siblings), told);
        assert_eq!(merged(None, &[r#"{"a":1}"#, "{}", r#"{"a":2}"#]), "$.a: #1 1, #3 2");
    }

    #[test]
    fn with_an_ancestor_each_takes_what_only_one_changed() {
        let base = Some(r#"{"n":1,"gone":0,"same":5,"list":[1,2,3],"deep":{"a":1,"b":1}}"#);
        let ann = r#"{"n":2,"gone":0,"same":6,"list":[1,3,4],"deep":{"a":1,"b":2}}"#;
        let bob = r#"{"n":1,"same":6,"list":[0,1,2,3],"deep":{"a":3,"b":1,"new":1}}"#;
        let all = r#"{"deep":{"a":3,"b":2,"new":1},"list":[1,3,4,0],"n":2,"same":6}"#;
        assert_eq!(merged(base, &[ann, bob]), all);
        assert_eq!(merged(Some("1"), &["1", "2"]), "2");
        assert_eq!(merged(Some("1"), &["3", "2", "1"]), "$: #1 3, #2 2");
        let removed = merged(Some(r#"{"a":1}"#), &["{}", r#"{"a":2}"#]);
        assert_eq!(removed, "$.a: #1 removed, #2 2", "removed here and changed there");
        // What was no object before has no members that could have been removed.
        assert_eq!(merged(Some("1"), &[r#"{"a":1}"#, r#"{"b":1}"#]), r#"{"a":1,"b":1}"#);
        assert_eq!(merged(Some("{}"), &[r#"{"a":1}"#, r#"{"a":2}"#]), "$.a: #1 1, #2 2");
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::Bool),
            (0..4u8).prop_map(|number| Json::Number(number.to_string())),
            "[ab]{0,2}".prop_map(Json::Text),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::List),
                prop::collection::btree_map("[a-d]", inner, 0..4).prop_map(Json::Object),
            ]
        })
    }

    /// The same with the elements of every list in one order.
    fn sorted(value: &Json) -> Json {
        match value {
            Json::List(items) => {
                let mut items: Vec<Json> = items.iter().map(sorted).collect();
                items.sort();
                Json::List(items)
            }
            Json::Object(members) => Json::Object(
                members.iter().map(|(name, value)| (name.clone(), sorted(value))).collect(),
            ),
            scalar => scalar.clone(),
        }
    }

    fn scalars(value: &Json, found: &mut BTreeSet<Json>) {
        match value {
            Json::List(items) => items.iter().for_each(|item| scalars(item, found)),
            Json::Object(members) => members.values().for_each(|value| scalars(value, found)),
            scalar => drop(found.insert(scalar.clone())),
        }
    }

    /// What was merged, or where it could not be.
    fn outcome(base: Option<&Json>, siblings: &[Json]) -> Result<Json, Vec<String>> {
        union(base, siblings)
            .map(|value| sorted(&value))
            .map_err(|conflicts| conflicts.into_iter().map(|conflict| conflict.path).collect())
    }

    proptest! {
        #[test]
        fn the_order_of_siblings_does_not_matter(
            base in prop::option::of(any_json()),
            siblings in prop::collection::vec(any_json(), 2..4),
        ) {
            let backwards: Vec<Json> = siblings.iter().rev().cloned().collect();
            prop_assert_eq!(outcome(base.as_ref(), &siblings), outcome(base.as_ref(), &backwards));
        }

        #[test]
        fn equal_siblings_and_unchanged_ones_change_nothing(
            base in prop::option::of(any_json()),
            value in any_json(),
        ) {
            let twice = [value.clone(), value.clone()];
            prop_assert_eq!(union(base.as_ref(), &twice), Ok(value.clone()));
            if let Some(base) = base {
                for sides in [[base.clone(), value.clone()], [value.clone(), base.clone()]] {
                    prop_assert_eq!(union(Some(&base), &sides), Ok(value.clone()));
                }
            }
        }

        #[test]
        fn nothing_is_invented_and_without_an_ancestor_nothing_is_lost(
            base in prop::option::of(any_json()),
            siblings in prop::collection::vec(any_json(), 2..4),
        ) {
            let mut known = BTreeSet::new();
            siblings.iter().for_each(|sibling| scalars(sibling, &mut known));
            let mut left = BTreeSet::new();
            if let Ok(value) = union(base.as_ref(), &siblings) {
                scalars(&value, &mut left);
                prop_assert!(left.is_subset(&known));
                if base.is_none() {
                    prop_assert_eq!(left, known);
                }
                // Merging once more with what was merged gives nothing new.
                let again = [value.clone(), value.clone()];
                prop_assert_eq!(union(base.as_ref(), &again), Ok(value));
            }
        }
    }
}
