//! What the control socket asks of the thread that keeps the overlay networks.

use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::error::Result;

/// One thing to do.
pub(crate) enum Request {
    /// Leave a network at once if no container is on it.
    Leave(String),
    /// Begin to change this node's key.
    RotateKey(oneshot::Sender<Result<()>>),
    /// What a node announces next is believed as at first sight.
    ForgetKey(String),
}

/// What waits to be done.
#[derive(Default)]
pub(crate) struct Requests {
    waiting: Mutex<Vec<Request>>,
}

impl Requests {
    /// To be done at the next turn.
    pub(crate) fn ask(&self, request: Request) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    }

    pub(super) fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
