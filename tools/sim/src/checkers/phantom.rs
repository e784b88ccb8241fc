//! Whatever is shown was written, to that key, and is unchanged.
//!
//! Is: a value parses, its checksum holds, it names its own key and a put that was invoked. Is not: a
//! judgement whether it should still be there.

use ringdove::causality::Value;

use super::Violation;
use crate::history::{History, OpId};
use crate::value;

/// The write that a value comes from.
pub(crate) fn origin_of(history: &History, key: usize, shown: &Value) -> Result<OpId, Violation> {
    let phantom = |what: String| Violation::new("phantom", what);
    let name = &history.keys[key].name;
    let origin = value::parse(&shown.bytes).map_err(|why| phantom(format!("{name}: {why}")))?;
    if origin.key != *name {
        return Err(phantom(format!("{name} shows a value of {}", origin.key)));
    }
    let op = history.ops.get(origin.seq as usize);
    let op = op.filter(|op| op.is_put() && op.key == key && op.session == origin.session);
    let Some(op) = op else {
        return Err(phantom(format!("{name} shows {origin:?}, which nobody wrote")));
    };
    if History::operation(op.id) != shown.meta.operation {
        let (operation, id) = (shown.meta.operation, op.id);
        return Err(phantom(format!("{name} shows {id} under operation {operation}")));
    }
    Ok(op.id)
}

#[cfg(test)]
mod tests {
    use ringdove::causality::Meta;

    use super::*;
    use crate::checkers::lost::tests::{Story, put};
    use crate::value::{Origin, compose};

    #[test]
    fn only_what_was_written_may_be_shown() {
        let mut story = Story::new();
        let a = story.push(put(&[]));
        let value = |key: &str, seq, operation| {
            let bytes = compose(&Origin { key: key.into(), session: 0, seq }, 0);
            Value { meta: Meta { operation, ..Meta::default() }, bytes }
        };
        assert_eq!(origin_of(&story.history, 0, &value("k", a.0, 1)), Ok(a));
        for wrong in [value("j", a.0, 1), value("k", 7, 8), value("k", a.0, 2)] {
            assert!(origin_of(&story.history, 0, &wrong).is_err());
        }
    }
}
