use std::os::unix::fs::PermissionsExt;

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    text: String,
}

impl Document for Note {
    const SCHEMA: u32 = 2;
}

#[derive(Serialize, Deserialize)]
struct Nothing {}

impl Document for Nothing {
    const SCHEMA: u32 = 1;
}

#[derive(Serialize, Deserialize)]
struct Bare(u32);

impl Document for Bare {
    const SCHEMA: u32 = 1;
}

fn note(text: &str) -> Note {
    Note { text: text.to_owned() }
}

fn store() -> (tempfile::TempDir, Store<Note>) {
    let tmp = tempfile::tempdir().unwrap();
    let store = Store::open(tmp.path().join("notes"), Durability::Runtime);
    (tmp, store)
}

/// A file as somebody else would leave it.
fn put(store: &Store<Note>, file: &str, text: &str) {
    let mut file = fs::File::create(store.dir().join(file)).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
}

#[test]
fn a_missing_directory_is_an_empty_store() {
    let (_tmp, store) = store();
    assert_eq!(store.read("a").unwrap(), None);
    assert!(!store.remove("a").unwrap());
    assert!(store.names().unwrap().is_empty());
    assert!(store.list().unwrap().is_empty());
    assert_eq!(store.set_aside("a").unwrap(), None);
    assert_eq!(store.sweep().unwrap(), 0);
    assert!(!store.dir().exists());
}

#[test]
fn documents_are_private_text_with_the_schema_first() {
    let (_tmp, store) = store();
    store.replace("a", &note("one")).unwrap();
    store.replace("a", &note("two")).unwrap();
    let path = store.dir().join("a.json");
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\n  \"schema\": 2,\n  \"text\": \"two\"\n}\n");
    let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(store.dir())), (0o600, 0o700));
    assert_eq!(store.read("a").unwrap(), Some(note("two")));
    assert!(store.remove("a").unwrap());
    assert_eq!(store.read("a").unwrap(), None);
}

#[test]
fn an_empty_object_is_a_document_and_a_number_is_not() {
    let tmp = tempfile::tempdir().unwrap();
    let nothing = Store::<Nothing>::open(tmp.path(), Durability::Disk);
    nothing.replace("n", &Nothing {}).unwrap();
    assert!(nothing.read("n").unwrap().is_some());
    assert_eq!(fs::read_to_string(tmp.path().join("n.json")).unwrap(), "{\n  \"schema\": 1\n}\n");
    let bare = Store::<Bare>::open(tmp.path(), Durability::Runtime);
    assert!(matches!(bare.replace("b", &Bare(1)), Err(Error::NotAnObject { .. })));
}

#[test]
fn what_cannot_be_read_is_named_and_can_be_set_aside() {
    let (_tmp, store) = store();
    store.replace("good", &note("x")).unwrap();
    let cases = [
        ("{\"schema\": 3, \"other\": 1}", "schema 3 is newer than 2"),
        ("{\"text\": \"x\"}", "missing field `schema`"),
        ("{\"schema\": 2}", "missing field `text`"),
        ("", "malformed"),
        ("{\"schema\": 2, \"te", "malformed"),
    ];
    for (n, (text, expected)) in (1..).zip(cases) {
        put(&store, "bad.json", text);
        let e = store.read("bad").unwrap_err();
        assert!(e.is_unreadable() && e.to_string().contains(expected), "{text}: {e}");
        assert!(e.to_string().contains("/bad.json"), "{e}");
        let listed = store.list().unwrap();
        assert!(listed[0].1.is_err() && listed[1].1.is_ok());
        let aside = store.set_aside("bad").unwrap().unwrap();
        assert_eq!(aside, store.dir().join(format!("bad.unreadable-{n}")));
        assert_eq!(fs::read_to_string(aside).unwrap(), text);
        assert_eq!(store.names().unwrap(), ["good"]);
    }
}

#[test]
fn an_older_schema_is_read() {
    let (_tmp, store) = store();
    store.replace("a", &note("x")).unwrap();
    put(&store, "a.json", "{\"schema\":1,\"text\":\"old\",\"gone\":1}");
    assert_eq!(store.read("a").unwrap(), Some(note("old")));
}

#[test]
fn leftovers_are_not_listed_and_swept_when_old() {
    let (_tmp, store) = store();
    store.replace("a", &note("x")).unwrap();
    for (file, hours) in [(".tmp-1-1", 25), (".tmp-1-2", 1), ("keep", 25)] {
        let file = fs::File::create(store.dir().join(file)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
    }
    assert_eq!(store.names().unwrap(), ["a"]);
    assert_eq!(store.sweep().unwrap(), 1);
    let mut left = store.files().unwrap();
    left.sort();
    assert_eq!(left, [".tmp-1-2", "a.json", "keep"]);
}

#[test]
fn readers_never_see_half_a_document() {
    let (_tmp, store) = store();
    store.replace("a", &note("")).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..300 {
                    store.replace("a", &note(&"x".repeat(n * 7 + writer))).unwrap();
                }
            });
        }
        for _ in 0..600 {
            assert!(store.read("a").unwrap().is_some());
        }
    });
    assert_eq!(store.files().unwrap(), ["a.json"]);
}
