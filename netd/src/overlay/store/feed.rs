//! The feed of an engine that is in this process.

use tokio::sync::Notify;

use super::engine::Engine;
use super::{Batch, Position, Range};
use crate::overlay::error::Result;

/// The next batch of a range after a position, which moves on. `stirred` is told of every change;
/// `look` shows the engine, or says why it cannot be reached.
pub(super) async fn next(
    range: &Range,
    after: &mut Position,
    stirred: &Notify,
    mut look: impl FnMut(&mut dyn FnMut(&Engine)) -> Result<()>,
) -> Result<Batch> {
    loop {
        let mut stirring = std::pin::pin!(stirred.notified());
        // From here on nothing is missed, though it is not awaited yet.
        stirring.as_mut().enable();
        let (mut changes, mut at) = (None, *after);
        look(&mut |engine| (changes, at) = (engine.changes(range, *after), engine.at()))?;
        let Some(changes) = changes else { return Ok(Batch::Compacted) };
        *after = at;
        if !changes.is_empty() {
            return Ok(Batch::Changes { changes, at });
        }
        stirring.await;
    }
}
