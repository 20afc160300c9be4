//! The daemon: HTTP on a unix socket. Each call runs on a thread of its own, under the lock of its
//! volume, so that one that hangs keeps no other.

use std::io::Write;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cleat_volumes::{Deadline, Finding};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::args::Run;
use crate::calls::{Calls, Reply};
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::once::LONGEST;
use crate::protocol::Request;
use crate::refresh;
use crate::socket::Socket;

/// What plugins answer with.
const MEDIA: &str = "application/vnd.docker.plugins.v1.2+json";
/// A call that has its own deadline is waited for so much longer.
const GRACE: Duration = Duration::from_secs(3);
/// What is under way when we are told to end may take so long.
const DRAIN: Duration = Duration::from_secs(5);

/// Callers wait so long for order after a crash.
const SETTLE: Duration = Duration::from_secs(10);

struct Server {
    calls: Arc<Calls>,
    metrics: Metrics,
}

/// Serves until it is told to end.
pub fn run(calls: Calls, asked: &Run) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(Duration::from_secs(5))
        .build()
        .map_err(|source| Error::System { op: "start", source })?;
    let (listener, _socket) = Socket::open(&asked.socket)?;
    let outcome = runtime.block_on(serve(Arc::new(calls), listener, asked));
    // A call that hangs must not keep us.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

async fn serve(calls: Arc<Calls>, listener: StdListener, asked: &Run) -> Result<()> {
    let fail = |op| move |source| Error::System { op, source };
    listener.set_nonblocking(true).map_err(fail("listen"))?;
    let listener = UnixListener::from_std(listener).map_err(fail("listen"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(fail("watch signals"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fail("watch signals"))?;
    let settling = calls.clone();
    let settled = tokio::task::spawn_blocking(move || settle(&settling));
    // Who calls meanwhile waits in the socket's queue. A server that is down must not keep them
    // for long; what is left to do is done under each volume's lock.
    let _ = tokio::time::timeout(SETTLE, settled).await;
    if asked.measure > 0 {
        tokio::spawn(refresh::run(calls.clone(), Duration::from_secs(asked.measure)));
    }
    let server = Arc::new(Server { calls, metrics: Metrics::default() });
    // Each connection hears of the end by one half, and tells its own by dropping it.
    let (end, ending) = watch::channel(false);
    tell(sd_notify::NotifyState::Ready);
    log(&format!("serving at {}", asked.socket.display()));
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(server.clone().connection(stream, ending.clone()));
                }
                Err(error) => {
                    log(&format!("accept: {error}"));
                    // Out of descriptors: those that are open close in time.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tell(sd_notify::NotifyState::Stopping);
    drop((listener, ending));
    let _ = end.send(true);
    let _ = tokio::time::timeout(DRAIN, end.closed()).await;
    Ok(())
}

impl Server {
    async fn connection(self: Arc<Self>, stream: UnixStream, mut ending: watch::Receiver<bool>) {
        let service = service_fn(move |request| {
            let server = self.clone();
            async move { server.respond(request).await }
        });
        let mut connection =
            std::pin::pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        // Errors are those of the other side, or a silence of ours.
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = ending.changed() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }

    async fn respond(
        &self,
        request: hyper::Request<Incoming>,
    ) -> std::result::Result<Response<Full<Bytes>>, Error> {
        let path = request.uri().path().to_owned();
        if request.method() == Method::GET && path == "/metrics" {
            return Ok(response(
                StatusCode::OK,
                "text/plain; version=0.0.4",
                self.metrics.text().into_bytes(),
            ));
        }
        let limit = usize::try_from(LONGEST).unwrap_or(usize::MAX);
        let body = match Limited::new(request.into_body(), limit).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                let reply = Reply::Failed(format!("{path}: the request's body: {error}"));
                return Ok(answer(reply));
            }
        };
        let started = Instant::now();
        let reply = match Request::parse(&path, &body) {
            Ok(request) => {
                let method = request.method;
                let reply = self.call(request).await;
                self.metrics.count(method, reply.is_done(), started.elapsed());
                reply
            }
            Err(error) => Reply::Failed(error.to_string()),
        };
        match &reply {
            Reply::Silence(text) => {
                log(&format!(
                    "{path}: {text}; the connection is closed, so that it is asked again"
                ));
                Err(Error::Request(text.clone()))
            }
            Reply::Failed(text) => {
                log(&format!("{path}: {text}"));
                Ok(answer(reply))
            }
            Reply::Done(_) => Ok(answer(reply)),
        }
    }

    async fn call(&self, request: Request) -> Reply {
        let calls = self.calls.clone();
        let limit = calls.deadline() + GRACE;
        let method = request.method;
        let what = format!("{method} {}", request.name.as_deref().unwrap_or_default());
        let done = tokio::task::spawn_blocking(move || calls.answer(&request));
        match tokio::time::timeout(limit, done).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => Reply::Failed(format!("{what}: {error}")),
            Err(_) => {
                let late = Error::Late { what, seconds: limit.as_secs() }.to_string();
                if method == "Get" { Reply::Silence(late) } else { Reply::Failed(late) }
            }
        }
    }
}

/// Any status but 200 is an error to Podman, whatever the document says.
fn answer(reply: Reply) -> Response<Full<Bytes>> {
    let status = if reply.is_done() { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    response(status, MEDIA, reply.into_document())
}

fn response(status: StatusCode, media: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let media = hyper::header::HeaderValue::from_static(media);
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, media);
    response
}

/// Tells the service manager, if there is one.
fn tell(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log(&format!("service manager: {error}"));
    }
}

/// Brings what a crash left into order.
fn settle(calls: &Calls) {
    match calls.volumes().reconcile(Deadline::after(Duration::from_secs(60))) {
        Err(error) => log(&error.to_string()),
        Ok(findings) => findings.iter().for_each(|finding| log(&said(finding))),
    }
}

fn said(finding: &Finding) -> String {
    match finding {
        Finding::Remains(name) => format!("volume {name}: remains of a crash removed"),
        Finding::Unmounted(name) => format!("volume {name}: nobody uses it; unmounted"),
        Finding::Unaccounted(name) => format!(
            "volume {name}: mounted, with no record of whom by; `cleat volume reset {name}` \
             unmounts it"
        ),
        Finding::NotMounted(name) => {
            format!("volume {name}: in use, and not mounted any more; its next use mounts it")
        }
        Finding::CountedOnly(name, users) => format!(
            "volume {name}: used by {users}, and no container has it; if nothing else on this host \
             does, `cleat volume reset {name}` frees it"
        ),
        Finding::Failed(name, text) => format!("volume {name}: {text}"),
    }
}

/// A line on standard error, which the service manager keeps.
pub(crate) fn log(text: &str) {
    let _ = writeln!(std::io::stderr(), "voldriver: {text}");
}
