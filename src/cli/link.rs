//! Talking to a node: connecting, asking, and what the client's errors mean on a command line.

use std::collections::BTreeMap;
use std::time::Duration;

use super::args::{BucketArgs, Common, KeyArgs};
use super::exit::Exit;
use super::trouble::Trouble;
use crate::client::{Client, ClientError, ClientOptions};
use crate::key::Key;
use crate::server::DEFAULT_PORT;
use crate::wire::{Answer, FailureCode, Question};

/// The longest wait for one endpoint to let this client in.
const CONNECT: Duration = Duration::from_secs(3);

/// Connects to the first endpoint that answers.
pub(crate) async fn connect(common: &Common) -> Result<Client, Trouble> {
    let options = ClientOptions {
        name: common.writer.clone(),
        timeout: common.timeout,
        connect_timeout: common.timeout.min(CONNECT),
    };
    if common.endpoint.iter().any(|endpoint| endpoint.trim().is_empty()) {
        return Err(Trouble::usage(
            "an endpoint is empty",
            "give each as HOST:PORT, with commas between them, or leave --endpoint out for 127.0.0.1:7400",
        ));
    }
    let endpoints: Vec<String> =
        common.endpoint.iter().map(|endpoint| with_port(endpoint)).collect();
    Ok(Client::connect(&endpoints, options).await?)
}

/// `host:port`, where the port may be left out.
pub(crate) fn with_port(endpoint: &str) -> String {
    let endpoint = endpoint.trim();
    if endpoint.contains(':') && !endpoint.ends_with(']') {
        endpoint.to_owned()
    } else {
        format!("{endpoint}:{DEFAULT_PORT}")
    }
}

/// The key that was typed.
pub(crate) fn key_of(args: &KeyArgs) -> Result<Key, Trouble> {
    named_key(&args.bucket, args.key.as_encoded_bytes())
}

/// The key of these bytes in the bucket that was typed.
pub(crate) fn named_key(args: &BucketArgs, key: &[u8]) -> Result<Key, Trouble> {
    Ok(Key::new(&args.bucket, key)?)
}

/// A context as it was printed.
pub(crate) fn context_of(text: &str) -> Result<Vec<u8>, Trouble> {
    let wrong = |why: &str| {
        Trouble::usage(
            format!("this is not a context: {why}"),
            "use the `context` that `get -o json` or `put -o json` printed, whole",
        )
    };
    if text.trim().is_empty() {
        return Err(wrong("it is empty"));
    }
    let decoded = data_encoding::BASE64URL_NOPAD.decode(text.trim().as_bytes());
    decoded.map_err(|error| wrong(&error.to_string()))
}

/// The names of members by number; none if nobody says.
pub(crate) async fn member_names(client: &Client) -> BTreeMap<u16, String> {
    match client.ask(Question::Members).await {
        Ok(Answer::Members(members)) => {
            members.into_iter().map(|member| (member.number, member.name)).collect()
        }
        Ok(_) | Err(_) => BTreeMap::new(),
    }
}

/// The node answered another question than the one that was asked.
pub(crate) fn wrong_answer() -> Trouble {
    Trouble::new(
        Exit::Error,
        "the node answered another question than the one that was asked",
        "nothing was changed",
        "check that the node and this command are of compatible releases",
    )
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        let (exit, detail) = match &error {
            ClientError::Unreachable { .. }
            | ClientError::Timeout { .. }
            | ClientError::Broken(_) => (Exit::Unreachable, None),
            ClientError::Invalid(_) => (Exit::Usage, None),
            ClientError::Unknown(_) => (Exit::LevelNotMet, Some("unknown".to_owned())),
            ClientError::NotStable(_) => (Exit::LevelNotMet, Some("not_stable".to_owned())),
            ClientError::Protocol(_) => (Exit::Error, None),
            ClientError::Refused(failure) => {
                let exit = match failure.code {
                    FailureCode::Refused | FailureCode::BadContext => Exit::Refused,
                    FailureCode::LevelNotMet | FailureCode::NotYet => Exit::LevelNotMet,
                    FailureCode::TooManySiblings => Exit::Conflict,
                    FailureCode::NotReady => Exit::Unreachable,
                    FailureCode::Overloaded
                    | FailureCode::ReadOnly
                    | FailureCode::DiskFull
                    | FailureCode::Damaged => Exit::Error,
                };
                (exit, Some(format!("{:?}", failure.code)))
            }
        };
        let next = match &error {
            ClientError::Unreachable { .. } => {
                "start a node with `ringdove start`, or name another with --endpoint HOST:PORT"
                    .to_owned()
            }
            ClientError::Unknown(unknown) if unknown.repeatable => {
                format!("{}: --retry {:x}", error.next(), unknown.operation)
            }
            other => other.next().to_owned(),
        };
        let mut trouble = Trouble::new(exit, error.what(), error.state(), next);
        trouble.detail = detail;
        trouble
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_may_be_left_out() {
        assert_eq!(with_port("localhost"), "localhost:7400");
        assert_eq!(with_port("10.0.0.1:7401"), "10.0.0.1:7401");
        assert_eq!(with_port("[::1]"), "[::1]:7400");
        assert_eq!(with_port("[::1]:7401"), "[::1]:7401");
    }

    #[test]
    fn what_is_no_context_is_told_before_it_is_sent() {
        let trouble = context_of("not base64!").expect_err("no context");
        assert_eq!(trouble.exit, Exit::Usage);
        assert_eq!(context_of(" AQL_ "), Ok(vec![1, 2, 255]));
    }
}
