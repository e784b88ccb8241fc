//! A bounded number of things at a time.

use async_channel::{Receiver, Sender};

/// Room for so many at a time; who finds none waits, in order.
#[derive(Debug)]
pub(super) struct Permits {
    free: Receiver<()>,
    back: Sender<()>,
}

/// Room for one. Given back when dropped.
#[derive(Debug)]
pub(super) struct Permit(Sender<()>);

impl Permits {
    pub(super) fn new(count: usize) -> Self {
        let (back, free) = async_channel::bounded(count);
        for _ in 0..count {
            back.try_send(()).expect("a channel of this capacity has room for as many");
        }
        Permits { free, back }
    }

    pub(super) async fn take(&self) -> Permit {
        self.free.recv().await.expect("a sender lives beside the receiver");
        Permit(self.back.clone())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Never full: one goes back for each that was taken. Closed when nobody waits any more.
        let _ = self.0.try_send(());
    }
}
