//! Greetings over a socket: the only frames that are read and written outside a driver.
//!
//! Invariant: not one byte beyond a greeting is read, so that the driver finds the first message.

use std::io;

use bytes::BytesMut;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use crate::rt::TcpStream;
use crate::wire::{self, Greeting, HEADER_BYTES};

/// No greeting is longer.
const GREETING_BYTES_MAX: usize = 4096;

/// Reads a greeting. What is none is an error of the kind `InvalidData`, in words for the other end.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Greeting> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut bytes = BytesMut::zeroed(HEADER_BYTES);
    stream.read_exact(&mut bytes).await?;
    let header = wire::peek(&bytes).map_err(|error| invalid(error.to_string()))?;
    let len = header.map_or(HEADER_BYTES, |header| header.frame_bytes());
    if len > GREETING_BYTES_MAX {
        return Err(invalid(format!(
            "the first frame has {len} bytes, and a greeting has at most {GREETING_BYTES_MAX}"
        )));
    }
    bytes.resize(len, 0);
    stream.read_exact(&mut bytes[HEADER_BYTES..]).await?;
    let (header, body) = match wire::split_raw(&mut bytes) {
        Ok(Some(raw)) => raw,
        Ok(None) => return Err(invalid("a greeting shorter than its header says".to_owned())),
        Err(error) => return Err(invalid(error.to_string())),
    };
    Greeting::decode(header, &body).map_err(|error| invalid(error.to_string()))
}

/// Writes a greeting.
pub(super) async fn write(stream: &mut TcpStream, greeting: &Greeting) -> io::Result<()> {
    let mut bytes = Vec::new();
    greeting.encode(&mut bytes).map_err(io::Error::other)?;
    stream.write_all(&bytes).await?;
    stream.flush().await
}
