//! Figures of volumes, kept fresh where that costs nothing: quotas, images, tmpfs, servers that
//! answer. Trees are walked only when somebody asks.

use std::sync::Arc;
use std::time::Duration;

use crate::calls::Calls;

/// Measures every so often, one volume after the other.
pub(crate) async fn run(calls: Arc<Calls>, every: Duration) {
    let mut clock = tokio::time::interval(every);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let calls = calls.clone();
        let measured = tokio::task::spawn_blocking(move || {
            let volumes = calls.volumes();
            // What nobody uses does not change.
            for name in volumes.touched().unwrap_or_default() {
                if volumes.get(&name).is_ok_and(|volume| !volume.uses.is_unused()) {
                    // A server that is down is told of by whoever uses it.
                    let _ = volumes.measure(&name, false);
                }
            }
        });
        let _ = measured.await;
    }
}
