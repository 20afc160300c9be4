use proptest::prelude::*;

use super::*;
use crate::spec::{Backing, Locking, NfsVersion};

fn parsed(options: &[(&str, &str)]) -> Result<Spec> {
    parse(&options.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect())
}

#[test]
fn named_volumes() {
    let spec = parsed(&[]).unwrap();
    assert!(matches!(&spec.driver, Driver::Named(named) if *named == Default::default()));
    assert!(spec.access.is_plain());
    let spec = parsed(&[("o", "uid=1000,gid=100,mode=0750,size=1g,ro"), ("backing", "image")]);
    let spec = spec.unwrap();
    let Driver::Named(named) = spec.driver else { panic!() };
    assert_eq!((named.uid, named.gid, named.mode), (Some(1000), Some(100), Some(0o750)));
    assert_eq!((named.size, named.backing), (Some(1 << 30), Backing::Image));
    assert!(spec.access.read_only);
}

#[test]
fn what_dockers_local_takes() {
    let spec = parsed(&[("type", "none"), ("o", "bind"), ("device", "/srv/data")]).unwrap();
    assert!(matches!(spec.driver, Driver::Bind(bind)
        if bind.source.as_os_str() == "/srv/data" && !bind.recursive && !bind.create));
    let spec = parsed(&[
        ("type", "tmpfs"),
        ("device", "tmpfs"),
        ("o", "size=100m,uid=1000,mode=1777,noexec"),
    ])
    .unwrap();
    assert!(spec.access.noexec);
    let Driver::Tmpfs(tmpfs) = spec.driver else { panic!() };
    assert_eq!((tmpfs.size.as_deref(), tmpfs.mode), (Some("104857600"), Some(0o1777)));
    let spec = parsed(&[
        ("type", "nfs"),
        ("device", ":/export"),
        ("o", "addr=10.0.0.1,rw,nfsvers=4,soft,timeo=30,nolock"),
    ]);
    let Driver::Nfs(nfs) = spec.unwrap().driver else { panic!() };
    assert_eq!(nfs.source(), "10.0.0.1:/export");
    assert_eq!((nfs.version, nfs.locks), (Some(NfsVersion::V4), Locking::Local));
    assert_eq!(nfs.options, [("soft".into(), None), ("timeo".into(), Some("30".into()))]);
}

#[test]
fn what_podman_makes_of_them() {
    let spec = parsed(&[("type", "tmpfs"), ("SIZE", "4m"), ("UID", "5"), ("o", "size=4m,noexec")]);
    let Driver::Tmpfs(tmpfs) = spec.unwrap().driver else { panic!() };
    assert_eq!((tmpfs.size.as_deref(), tmpfs.uid), (Some("4194304"), Some(5)));
}

#[test]
fn nfs_by_its_own_words() {
    let spec = parsed(&[
        ("type", "nfs"),
        ("server", "2001:db8::9"),
        ("export", "/srv/"),
        ("subdirectory", "a/b"),
        ("create", "true"),
        ("port", "12049"),
        ("timeout", "5"),
        ("o", "bg,retry=2,_netdev,vers=4.1,nconnect=4"),
    ]);
    let Driver::Nfs(nfs) = spec.unwrap().driver else { panic!() };
    assert_eq!(nfs.source(), "[2001:db8::9]:/srv/a/b");
    assert_eq!((nfs.port, nfs.timeout, nfs.create), (Some(12049), 5, true));
    let spec = parsed(&[("type", "nfs4"), ("device", "files.example:/x")]);
    let Driver::Nfs(nfs) = spec.unwrap().driver else { panic!() };
    assert_eq!((nfs.server.as_str(), nfs.version), ("files.example", Some(NfsVersion::V4)));
}

#[test]
fn refusals_say_what_would_be_right() {
    for (options, part) in [
        (&[("sise", "1g")][..], "the nearest is size"),
        (&[("o", "siz=1g")], "the nearest is size"),
        (&[("size", "much")], "option size=much: expected a size such as"),
        (&[("type", "cifs"), ("device", "//h/s")], "named, none (a directory), tmpfs, nfs or nfs4"),
        (&[("type", "none"), ("o", "bind")], "need the option device"),
        (&[("type", "none"), ("device", "/a/../b")], "an absolute path without"),
        (&[("type", "none"), ("device", "relative")], "an absolute path without"),
        (&[("type", "tmpfs"), ("device", "t"), ("o", "size=101%")], "1% to 100%"),
        (&[("type", "nfs"), ("device", "/export")], "SERVER:/EXPORT"),
        (&[("type", "nfs"), ("device", ":/export")], "need the option server"),
        (&[("type", "nfs"), ("device", "h:/e"), ("o", "vers=2")], "3, 4, 4.0, 4.1 or 4.2"),
        (&[("type", "nfs"), ("device", "h:/e"), ("o", "tmeo=3")], "the nearest is timeo"),
        (&[("type", "nfs"), ("device", "h:/e"), ("o", "hard,soft")], "contradict"),
        (&[("type", "nfs"), ("device", "h:/e"), ("o", "lookupcache=x,soft")], "all, none or pos"),
        (&[("type", "nfs"), ("device", "h,sec=none:/e")], "a host name or an address"),
        (&[("type", "nfs"), ("device", "h:/e,soft")], "an absolute path"),
        (&[("backing", "image")], "need the option size"),
        (&[("o", "ro,rw")], "contradict"),
        (&[("size", "1g"), ("o", "size=2g")], "size=1g"),
        (&[("uidmap", "0:1")], "ON_DISK:SEEN:COUNT"),
        (&[("uid", "root")], "a number"),
        (&[("bind", "maybe")], "true or false"),
    ] {
        let error = parsed(options).unwrap_err();
        assert!(error.is_request(), "{options:?}");
        let text = error.to_string();
        assert!(text.contains(part), "{options:?}: {text}");
    }
}

#[test]
fn secrets_are_not_repeated() {
    let options = [("o", "username=me,password=geheim"), ("token", "geheim")];
    let map: BTreeMap<String, String> =
        options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    assert_eq!(masked(&map)["o"], "username=me,password=***");
    assert!(!format!("{:?}", masked(&map)).contains("geheim"));
    assert!(!parse(&map).unwrap_err().to_string().contains("geheim"));
    let twice = parsed(&[("o", "password=geheim,password=anders")]).unwrap_err().to_string();
    assert!(!twice.contains("geheim") && !twice.contains("anders"), "{twice}");
}

proptest! {
    #[test]
    fn no_text_panics_and_none_reaches_the_kernel_unread(
        options in proptest::collection::btree_map("[a-z_]{0,8}|o|type|device", ".{0,24}", 0..5)
    ) {
        if let Ok(Spec { driver: Driver::Nfs(nfs), .. }) = parse(&options) {
            for (key, value) in &nfs.options {
                prop_assert!(!key.contains([',', '=']));
                prop_assert!(value.as_ref().is_none_or(|v| !v.contains(',')));
            }
            prop_assert!(!nfs.source().contains(','));
        }
    }

    #[test]
    fn kernel_words_of_nfs(words in "[a-z=,0-9]{0,40}") {
        let _ = parsed(&[("type", "nfs"), ("device", "h:/e"), ("o", &words)]);
    }
}
