//! Reading and writing fields of bytes: fixed little-endian integers, varints, length-prefixed runs.
//!
//! Invariant: a reader never looks past its input and never allocates by a length it has not
//! checked against what is there; whatever the bytes, the worst outcome is [`Malformed`].
//! Not here: what the fields mean. The formats that use this (contexts, frames, log records) each
//! document their own table.

use thiserror::Error;

/// Bytes that are not what their format says. Nothing was changed on account of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("malformed bytes: {0}")]
pub struct Malformed(pub &'static str);

/// Appends fields to a byte vector. The counterpart of [`Reader`].
pub trait WriteFields {
    /// One byte.
    fn put_byte(&mut self, value: u8);
    /// A 16-bit little-endian integer.
    fn put_u16_le(&mut self, value: u16);
    /// A 32-bit little-endian integer.
    fn put_u32_le(&mut self, value: u32);
    /// A 64-bit little-endian integer.
    fn put_u64_le(&mut self, value: u64);
    /// A 128-bit little-endian integer.
    fn put_u128_le(&mut self, value: u128);
    /// An unsigned LEB128 varint: 1 byte below 128, at most 10 bytes.
    fn put_varint(&mut self, value: u64);
    /// A varint length, then that many bytes.
    fn put_run(&mut self, bytes: &[u8]);
}

impl WriteFields for Vec<u8> {
    fn put_byte(&mut self, value: u8) {
        self.push(value);
    }
    fn put_u16_le(&mut self, value: u16) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn put_u32_le(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn put_u64_le(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn put_u128_le(&mut self, value: u128) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push((value as u8) | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }
    fn put_run(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u64);
        self.extend_from_slice(bytes);
    }
}

/// Takes fields off the front of a byte slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// The bytes not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        if len > self.rest.len() {
            return Err(Malformed("a field reaches past the end"));
        }
        let (head, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    /// A 16-bit little-endian integer.
    pub fn u16_le(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// A 32-bit little-endian integer.
    pub fn u32_le(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A 64-bit little-endian integer.
    pub fn u64_le(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A 128-bit little-endian integer.
    pub fn u128_le(&mut self) -> Result<u128, Malformed> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    /// An unsigned LEB128 varint in its shortest form: one number has one encoding.
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed("a varint is larger than 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(Malformed("a varint is longer than needed"));
                }
                return Ok(value);
            }
        }
        Err(Malformed("a varint is larger than 64 bits"))
    }

    /// A varint that counts things of at least `least` bytes each: never more than could follow.
    pub fn count(&mut self, least: usize) -> Result<usize, Malformed> {
        let count = self.varint()?;
        if count > (self.rest.len() / least.max(1)) as u64 {
            return Err(Malformed("a count is larger than what follows"));
        }
        Ok(count as usize)
    }

    /// A varint length, then that many bytes.
    pub fn run(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.count(1)?;
        self.take(len)
    }

    /// A run of UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.run()?).map_err(|_| Malformed("text is not UTF-8"))
    }

    /// Ends reading: bytes left over are an error too.
    pub fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed("bytes left over at the end")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_come_back(value: u64) {
            let mut bytes = Vec::new();
            bytes.put_varint(value);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn a_number_has_one_varint(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut reader = Reader::new(&bytes);
            if let Ok(value) = reader.varint() {
                let mut again = Vec::new();
                again.put_varint(value);
                prop_assert_eq!(&bytes[..bytes.len() - reader.rest().len()], &again[..]);
            }
        }
    }

    #[test]
    fn lengths_are_checked_before_they_are_believed() {
        let mut bytes = Vec::new();
        bytes.put_varint(u64::MAX);
        assert!(Reader::new(&bytes).run().is_err());
        assert!(Reader::new(&[5, 1, 2]).run().is_err());
    }
}
