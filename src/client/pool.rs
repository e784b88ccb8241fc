//! Which node the client talks to: one at a time, another when it is lost.
//!
//! Invariant: at most one connection is in use, and at most one is being opened.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::connection::Connection;
use super::dial::dial;
use super::permits::Permits;
use super::{ClientError, Tried};
use crate::wire::Hello;

/// The endpoints, and the connection in use.
#[derive(Debug)]
pub(super) struct Pool {
    endpoints: Vec<String>,
    hello: Hello,
    connect_timeout: Duration,
    current: Mutex<Current>,
    dialling: Permits,
}

#[derive(Debug, Default)]
struct Current {
    connection: Option<Arc<Connection>>,
    /// The endpoint to try first when it is lost.
    next: usize,
}

impl Pool {
    pub(super) fn new(endpoints: Vec<String>, hello: Hello, connect_timeout: Duration) -> Self {
        let current = Mutex::default();
        Pool { endpoints, hello, connect_timeout, current, dialling: Permits::new(1) }
    }

    /// How many endpoints there are.
    pub(super) fn len(&self) -> usize {
        self.endpoints.len()
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().expect("nobody panics while holding this lock")
    }

    /// The connection in use, if it is whole.
    pub(super) fn open(&self) -> Option<Arc<Connection>> {
        self.current().connection.clone().filter(|connection| !connection.is_broken())
    }

    /// The connection in use, or a new one.
    pub(super) async fn connection(&self) -> Result<Arc<Connection>, ClientError> {
        if let Some(connection) = self.open() {
            return Ok(connection);
        }
        let _turn = self.dialling.take().await;
        // Whoever had the turn before may have opened one.
        if let Some(connection) = self.open() {
            return Ok(connection);
        }
        let first = self.current().next;
        // Boxed, since dialling is rare and its future large: every request's future holds this one.
        let (connection, at) = Box::pin(self.dial_round(first)).await?;
        let connection = Arc::new(connection);
        let mut current = self.current();
        current.connection = Some(Arc::clone(&connection));
        current.next = (at + 1) % self.endpoints.len();
        Ok(connection)
    }

    /// Uses this connection no more. Requests under way on it end as they would have.
    pub(super) fn leave(&self, left: &Arc<Connection>) {
        self.current().connection.take_if(|connection| Arc::ptr_eq(connection, left));
    }

    /// Tries every endpoint once, in order from `first`. A node that serves is better than one that
    /// does not yet; but one that does not can at least say what it waits for.
    async fn dial_round(&self, first: usize) -> Result<(Connection, usize), ClientError> {
        let mut tried = Vec::new();
        let mut idle = None;
        for step in 0..self.endpoints.len() {
            let at = (first + step) % self.endpoints.len();
            let endpoint = &self.endpoints[at];
            match dial(endpoint, &self.hello, self.connect_timeout).await {
                Ok(opened) if opened.welcome.serving => {
                    return Ok((Connection::start(opened), at));
                }
                Ok(opened) => {
                    idle.get_or_insert((opened, at));
                }
                Err(why) => tried.push(Tried { endpoint: endpoint.clone(), why }),
            }
        }
        match idle {
            Some((opened, at)) => Ok((Connection::start(opened), at)),
            None => Err(ClientError::Unreachable { tried }),
        }
    }
}
