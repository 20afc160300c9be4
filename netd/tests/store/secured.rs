//! etcd as it is run: with certificates, with users, with three members.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cleat_netd::overlay::EtcdConfig;
use cleat_netd::overlay::store::{Batch, Etcd, Outcome, Range, Store, Txn, Write};

use crate::etcd::Server;

fn put(value: &str) -> Txn {
    Txn::new([], [Write::put("a", value)])
}

/// By the script of the examples, as the manual says.
#[expect(clippy::disallowed_methods, reason = "the script that users run")]
fn certificates(folder: &Path) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/overlay/certificates");
    let made = Command::new(script).arg(folder).args(["127.0.0.1", "--", "node"]).output().unwrap();
    assert!(made.status.success(), "{made:?}: install Debian's package openssl");
}

#[tokio::test]
async fn certificates_let_in_and_keep_out() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let file = |name: &str| folder.path().join(name);
    let server = Server::secured(folder.path());
    let config = EtcdConfig {
        ca: Some(file("ca.pem")),
        cert: Some(file("node.pem")),
        key: Some(file("node-key.pem")),
        timeout_ms: 3000,
        ..server.config("/cleat/")
    };
    assert!(config.endpoints[0].starts_with("https://"));
    let store = Etcd::new(config.clone()).unwrap();
    assert!(store.commit(&put("1")).await.unwrap().is_committed());
    let at = store.list(&Range::all()).await.unwrap().at;
    let mut feed = store.watch(&Range::all(), at).await.unwrap();
    store.commit(&put("2")).await.unwrap();
    assert!(matches!(feed.next().await.unwrap(), Batch::Changes { .. }));
    // Without a certificate, or with an authority that did not sign the server's.
    let other = tempfile::tempdir().unwrap();
    certificates(other.path());
    for wrong in [
        EtcdConfig { cert: None, key: None, timeout_ms: 500, ..config.clone() },
        EtcdConfig { ca: Some(other.path().join("ca.pem")), timeout_ms: 500, ..config.clone() },
    ] {
        let store = Etcd::new(wrong).unwrap();
        let error = store.list(&Range::all()).await.unwrap_err();
        assert!(error.is_store(), "{error}");
    }
    let missing = EtcdConfig { ca: Some(file("nowhere.pem")), ..config };
    let error = Etcd::new(missing).err().unwrap().to_string();
    assert!(error.contains("nowhere.pem"), "{error}");
}

#[tokio::test]
async fn users_have_passwords_in_files() {
    let server = Server::start();
    let config = server.config("/cleat/");
    let mut admin = etcd_client::Client::connect(&config.endpoints, None).await.unwrap();
    admin.user_add("root", "rootpass", None).await.unwrap();
    admin.user_grant_role("root", "root").await.unwrap();
    admin.role_add("cleat").await.unwrap();
    let all = etcd_client::Permission::read_write("/cleat/").with_prefix();
    admin.role_grant_permission("cleat", all).await.unwrap();
    admin.user_add("node", "secret", None).await.unwrap();
    admin.user_grant_role("node", "cleat").await.unwrap();
    admin.auth_enable().await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file.as_file(), b"secret\n").unwrap();
    let config =
        EtcdConfig { user: Some("node".into()), password_file: Some(file.path().into()), ..config };
    let store = Etcd::new(config.clone()).unwrap();
    assert!(store.commit(&put("1")).await.unwrap().is_committed());
    assert_eq!(store.list(&Range::all()).await.unwrap().entries.len(), 1);
    let lease = store.grant(Duration::from_secs(5)).await.unwrap();
    assert!(store.keep(lease).await.unwrap());
    store.revoke(lease).await.unwrap();
    // What the user may not is said, and was not done.
    let elsewhere = Etcd::new(EtcdConfig { prefix: "/other/".into(), ..config.clone() }).unwrap();
    let error = elsewhere.commit(&put("1")).await.unwrap_err();
    assert!(
        error.to_string().contains("permission denied") && !error.may_have_happened(),
        "{error}"
    );
    std::io::Write::write_all(&mut std::fs::File::create(file.path()).unwrap(), b"wrong\n")
        .unwrap();
    let error = Etcd::new(config).unwrap().list(&Range::all()).await.unwrap_err();
    assert!(error.to_string().contains("authentication failed"), "{error}");
}

#[tokio::test]
async fn of_three_members_one_may_die() {
    let mut members = Server::cluster(3);
    let endpoints = members.iter().flat_map(|member| member.config("/").endpoints).collect();
    let config = EtcdConfig { endpoints, prefix: "/cleat/".into(), ..EtcdConfig::default() };
    let store = Etcd::new(config).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut revisions = Vec::new();
    let lease = loop {
        match store.grant(Duration::from_secs(60)).await {
            Ok(lease) => break lease,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    for (n, member) in members.iter_mut().enumerate() {
        member.stop();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match store.commit(&put(&n.to_string())).await {
                Ok(Outcome::Committed(revision)) => break revisions.push(revision),
                other => assert!(Instant::now() < deadline, "{n}: {other:?}"),
            }
        }
        let mut kept = store.keep(lease).await;
        while kept.is_err() && Instant::now() < deadline {
            kept = store.keep(lease).await;
        }
        assert!(kept.unwrap());
        member.run();
    }
    assert!(revisions.is_sorted(), "{revisions:?}");
}
