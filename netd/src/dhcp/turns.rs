//! One at a time at the same lease, any number at different ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as Gate, OwnedMutexGuard};

/// Turns by name.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<String, Weak<Gate<()>>>>);

impl Turns {
    /// Waits for one's turn, which ends when the value is dropped.
    pub(super) async fn take(&self, name: &str) -> OwnedMutexGuard<()> {
        let gate = {
            let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(gate) = gates.get(name).and_then(Weak::upgrade) {
                gate
            } else {
                gates.retain(|_, gate| gate.strong_count() > 0);
                let gate = Arc::new(Gate::new(()));
                gates.insert(name.to_owned(), Arc::downgrade(&gate));
                gate
            }
        };
        gate.lock_owned().await
    }
}
