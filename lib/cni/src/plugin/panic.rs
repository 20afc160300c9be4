//! A panic of a handler becomes an error document instead of a message on standard error.
//!
//! It has unwound by then, so that the handler's undo has run.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use crate::Error;

/// Where the last panic was; known to the hook only.
static PLACE: Mutex<Option<String>> = Mutex::new(None);

/// Silences the standard hook, which prints.
pub(super) fn install_hook() {
    std::panic::set_hook(Box::new(|info| {
        if let (Some(location), Ok(mut place)) = (info.location(), PLACE.lock()) {
            *place = Some(format!("at {location}"));
        }
    }));
}

/// Code 999 in place of a panic.
pub(super) fn caught<T>(handler: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    // The request is only read, and nothing of the plugin is used after a panic.
    catch_unwind(AssertUnwindSafe(handler)).unwrap_or_else(|payload| {
        let error = Error::internal(format!("internal error: {}", text(&*payload)));
        let place = PLACE.lock().ok().and_then(|mut place| place.take());
        Err(match place {
            Some(place) => error.with_details(place),
            None => error,
        })
    })
}

fn text(payload: &(dyn Any + Send)) -> &str {
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("panic")
}
