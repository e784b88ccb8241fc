//! Values that say themselves where they come from: `key|session|seq|length|crc`, padded.
//!
//! Invariant: no two operations of a run write the same bytes, and bytes that were mixed up, cut or
//! changed on the way do not parse. So a phantom is seen without an oracle.

use bytes::Bytes;

/// What a value says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The key it was written to.
    pub(crate) key: String,
    /// Which session wrote it.
    pub(crate) session: usize,
    /// Which of the session's operations.
    pub(crate) seq: u32,
}

/// The bytes that this operation writes, at least `len` of them.
pub(crate) fn compose(origin: &Origin, len: usize) -> Bytes {
    let mut text = format!("{}|{}|{}|", origin.key, origin.session, origin.seq);
    let rest = "00000000|00000000".len();
    let len = len.max(text.len() + rest);
    text.push_str(&format!("{len:08x}|"));
    while text.len() < len - 8 {
        text.push('.');
    }
    let crc = crc32c::crc32c(text.as_bytes());
    text.push_str(&format!("{crc:08x}"));
    Bytes::from(text)
}

/// Where these bytes come from, or why they are not what anybody wrote.
pub(crate) fn parse(bytes: &[u8]) -> Result<Origin, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not text".to_owned())?;
    let Some((body, crc)) = text.split_at_checked(text.len().wrapping_sub(8)) else {
        return Err(format!("too short: {text:?}"));
    };
    if u32::from_str_radix(crc, 16) != Ok(crc32c::crc32c(body.as_bytes())) {
        return Err(format!("wrong checksum: {text:?}"));
    }
    let mut fields = body.split('|');
    let mut field = || fields.next().ok_or_else(|| format!("a field is missing: {text:?}"));
    let key = field()?.to_owned();
    let session = field()?.parse().map_err(|_| format!("no session: {text:?}"))?;
    let seq = field()?.parse().map_err(|_| format!("no number: {text:?}"))?;
    if usize::from_str_radix(field()?, 16) != Ok(text.len()) {
        return Err(format!("wrong length: {text:?}"));
    }
    Ok(Origin { key, session, seq })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_and_shows_every_change() {
        let origin = Origin { key: "k17".into(), session: 3, seq: 41 };
        for len in [0, 40, 300] {
            let bytes = compose(&origin, len);
            assert!(bytes.len() >= len);
            assert_eq!(parse(&bytes), Ok(origin.clone()));
            for at in 0..bytes.len() {
                let mut changed = bytes.to_vec();
                changed[at] ^= 1;
                assert!(parse(&changed).is_err(), "byte {at} changed unseen");
                assert!(parse(&bytes[..at]).is_err(), "cut at {at} unseen");
            }
        }
    }
}
