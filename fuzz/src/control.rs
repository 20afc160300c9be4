//! Requests to the control API: `METHOD PATH`, a line feed, the body.

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Request, StatusCode};
use cleat_engine::Dirs;
use cleat_netd::Options;
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt;

/// The API over a folder of its own.
pub struct Control {
    router: Router,
    runtime: Runtime,
    _folder: TempDir,
}

impl Control {
    /// A node without networks.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = |name: &str| folder.path().join(name);
        let options = Options {
            dirs: Dirs {
                net: dir("net.d"),
                run: dir("run"),
                state: dir("state"),
                ..Dirs::from_env(|_| None)
            },
            config: dir("netd.json"),
            resolv_conf: dir("resolv.conf"),
        };
        let router = cleat_netd::router(options).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Self { router, runtime, _folder: folder }
    }

    /// Sends this.
    pub fn meet(&self, bytes: &[u8]) {
        let (line, body) = match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&bytes[..end], &bytes[end + 1..]),
            None => (bytes, &[] as &[u8]),
        };
        let mut words = line.splitn(2, |byte| *byte == b' ');
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_vec()));
        // What is no request does not get past the HTTP parser.
        let Ok(request) = request else { return };
        self.runtime.block_on(self.send(request));
    }

    async fn send(&self, request: Request<Body>) {
        let asked = format!("{} {}", request.method(), request.uri());
        let reply = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = reply.into_parts();
        assert_ne!(head.status, StatusCode::INTERNAL_SERVER_ERROR, "{asked}");
        let kind = head.headers.get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned());
        if kind.as_deref() != Some("application/json") {
            // Metrics; or events, which have no end.
            assert!(head.status.is_success(), "{asked}: {}, and no reason", head.status);
            return;
        }
        let body = body.collect().await.unwrap().to_bytes();
        if body.is_empty() {
            // HEAD.
            return;
        }
        let document: Value = serde_json::from_slice(&body).expect("an answer that is not JSON");
        if !head.status.is_success() {
            let error = &document["error"];
            assert!(error["code"].is_string() && error["message"].is_string(), "{asked}: {error}");
        }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self::new()
    }
}
