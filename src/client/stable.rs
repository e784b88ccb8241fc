//! Waiting until every owner has a write: `client.delete(&key).until_stable(a_minute).await`.
//!
//! The write ends as any other. Then the key is read at level all with the write's own context as the
//! floor, again and again, until every owner that there is has seen all that the write had seen, and
//! the write. Each such read also repairs the owners that had less.
//!
//! Invariant: a write is called stable only when every owner has said so for itself; who has not when
//! the time is over is named. Not here: disks. An owner says so once it has applied the write; its
//! log's next sync makes that durable, and the level of the write says who had synced it before.

use std::future::IntoFuture;
use std::time::{Duration, Instant};

use super::request::Boxed;
use super::{Client, ClientError, NotStable, PutDone, PutRequest};
use crate::key::Key;
use crate::ring::MemberNumber;
use crate::rt;
use crate::wire::{Answer, Explanation, Level, Question};

/// How long one read may wait for the owners. When it ends it repairs them, so that waiting longer
/// in one read would only be later.
const LOOK: Duration = Duration::from_secs(1);
/// How long the owners are left alone after a look that ended at once, since one of them is away.
const PAUSE: Duration = Duration::from_millis(100);

/// A write or delete about to be sent, and to be waited for at every owner; await it.
#[derive(Debug, Clone)]
#[must_use = "it is sent when it is awaited"]
pub struct StableRequest<'a> {
    put: PutRequest<'a>,
    wait: Duration,
}

impl<'a> PutRequest<'a> {
    /// Waits after the write, at most this long, until every owner has it and shows no more what it
    /// replaced. When the time is over the write is done all the same, at
    /// its level, and the error says so: [`ClientError::NotStable`].
    ///
    /// A write that replaced what it had seen waits also until every owner has seen that.
    pub fn until_stable(self, at_most: Duration) -> StableRequest<'a> {
        StableRequest { put: self, wait: at_most }
    }
}

impl<'a> StableRequest<'a> {
    /// Sends it and waits. The same as awaiting the request.
    pub async fn send(self) -> Result<PutDone, ClientError> {
        let StableRequest { put, wait } = self;
        let (client, key) = (put.client, put.put.key.clone());
        let done = put.send().await?;
        let until = Instant::now() + wait;
        match client.see_everywhere(&key, &done, until).await {
            Ok(()) => Ok(done),
            Err(error) => {
                let lacking = client.who_lacks(&key, &done).await;
                let why = error.what();
                Err(ClientError::NotStable(Box::new(NotStable { done, after: wait, lacking, why })))
            }
        }
    }
}

impl<'a> IntoFuture for StableRequest<'a> {
    type Output = Result<PutDone, ClientError>;
    type IntoFuture = Boxed<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl Client {
    /// Reads until every owner has seen what the write's context covers. The last error when the time
    /// is over, or when no further read can do better.
    async fn see_everywhere(
        &self,
        key: &Key,
        done: &PutDone,
        until: Instant,
    ) -> Result<(), ClientError> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let look = self.get(key).level(Level::All).floor(done.context.clone());
            let began = Instant::now();
            let Err(error) = look.timeout(left.min(LOOK)).send().await else { return Ok(()) };
            if !error.retryable() || Instant::now() >= until {
                return Err(error);
            }
            let pause = PAUSE.saturating_sub(began.elapsed());
            rt::sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
        }
    }

    /// The names of the owners that do not answer, or have not applied the write. Empty when nobody
    /// can say.
    async fn who_lacks(&self, key: &Key, done: &PutDone) -> Vec<String> {
        let question =
            Question::Explain { bucket: key.bucket().to_owned(), key: key.key().to_vec() };
        match self.ask(question).await {
            Ok(Answer::Explain(explanation)) => {
                let dot = done.dot.map(|dot| dot.to_string()).unwrap_or_default();
                lacking(&explanation, &dot)
            }
            Ok(_) | Err(_) => Vec::new(),
        }
    }
}

/// Which owners did not answer, or have not applied this dot.
fn lacking(explanation: &Explanation, dot: &str) -> Vec<String> {
    let owner = |number: &MemberNumber| {
        let replica = explanation.replicas.iter().find(|replica| replica.member == *number);
        let has =
            replica.is_some_and(|shown| covers(&shown.clock, dot) || covers(&shown.residual, dot));
        let name = explanation.names.iter().find(|(member, _)| member == number);
        (!has).then(|| name.map_or_else(|| format!("member {number}"), |(_, name)| name.clone()))
    };
    explanation.owners.iter().filter_map(owner).collect()
}

/// Whether a set of dots as people are shown it, `{1~00a1b2:1-7,9 2~00c3d4:1}`, has this dot in it.
fn covers(set: &str, dot: &str) -> bool {
    let Some((actor, counter)) = dot.rsplit_once(':') else { return false };
    let Ok(counter) = counter.parse::<u64>() else { return false };
    let rows = set.trim_matches(['{', '}']).split(' ');
    let runs = rows.filter_map(|row| row.rsplit_once(':')).find(|(row, _)| *row == actor);
    runs.is_some_and(|(_, runs)| {
        runs.split(',').any(|run| {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            let first = first.parse().unwrap_or(u64::MAX);
            (first..=last.parse().unwrap_or(0)).contains(&counter)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::causality::{Actor, Dot, DotSet};

    #[test]
    fn a_set_is_read_as_it_is_shown() {
        let (ann, bob) = (Actor::new(1, 0xa1b2), Actor::new(2, 0xc3d4));
        let dots = [(ann, 1), (ann, 2), (ann, 3), (ann, 7), (bob, 2)];
        let set: DotSet = dots.iter().map(|(actor, n)| Dot::new(*actor, *n)).collect();
        for actor in [ann, bob, Actor::new(3, 1)] {
            for counter in 1..10 {
                let dot = Dot::new(actor, counter);
                let shown = covers(&set.to_string(), &dot.to_string());
                assert_eq!(shown, set.contains(dot), "{dot} in {set}");
            }
        }
        assert!(!covers(&DotSet::EMPTY.to_string(), "1~00a1b2:1") && !covers("", "1~00a1b2:1"));
        assert!(!covers("{1~00a1b2:1}", ""));
    }
}
