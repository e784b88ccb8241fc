//! How fast copies are pulled: as fast as this node's own clients do not notice.
//!
//! Pages take from a budget that fills at a *rate*. While copying, the waits of requests that this shard coordinates are
//! compared with what they usually are when nothing is copied; where they got much longer the rate is halved, else it
//! grows by a part: additive care is of no use where disks differ by a thousand (the idea of AIMD: Chiu and Jain, 1989).
//!
//! Invariant: there is always some rate, so that whatever is behind catches up; a page that is larger than the budget runs it
//! into debt, and is paid for before the next. Not here: what is pulled (`sync`).

use std::time::Duration;

/// How often the rate is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How much of a second's budget may be saved up.
const SAVED: f64 = 0.25;
/// How much longer requests may take while copies are pulled: a factor, and as many seconds besides.
const BEARABLE: (f64, f64) = (2.0, 0.002);
/// How fast averages follow: of the usual waits, and of those while copying.
const FOLLOWS: (f64, f64) = (1.0 / 64.0, 1.0 / 8.0);
/// What the rate is multiplied by where clients notice, and where they do not.
const STEPS: (f64, f64) = (0.5, 1.25);

/// The budget of bytes to be pulled.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes a second, at least and at most.
    bounds: (f64, f64),
    rate: f64,
    /// Bytes that may be pulled now; negative is debt.
    room: f64,
    filled_at: Duration,
    next_look: Duration,
    /// What requests usually wait, in seconds.
    usual: Option<f64>,
    /// What those waited lately that came while copies were pulled; `None` when there were none.
    lately: Option<f64>,
}

impl Pace {
    /// A budget that fills at up to `most` bytes a second, and at `least` so many.
    pub(super) fn new(least: u64, most: u64) -> Self {
        let bounds = (least as f64, most as f64);
        let rate = bounds.1 / 4.0;
        Pace {
            bounds,
            rate: rate.max(bounds.0),
            room: rate * SAVED,
            filled_at: Duration::ZERO,
            next_look: Duration::ZERO,
            usual: None,
            lately: None,
        }
    }

    /// A client's request was answered after so long.
    pub(super) fn answered(&mut self, waited: Duration, copying: bool) {
        let waited = waited.as_secs_f64();
        let follow = |average: Option<f64>, part: f64| {
            Some(average.map_or(waited, |average| average + (waited - average) * part))
        };
        if copying {
            self.lately = follow(self.lately, FOLLOWS.1);
        } else {
            self.usual = follow(self.usual, FOLLOWS.0);
        }
    }

    /// Whether something may be pulled now.
    pub(super) fn may_pull(&mut self, now: Duration) -> bool {
        self.fill(now);
        self.room > 0.0
    }

    /// So many bytes were pulled.
    pub(super) fn pulled(&mut self, now: Duration, bytes: u64) {
        self.fill(now);
        self.room -= bytes as f64;
    }

    /// When something may be pulled again.
    pub(super) fn due(&self) -> Duration {
        let wait = Duration::from_secs_f64((1.0 - self.room).max(0.0) / self.rate);
        // No sooner than a moment later, so that whoever waits for it does not spin.
        self.filled_at + wait.max(Duration::from_millis(1))
    }

    fn fill(&mut self, now: Duration) {
        if now >= self.next_look {
            self.next_look = now + LOOK;
            self.look();
        }
        let passed = now.saturating_sub(self.filled_at).as_secs_f64();
        self.filled_at = self.filled_at.max(now);
        self.room = (self.room + self.rate * passed).min(self.rate * SAVED);
    }

    /// Slows down where clients notice, and goes faster where they do not.
    fn look(&mut self) {
        let bearable = self.usual.map(|usual| usual * BEARABLE.0 + BEARABLE.1);
        let noticed = self.lately.take().zip(bearable).is_some_and(|(lately, most)| lately > most);
        let step = if noticed { STEPS.0 } else { STEPS.1 };
        self.rate = (self.rate * step).clamp(self.bounds.0, self.bounds.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    /// Pulls pages as fast as the pace allows, while each of a client's requests takes `wait`; bytes a second.
    fn pull(pace: &mut Pace, from: Duration, seconds: u64, wait: Duration) -> f64 {
        let (end, mut pulled) = (from + Duration::from_secs(seconds), 0);
        let mut now = from;
        while now < end {
            pace.answered(wait, true);
            if pace.may_pull(now) {
                pace.pulled(now, MB / 4);
                pulled += MB / 4;
            }
            now = (now + Duration::from_millis(10)).max(pace.due().min(end));
        }
        pulled as f64 / seconds as f64
    }

    #[test]
    fn copies_make_way_for_clients_and_take_what_is_left() {
        let mut pace = Pace::new(MB, 64 * MB);
        let usual = Duration::from_millis(3);
        (0..200).for_each(|_| pace.answered(usual, false));
        let free = pull(&mut pace, Duration::ZERO, 20, usual);
        assert!(free > 20e6, "{free}");
        let noticed = pull(&mut pace, Duration::from_secs(20), 20, usual * 10);
        assert!(noticed < free / 5.0 && noticed > 0.5e6, "{noticed} of {free}");
        let again = pull(&mut pace, Duration::from_secs(40), 20, usual);
        assert!(again > noticed * 3.0, "{again} after {noticed}");
    }

    #[test]
    fn a_page_beyond_the_budget_is_paid_for() {
        let mut pace = Pace::new(MB, MB);
        assert!(pace.may_pull(Duration::ZERO));
        pace.pulled(Duration::ZERO, 5 * MB);
        assert!(!pace.may_pull(Duration::from_secs(4)));
        assert!(pace.due() > Duration::from_secs(4));
        assert!(pace.may_pull(Duration::from_secs(6)));
    }
}
