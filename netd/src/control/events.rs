//! `GET /v1/events`: the last events as one list; or these and all to come, one JSON document a
//! line, until the daemon stops or the reader goes.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::State;
use super::refusal::Refusal;
use crate::events::{Event, STOPPED, now};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    #[serde(default)]
    follow: bool,
}

pub(super) async fn get(
    shared: State,
    how: Result<Query<How>, QueryRejection>,
) -> Result<Response, Refusal> {
    let (kept, stream) = shared.events.follow();
    if !how?.0.follow {
        let kept: Vec<&Event> = kept.iter().map(AsRef::as_ref).collect();
        return Ok(Json(kept).into_response());
    }
    let following = Following { kept: kept.into(), stream, over: false };
    let lines = futures_util::stream::unfold(following, |mut following| async move {
        let event = following.next().await?;
        let line = serde_json::to_string(&*event).map(|line| Bytes::from(line + "\n"));
        Some((line, following))
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

struct Following {
    kept: VecDeque<Arc<Event>>,
    stream: Receiver<Arc<Event>>,
    over: bool,
}

impl Following {
    async fn next(&mut self) -> Option<Arc<Event>> {
        if let Some(event) = self.kept.pop_front() {
            return Some(event);
        }
        if self.over {
            return None;
        }
        match self.stream.recv().await {
            Ok(event) => {
                self.over = event.kind == STOPPED;
                Some(event)
            }
            // The reader was too slow: it is told, and asks again if it must have all.
            Err(RecvError::Lagged(count)) => Some(Arc::new(Event {
                number: 0,
                time: now(),
                kind: "events.lost",
                subject: "events".to_owned(),
                text: format!("{count} events were too many for this reader"),
            })),
            Err(RecvError::Closed) => None,
        }
    }
}
