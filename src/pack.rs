//! MessagePack with named fields: the form of whatever is told or kept seldom, so that fields can be added.
//!
//! Invariant: one reader and one writer for all of it. Bytes left over at the end are an error, and so
//! is nesting deeper than ours ever goes. Not here: which messages are packed (`wire`).

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How deeply it may nest. Ours goes 8 deep.
const DEPTH_MAX: usize = 32;

/// A value's bytes.
pub(crate) fn pack<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    pack_into(value, &mut out);
    out
}

/// Appends a value's bytes.
pub(crate) fn pack_into<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
    value.serialize(&mut serializer).expect("plain data goes into a growing buffer");
}

/// The value in these bytes, or what is wrong with them.
pub(crate) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut deserializer = rmp_serde::Deserializer::new(bytes);
    deserializer.set_max_depth(DEPTH_MAX);
    let value = T::deserialize(&mut deserializer).map_err(|error| error.to_string())?;
    if deserializer.get_ref().is_empty() {
        Ok(value)
    } else {
        Err("bytes left over at the end".to_owned())
    }
}
