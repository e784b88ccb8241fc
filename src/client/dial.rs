//! From an endpoint to an open connection.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use crate::rt::{self, TcpStream};
use crate::wire::{self, Greeting, Hello, Welcome};

/// The longest greeting that is waited for. Real ones have a few hundred bytes.
const GREETING_BYTES_MAX: usize = 64 * 1024;

/// A connection that both sides have agreed on.
pub(super) struct Opened {
    pub stream: TcpStream,
    pub welcome: Welcome,
    /// What came behind the welcome.
    pub buffer: BytesMut,
}

/// Dials `host:port` and shakes hands, all within `limit`. The error is for people.
pub(super) async fn dial(endpoint: &str, hello: &Hello, limit: Duration) -> Result<Opened, String> {
    match rt::timeout(limit, reach(endpoint, hello, limit)).await {
        Ok(result) => result,
        Err(rt::TimedOut) => Err(format!("no answer within {limit:?}")),
    }
}

async fn reach(endpoint: &str, hello: &Hello, limit: Duration) -> Result<Opened, String> {
    let addrs = rt::resolve(endpoint).await.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => "not of the form host:port".to_owned(),
        _ => format!("the name has no address: {error}"),
    })?;
    let mut why = "the name has no address".to_owned();
    for addr in addrs {
        match rt::connect(addr, limit).await {
            Ok(stream) => match greet(stream, hello).await {
                Ok(opened) => return Ok(opened),
                Err(error) => why = error,
            },
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

async fn greet(mut stream: TcpStream, hello: &Hello) -> Result<Opened, String> {
    let mut bytes = Vec::new();
    Greeting::Hello(hello.clone()).encode(&mut bytes).map_err(|error| error.to_string())?;
    stream.write_all(&bytes).await.map_err(|error| error.to_string())?;
    let mut buffer = BytesMut::new();
    match greeting(&mut stream, &mut buffer).await? {
        Greeting::Welcome(welcome) => {
            welcome.check(hello).map_err(|refused| refused.message)?;
            Ok(Opened { stream, welcome, buffer })
        }
        Greeting::Refused(refused) => Err(format!("it refused: {}", refused.message)),
        Greeting::Hello(_) => Err("it answered a hello with a hello".to_owned()),
    }
}

async fn greeting(stream: &mut TcpStream, buffer: &mut BytesMut) -> Result<Greeting, String> {
    let mut chunk = vec![0; 4096];
    loop {
        let frame = wire::split_raw(buffer).map_err(|error| error.to_string())?;
        if let Some((header, body)) = frame {
            return Greeting::decode(header, &body).map_err(|error| error.to_string());
        }
        if buffer.len() > GREETING_BYTES_MAX {
            return Err("its greeting does not end".to_owned());
        }
        match stream.read(&mut chunk).await {
            Ok(0) => return Err("it closed the connection without a word".to_owned()),
            Ok(len) => buffer.extend_from_slice(&chunk[..len]),
            Err(error) => return Err(error.to_string()),
        }
    }
}
