//! What only some engines can be made to do: end and come again, forget their history, lose
//! answers.

use std::time::Duration;

use cleat_netd::overlay::store::{
    Batch, Condition, Local, Memory, Outcome, Position, Range, Store, Txn, Write,
};

use crate::etcd;

#[tokio::test]
async fn a_hosts_keys_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let before = {
        let store = Local::open(folder.path()).unwrap();
        store.commit(&Txn::new([], [Write::put("a", "\"1\"")])).await.unwrap();
        let lease = store.grant(Duration::from_secs(60)).await.unwrap();
        let leased = Write::Put { key: "l".into(), value: String::new(), lease: Some(lease) };
        store.commit(&Txn::new([], [leased])).await.unwrap();
        store.list(&Range::all()).await.unwrap()
    };
    assert_eq!(before.entries.len(), 2);
    let after = Local::open(folder.path()).unwrap().list(&Range::all()).await.unwrap();
    assert_eq!(after.at, before.at);
    let keys: Vec<_> = after.entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["a"]);
}

#[tokio::test]
async fn what_cannot_be_written_did_not_happen() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("store");
    let store = Local::open(&place).unwrap();
    // A file where the folder would be.
    std::os::unix::fs::symlink("/dev/null", &place).unwrap();
    let error = store.commit(&Txn::new([], [Write::put("a", "")])).await.unwrap_err();
    assert!(!error.may_have_happened(), "{error}");
    assert_eq!(store.list(&Range::all()).await.unwrap().entries, []);
}

#[tokio::test]
async fn an_answer_that_got_lost_is_told_from_a_change_that_was_not_made() {
    let memory = Memory::new(1);
    let client = memory.client(None);
    let create = Txn::new([Condition::Absent("a".into())], [Write::put("a", "")]);
    client.cut(true);
    assert!(!client.commit(&create).await.unwrap_err().may_have_happened());
    client.cut(false);
    client.lose_answers(1);
    assert!(client.commit(&create).await.unwrap_err().may_have_happened());
    assert_eq!(client.commit(&create).await.unwrap(), Outcome::Refused);
}

#[tokio::test]
async fn leases_end_by_time_and_a_history_that_is_forgotten_is_said_so() {
    let memory = Memory::new(1);
    let client = memory.client(None);
    let start = client.list(&Range::all()).await.unwrap().at;
    let lease = client.grant(Duration::from_secs(15)).await.unwrap();
    let leased = Write::Put { key: "l".into(), value: String::new(), lease: Some(lease) };
    client.commit(&Txn::new([], [leased])).await.unwrap();
    memory.advance(Duration::from_secs(14));
    assert!(client.keep(lease).await.unwrap());
    memory.advance(Duration::from_secs(14));
    assert_eq!(client.list(&Range::all()).await.unwrap().entries.len(), 1);
    memory.advance(Duration::from_secs(1));
    let end = client.list(&Range::all()).await.unwrap();
    assert_eq!(end.entries, []);
    assert!(!client.keep(lease).await.unwrap());
    memory.compact();
    let mut feed = client.watch(&Range::all(), start).await.unwrap();
    assert_eq!(feed.next().await.unwrap(), Batch::Compacted);
    let mut feed = client.watch(&Range::all(), end.at).await.unwrap();
    memory.restore(memory.snapshot(), 2);
    assert_eq!(feed.next().await.unwrap(), Batch::Compacted);
}

#[tokio::test]
async fn etcd_comes_again_and_its_compaction_is_said() {
    let mut server = etcd::Server::start();
    let store = server.client("/cleat/");
    let put = |value: &str| Txn::new([], [Write::put("a", value)]);
    store.commit(&put("1")).await.unwrap();
    let at = store.list(&Range::all()).await.unwrap().at;
    let mut feed = store.watch(&Range::all(), at).await.unwrap();
    let lease = store.grant(Duration::from_secs(60)).await.unwrap();
    assert!(store.keep(lease).await.unwrap());
    server.stop();
    let waited = tokio::time::timeout(Duration::from_secs(10), feed.next()).await.unwrap();
    assert!(waited.is_err(), "{waited:?}");
    let error = store.commit(&put("2")).await.unwrap_err();
    assert!(error.is_store(), "{error}");
    server.run();
    // The same client, without being told.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let last = loop {
        match store.commit(&put("3")).await {
            Ok(Outcome::Committed(revision)) => break revision,
            other => assert!(std::time::Instant::now() < deadline, "{other:?}"),
        }
    };
    assert!(store.keep(lease).await.unwrap(), "leases outlive the process");
    let now = store.list(&Range::all()).await.unwrap();
    assert_eq!(now.at, Position { revision: last, ..at });
    let endpoints = server.config("/").endpoints;
    let mut admin = etcd_client::Client::connect(endpoints, None).await.unwrap();
    admin.compact(last, None).await.unwrap();
    let mut feed =
        store.watch(&Range::all(), Position { revision: at.revision - 1, ..at }).await.unwrap();
    let batch = tokio::time::timeout(Duration::from_secs(10), feed.next()).await.unwrap();
    assert_eq!(batch.unwrap(), Batch::Compacted);
}
