//! One suite of cases for all engines of the overlay's store. A real etcd is Debian's package
//! etcd-server, started here on ports of the loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod cases;
mod etcd;
mod restarts;
mod secured;

use std::sync::Arc;

use cleat_netd::overlay::store::{Local, Memory, Store};

#[tokio::test]
async fn in_memory() {
    cases::all(|| {
        let store: Arc<dyn Store> = Arc::new(Memory::new(7).client(None));
        store
    })
    .await;
}

#[tokio::test]
async fn on_this_host() {
    let folder = tempfile::tempdir().unwrap();
    let mut count = 0;
    cases::all(|| {
        count += 1;
        let store: Arc<dyn Store> =
            Arc::new(Local::open(folder.path().join(count.to_string())).unwrap());
        store
    })
    .await;
}

#[tokio::test]
async fn in_etcd() {
    let etcd = etcd::Server::start();
    let mut count = 0;
    cases::all(|| {
        count += 1;
        let store: Arc<dyn Store> = Arc::new(etcd.client(&format!("/case{count}/")));
        store
    })
    .await;
}
