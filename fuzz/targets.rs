//! The targets, each met with kept inputs, with random bytes, and with what is nearly a kept
//! input. Under `cargo test` each runs for a second or two; docs/testing.md says how for longer.

use std::path::Path;
use std::time::Duration;

use bolero::check;
use cleat_fuzz::{Control, Dns, Near, Records};

const BRIEFLY: Duration = Duration::from_secs(2);

/// The kept inputs of a target, in the folder where bolero looks for them.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("__fuzz__").join(target).join("corpus");
    let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{}: no kept inputs", folder.display());
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

macro_rules! target {
    ($bytes:ident, $nearly:ident, $meet:expr) => {
        #[test]
        fn $bytes() {
            let meet = $meet;
            check!(name = stringify!($bytes)).with_test_time(BRIEFLY).for_each(|bytes| meet(bytes));
        }

        #[test]
        fn $nearly() {
            let (meet, corpus) = ($meet, corpus(stringify!($bytes)));
            let nearly = check!(name = stringify!($nearly)).with_test_time(BRIEFLY);
            nearly.with_type::<Near>().for_each(|near| meet(&near.of(&corpus)));
        }
    };
}

target!(dns, dns_nearly, {
    let dns = std::panic::AssertUnwindSafe(Dns::new());
    move |bytes: &[u8]| {
        dns.meet(bytes);
    }
});
target!(control, control_nearly, {
    let control = std::panic::AssertUnwindSafe(Control::new());
    move |bytes: &[u8]| control.meet(bytes)
});
target!(records, records_nearly, {
    let records = std::panic::AssertUnwindSafe(Records::new());
    move |bytes: &[u8]| {
        records.meet(bytes);
    }
});
target!(volumes, volumes_nearly, cleat_fuzz::volumes);

#[test]
fn kept_questions_are_answered_in_all_ways() {
    let dns = Dns::new();
    let codes: Vec<u16> = corpus("dns").iter().flat_map(|file| dns.meet(file)).collect();
    // NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS.
    for code in [0, 1, 2, 3, 4, 5, 16] {
        assert!(codes.contains(&code), "nothing kept is answered with code {code}");
    }
}

#[test]
fn kept_records_are_of_all_kinds() {
    let records = Records::new();
    let kinds: Vec<[bool; 4]> = corpus("records").iter().map(|file| records.meet(file)).collect();
    for kind in 0..4 {
        assert!(kinds.iter().any(|is| is[kind]), "kind {kind}: {kinds:?}");
    }
}
