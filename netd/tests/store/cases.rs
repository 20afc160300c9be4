//! What every engine does alike.

use std::sync::Arc;
use std::time::Duration;

use cleat_netd::overlay::store::{
    Batch, Change, Condition, Feed, Listing, MAX_OPS, Outcome, Position, Range, Store, Txn, Write,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Runs all of them, each over an empty store.
pub(crate) async fn all(mut empty: impl FnMut() -> Arc<dyn Store>) {
    conditions(&*empty()).await;
    writes(&*empty()).await;
    lists(&*empty()).await;
    feeds(&*empty()).await;
    leases(&*empty()).await;
    contention(empty()).await;
    limits(&*empty()).await;
}

async fn list(store: &dyn Store, range: &Range) -> Listing {
    store.list(range).await.unwrap()
}

async fn keys(store: &dyn Store, range: &Range) -> Vec<(String, String)> {
    let entries = list(store, range).await.entries;
    entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
}

async fn put(store: &dyn Store, key: &str, value: &str) -> i64 {
    match store.commit(&Txn::new([], [Write::put(key, value)])).await.unwrap() {
        Outcome::Committed(revision) => revision,
        Outcome::Refused => panic!("{key}: refused without a condition"),
    }
}

/// Each condition over a store with `a` older than `b`, both set, and `c/` empty.
async fn conditions(store: &dyn Store) {
    let a = put(store, "a", "1").await;
    let b = put(store, "b", "2").await;
    assert!(b > a);
    let ab = || Range::between("a", "c");
    let table = [
        (Condition::Absent("c".into()), true),
        (Condition::Absent("a".into()), false),
        (Condition::Unchanged("a".into(), a), true),
        (Condition::Unchanged("a".into(), b), false),
        (Condition::Unchanged("c".into(), a), false),
        (Condition::Holds("a".into(), "1".into()), true),
        (Condition::Holds("a".into(), "2".into()), false),
        (Condition::Holds("c".into(), String::new()), false),
        (Condition::Empty(Range::under("c/")), true),
        (Condition::Empty(ab()), false),
        (Condition::Empty(Range::between("aa", "b")), true),
        (Condition::NothingNewer(ab(), b), true),
        (Condition::NothingNewer(ab(), a), false),
        (Condition::NothingNewer(Range::between("a", "b"), a), true),
        (Condition::NothingNewer(Range::under("c/"), 0), true),
    ];
    for (condition, holds) in &table {
        let txn = Txn::new([condition.clone()], [Write::put("z", format!("{condition:?}"))]);
        let outcome = store.commit(&txn).await.unwrap();
        assert_eq!(outcome.is_committed(), *holds, "{condition:?}");
        let written = keys(store, &Range::under("z")).await;
        let is_last = written.iter().any(|(_, value)| *value == format!("{condition:?}"));
        assert_eq!(is_last, *holds, "{condition:?}");
    }
    // All of them, or nothing is done.
    let all: Vec<Condition> =
        table.iter().filter(|(_, holds)| *holds).map(|(c, _)| c.clone()).collect();
    assert!(
        store.commit(&Txn::new(all.clone(), [Write::put("y", "")])).await.unwrap().is_committed()
    );
    for (condition, _) in table.iter().filter(|(_, holds)| !holds) {
        let mut some = all.clone();
        some.push(condition.clone());
        let outcome = store.commit(&Txn::new(some, [Write::put("x", "")])).await.unwrap();
        assert_eq!(outcome, Outcome::Refused, "{condition:?}");
    }
    assert_eq!(keys(store, &Range::under("x")).await, []);
}

async fn writes(store: &dyn Store) {
    for key in ["a/1", "a/2", "b/1", "c"] {
        put(store, key, "old").await;
    }
    let before = list(store, &Range::all()).await.at;
    let txn = Txn::new(
        [],
        [
            Write::DeleteAll(Range::under("a/")),
            Write::put("b/1", "new"),
            Write::put("b/2", "new"),
            Write::Delete("c".into()),
            Write::Delete("never".into()),
        ],
    );
    let Outcome::Committed(revision) = store.commit(&txn).await.unwrap() else {
        panic!("refused without a condition");
    };
    let after = list(store, &Range::all()).await;
    assert_eq!(after.at, Position { revision, ..before });
    assert_eq!(revision, before.revision + 1, "one transaction is one revision");
    let seen: Vec<_> =
        after.entries.iter().map(|e| (e.key.as_str(), e.value.as_str(), e.revision)).collect();
    assert_eq!(seen, [("b/1", "new", revision), ("b/2", "new", revision)]);
}

async fn lists(store: &dyn Store) {
    assert_eq!(list(store, &Range::all()).await.entries, []);
    // More than a page, and more than a transaction.
    let names: Vec<String> = (0..2500).map(|n| format!("n/{n:05}")).collect();
    for some in names.chunks(MAX_OPS) {
        let writes: Vec<Write> = some.iter().map(|name| Write::put(name.as_str(), "x")).collect();
        assert!(store.commit(&Txn::new([], writes)).await.unwrap().is_committed());
    }
    put(store, "m", "").await;
    put(store, "o", "").await;
    let found: Vec<String> =
        keys(store, &Range::under("n/")).await.into_iter().map(|(key, _)| key).collect();
    assert_eq!(found, names);
    assert_eq!(keys(store, &Range::all()).await.len(), 2502);
    assert_eq!(keys(store, &Range::between("n/00010", "n/00012")).await.len(), 2);
}

async fn next(feed: &mut Box<dyn Feed>) -> (Vec<Change>, Position) {
    match tokio::time::timeout(PATIENCE, feed.next()).await.expect("a batch in time").unwrap() {
        Batch::Changes { changes, at } => (changes, at),
        Batch::Compacted => panic!("compacted"),
    }
}

async fn feeds(store: &dyn Store) {
    put(store, "a/old", "1").await;
    let at = list(store, &Range::all()).await.at;
    let change = |key: &str, value: Option<&str>, revision| Change {
        key: key.to_owned(),
        value: value.map(str::to_owned),
        revision,
    };
    // What came after the position and before the watch.
    let first = put(store, "a/1", "x").await;
    put(store, "b", "not of the range").await;
    let mut feed = store.watch(&Range::under("a/"), at).await.unwrap();
    let (changes, at) = next(&mut feed).await;
    assert_eq!(changes, [change("a/1", Some("x"), first)]);
    assert!(at.revision >= first);
    // A transaction comes whole.
    let txn =
        Txn::new([], [Write::put("a/1", "y"), Write::Delete("a/old".into()), Write::put("b", "")]);
    let Outcome::Committed(second) = store.commit(&txn).await.unwrap() else { panic!("refused") };
    let (mut changes, _) = next(&mut feed).await;
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(changes, [change("a/1", Some("y"), second), change("a/old", None, second)]);
    // A future that was dropped lost nothing.
    let waited = tokio::time::timeout(Duration::from_millis(50), feed.next()).await;
    assert!(waited.is_err(), "{waited:?}");
    let third = put(store, "a/2", "z").await;
    assert_eq!(next(&mut feed).await.0, [change("a/2", Some("z"), third)]);
    // Another store's positions, and those from before it went back, say: list again.
    for other in [
        Position { cluster: at.cluster ^ 1, ..at },
        Position { revision: at.revision + 1000, ..at },
    ] {
        let mut feed = store.watch(&Range::all(), other).await.unwrap();
        let batch = tokio::time::timeout(PATIENCE, feed.next()).await.expect("a batch in time");
        assert_eq!(batch.unwrap(), Batch::Compacted, "{other:?}");
    }
}

async fn leases(store: &dyn Store) {
    let ttl = Duration::from_secs(2);
    let lease = store.grant(ttl).await.unwrap();
    let leased = |key: &str, lease| Write::Put { key: key.into(), value: String::new(), lease };
    let bound = Txn::new([], [leased("l/1", Some(lease)), leased("l/2", Some(lease))]);
    assert!(store.commit(&bound).await.unwrap().is_committed());
    // Written without it, a key is bound no more.
    put(store, "l/2", "free").await;
    assert!(store.keep(lease).await.unwrap());
    assert!(store.keep(lease).await.unwrap());
    store.revoke(lease).await.unwrap();
    assert_eq!(keys(store, &Range::under("l/")).await, [("l/2".into(), "free".into())]);
    assert!(!store.keep(lease).await.unwrap());
    store.revoke(lease).await.unwrap();
    let error = store.commit(&bound).await.unwrap_err();
    assert!(!error.may_have_happened(), "{error}");
    // Another one beside it.
    let other = store.grant(ttl).await.unwrap();
    assert_ne!(other, lease);
    assert!(store.keep(other).await.unwrap());
    store.revoke(other).await.unwrap();
}

/// Of many who create one key, one does.
async fn contention(store: Arc<dyn Store>) {
    let tries: Vec<_> = (0..16)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut won = 0;
                for key in 0..10 {
                    let key = format!("k/{key}");
                    let txn = Txn::new(
                        [Condition::Absent(key.clone())],
                        [Write::put(key, n.to_string())],
                    );
                    won += u32::from(store.commit(&txn).await.unwrap().is_committed());
                }
                won
            })
        })
        .collect();
    let mut won = 0;
    for one in tries {
        won += one.await.unwrap();
    }
    assert_eq!(won, 10);
}

async fn limits(store: &dyn Store) {
    let many = |count| (0..count).map(|n| Write::put(format!("k/{n}"), "")).collect::<Vec<_>>();
    assert!(store.commit(&Txn::new([], many(MAX_OPS))).await.unwrap().is_committed());
    for txn in [
        Txn::new([], many(MAX_OPS + 1)),
        Txn::new([], [Write::put("a", "1"), Write::put("a", "2")]),
    ] {
        let error = store.commit(&txn).await.unwrap_err();
        assert!(!error.may_have_happened(), "{error}");
    }
    assert_eq!(keys(store, &Range::all()).await.len(), MAX_OPS);
}
