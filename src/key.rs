//! Keys, inside their buckets.
//!
//! Invariant: a [`Key`] is within its limits from the moment it exists, so nothing behind the edge
//! checks them again.

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 4 * 1024;
/// The longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The longest bucket name, in bytes.
pub const BUCKET_BYTES_MAX: usize = 64;
/// The bucket of those who name none.
pub const DEFAULT_BUCKET: &str = "default";

/// Why something is no key. Nothing was read or written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// There is nothing in it.
    #[error("the key is empty; a key has 1 to {KEY_BYTES_MAX} bytes")]
    Empty,
    /// It is longer than [`KEY_BYTES_MAX`].
    #[error("the key has {0} bytes; a key has 1 to {KEY_BYTES_MAX} bytes")]
    TooLong(usize),
    /// The bucket's name is not a name.
    #[error(
        "{0:?} is not a bucket name: 1 to {BUCKET_BYTES_MAX} of the characters a-z A-Z 0-9 . _ -"
    )]
    Bucket(String),
}

/// A key in its bucket, in one run of bytes: the bucket's length (u8), the bucket, the key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// The key of these bytes in this bucket.
    pub fn new(bucket: &str, key: &[u8]) -> Result<Self, KeyError> {
        check(bucket.as_bytes(), key)?;
        let mut bytes = Vec::with_capacity(1 + bucket.len() + key.len());
        bytes.push(bucket.len() as u8);
        bytes.extend_from_slice(bucket.as_bytes());
        bytes.extend_from_slice(key);
        Ok(Key(bytes.into()))
    }

    /// The key whose [`Key::as_bytes`] these are.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, KeyError> {
        let Some((&len, rest)) = bytes.split_first() else { return Err(KeyError::Empty) };
        let Some((bucket, key)) = rest.split_at_checked(usize::from(len)) else {
            return Err(KeyError::Empty);
        };
        check(bucket, key)?;
        Ok(Key(bytes))
    }

    /// Bucket and key in one run, as stored, sent and hashed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same, shared.
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        std::str::from_utf8(&self.0[1..self.key_start()]).expect("checked when made")
    }

    /// The key without its bucket.
    pub fn key(&self) -> &[u8] {
        &self.0[self.key_start()..]
    }

    fn key_start(&self) -> usize {
        1 + usize::from(self.0[0])
    }
}

fn check(bucket: &[u8], key: &[u8]) -> Result<(), KeyError> {
    let named = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    if bucket.is_empty() || bucket.len() > BUCKET_BYTES_MAX || !bucket.iter().all(named) {
        return Err(KeyError::Bucket(String::from_utf8_lossy(bucket).into_owned()));
    }
    match key.len() {
        0 => Err(KeyError::Empty),
        len if len > KEY_BYTES_MAX => Err(KeyError::TooLong(len)),
        _ => Ok(()),
    }
}

impl fmt::Display for Key {
    /// The key as people type it; `bucket/key` outside the default bucket; odd bytes escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bucket() != DEFAULT_BUCKET {
            write!(f, "{}/", self.bucket())?;
        }
        match std::str::from_utf8(self.key()) {
            Ok(text) if !text.contains(char::is_control) => f.write_str(text),
            _ => write!(f, "{}", self.key().escape_ascii()),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
