use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::Range;

mod cost;
mod model;

/// A node's directories, and the pools that programs open on them.
struct Node {
    tmp: TempDir,
    ranges: Vec<Vec<Range>>,
}

impl Node {
    fn new(sets: &[&[&str]]) -> Self {
        let ranges = sets.iter().map(|set| set.iter().map(|text| range(text)).collect()).collect();
        Self { tmp: tempfile::tempdir().unwrap(), ranges }
    }

    fn pool(&self) -> Pool {
        self.pool_in("boot-1")
    }

    fn pool_in(&self, boot: &str) -> Pool {
        let config = PoolConfig::new("net", &self.tmp.path().join("data"), self.ranges.clone());
        Pool::open(config.unwrap(), &self.tmp.path().join("run"), boot)
    }

    fn leases(&self) -> PathBuf {
        self.tmp.path().join("data/net")
    }

    /// What the reference plugin would write.
    fn foreign(&self, address: &str, text: &str) {
        fs::create_dir_all(self.leases()).unwrap();
        let mut file = fs::File::create_new(self.leases().join(address)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.leases())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// `subnet [start [end]]`
fn range(text: &str) -> Range {
    let words: Vec<&str> = text.split(' ').collect();
    let address = |n: usize| words.get(n).map(|w| w.parse().unwrap());
    Range::new(words[0].parse().unwrap(), address(1), address(2), None).unwrap()
}

fn owner(id: &str) -> Owner {
    Owner::new(id, "eth0")
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn reserve(pool: &Pool, id: &str, requested: &[&str]) -> Result<Vec<String>> {
    let requested: Vec<IpAddr> = requested.iter().map(|r| ip(r)).collect();
    let leases = pool.reserve(&owner(id), &requested)?;
    Ok(leases.into_iter().map(|l| l.address.to_string()).collect())
}

#[test]
fn a_pool_needs_a_name_and_separate_ranges_of_one_family() {
    for (name, sets, expected) in [
        ("", vec![vec!["10.1.0.0/24"]], "network name \"\" is invalid"),
        ("..", vec![vec!["10.1.0.0/24"]], "network name \"..\" is invalid"),
        ("a/b", vec![vec!["10.1.0.0/24"]], "network name \"a/b\" is invalid"),
        ("n", vec![], "no address ranges"),
        ("n", vec![vec!["10.1.0.0/24"], vec![]], "no address ranges"),
        ("n", vec![vec!["10.1.0.0/24", "fd00::/64"]], "range set 0 mixes IPv4 and IPv6"),
        (
            "n",
            vec![vec!["10.1.0.0/24"], vec!["10.0.0.0/8 10.1.0.9"]],
            "ranges 10.1.0.1-10.1.0.254 and 10.1.0.9-10.255.255.254 overlap",
        ),
    ] {
        let sets = sets.iter().map(|s| s.iter().map(|r| range(r)).collect()).collect();
        let e = PoolConfig::new(name, Path::new("/data"), sets).unwrap_err().to_string();
        assert!(e.contains(expected), "{e}");
    }
}

#[test]
fn leases_lie_on_disk_as_host_local_writes_them() {
    let node = Node::new(&[&["10.1.0.0/24"], &["fd00::/64"]]);
    let leases = node.pool().reserve(&owner("c1"), &[]).unwrap();
    let shown: Vec<String> =
        leases.iter().map(|l| format!("{} {} {}", l.set, l.address, l.gateway)).collect();
    assert_eq!(shown, ["0 10.1.0.2/24 10.1.0.1", "1 fd00::2/64 fd00::1"]);
    assert_eq!(
        node.files(),
        ["10.1.0.2", "fd00::2", "last_reserved_ip.0", "last_reserved_ip.1", "lock"]
    );
    let text = |name: &str| fs::read_to_string(node.leases().join(name)).unwrap();
    assert_eq!((text("10.1.0.2"), text("fd00::2")), ("c1\r\neth0".into(), "c1\r\neth0".into()));
    assert_eq!(text("last_reserved_ip.1"), "fd00::2");
    let mode = |p: PathBuf| fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(node.leases().join("10.1.0.2")), 0o600);
    assert_eq!(mode(node.leases()), 0o755);
}

#[test]
fn opening_and_asking_touches_nothing() {
    let node = Node::new(&[&["10.1.0.0/24"]]);
    let pool = node.pool();
    assert!(pool.release(&owner("c1")).unwrap().is_empty());
    assert!(pool.owned(&owner("c1")).unwrap().is_empty());
    assert!(pool.list().unwrap().is_empty() && pool.collect(&|_| false).unwrap().is_empty());
    assert!(!pool.release_address(ip("10.1.0.2")).unwrap());
    pool.status().unwrap();
    assert_eq!(pool.usage().unwrap(), [Usage { held: 0, capacity: 253 }]);
    assert_eq!(fs::read_dir(node.tmp.path()).unwrap().count(), 0);
}

#[test]
fn an_address_rests_before_it_is_given_again() {
    let node = Node::new(&[&["10.1.0.0/24 10.1.0.2 10.1.0.4"]]);
    let pool = node.pool();
    for expected in ["10.1.0.2/24", "10.1.0.3/24", "10.1.0.4/24", "10.1.0.2/24"] {
        assert_eq!(reserve(&pool, "c", &[]).unwrap(), [expected]);
        assert_eq!(pool.release(&owner("c")).unwrap().len(), 1);
        assert!(pool.release(&owner("c")).unwrap().is_empty());
    }
}

#[test]
fn refusals_name_what_is_wrong_and_leave_nothing() {
    let node = Node::new(&[&["10.1.0.0/24"], &["fd00::/64"]]);
    let pool = node.pool();
    reserve(&pool, "c1", &["10.1.0.7"]).unwrap();
    let before = node.files();
    for (id, requested, expected) in [
        ("c1", vec![], "10.1.0.7 has been allocated to c1 eth0, duplicate allocation is not all"),
        ("c2", vec!["10.1.0.7"], "requested IP 10.1.0.7 is not available: held by c1 eth0"),
        ("c2", vec!["10.1.0.1"], "requested IP 10.1.0.1 is the gateway"),
        ("c2", vec!["fd00::1"], "requested IP fd00::1 is the gateway"),
        ("c2", vec!["10.9.0.1"], "failed to allocate all requested IPs: 10.9.0.1 is in none"),
        ("c2", vec!["10.1.0.8", "10.1.0.9"], "10.1.0.9 is the second in one range set"),
        ("", vec![], "lease owner id \"\" is invalid"),
        ("a\r\nb", vec![], "lease owner id"),
    ] {
        let e = reserve(&pool, id, &requested).unwrap_err().to_string();
        assert!(e.contains(expected), "{e}");
        assert_eq!(node.files(), before);
    }
    // Asking for one address by two ways is one wish.
    assert_eq!(
        reserve(&pool, "c2", &["fd00::9", "10.1.0.8", "10.1.0.8"]).unwrap(),
        ["10.1.0.8/24", "fd00::9/64"]
    );
}

#[test]
fn exhaustion_is_told_by_reserve_and_status() {
    let node = Node::new(&[&["fd00::/64"], &["10.1.0.0/24 10.1.0.2 10.1.0.12"]]);
    let pool = node.pool();
    for n in 0..11 {
        pool.status().unwrap();
        reserve(&pool, &format!("c{n}"), &[]).unwrap();
    }
    let expected = "range 10.1.0.2-10.1.0.12 of network net is exhausted: 11 of 11 addresses held";
    assert_eq!(pool.status().unwrap_err().to_string(), expected);
    let e = reserve(&pool, "late", &[]).unwrap_err();
    assert!(e.is_exhausted());
    assert_eq!(e.to_string(), expected);
    assert_eq!(pool.usage().unwrap()[0].held, 11, "the other set gave its address back");
    pool.release(&owner("c5")).unwrap();
    assert_eq!(reserve(&pool, "late", &[]).unwrap()[1], "10.1.0.7/24");
}

#[test]
fn the_full_default_range_is_counted_without_its_gateway() {
    let node = Node::new(&[&["10.1.0.0/28"]]);
    let pool = node.pool();
    let given: BTreeSet<String> =
        (0..13).flat_map(|n| reserve(&pool, &format!("c{n}"), &[]).unwrap()).collect();
    assert_eq!(given.len(), 13);
    let e = reserve(&pool, "late", &[]).unwrap_err().to_string();
    assert!(e.ends_with("13 of 13 addresses held"), "{e}");
}

#[test]
fn what_the_reference_writes_is_seen_at_once() {
    let node = Node::new(&[&["10.1.0.0/24"]]);
    let pool = node.pool();
    node.foreign("10.1.0.2", "c1\r\neth0");
    node.foreign("10.1.0.3", "old");
    assert!(matches!(reserve(&pool, "c1", &[]), Err(Error::Duplicate { .. })));
    assert!(matches!(reserve(&pool, "old", &[]), Err(Error::Duplicate { .. })));
    assert_eq!(reserve(&pool, "c2", &[]).unwrap(), ["10.1.0.4/24"]);
    // Written after the index was made.
    assert!(pool.owned(&owner("c3")).unwrap().is_empty());
    node.foreign("10.1.0.5", "c3\r\neth0");
    assert_eq!(pool.owned(&owner("c3")).unwrap(), [ip("10.1.0.5")]);
    fs::remove_file(node.leases().join("10.1.0.5")).unwrap();
    assert!(pool.owned(&owner("c3")).unwrap().is_empty());
    assert_eq!(pool.release(&owner("old")).unwrap(), [ip("10.1.0.3")]);
    assert_eq!(pool.release(&owner("c1")).unwrap(), [ip("10.1.0.2")]);
    let held = pool.list().unwrap();
    assert_eq!((held.len(), held[0].kind), (1, Kind::Lease));
}

#[test]
fn a_directory_alone_frees_what_a_pool_leased() {
    let node = Node::new(&[&["10.1.0.0/24"], &["fd00::/64"]]);
    reserve(&node.pool(), "c1", &[]).unwrap();
    let directory = Directory::open(&node.leases(), &node.tmp.path().join("run"), "boot-1");
    assert_eq!(directory.owned(&owner("c1")).unwrap().len(), 2);
    assert!(directory.release(&Owner::new("c1", "eth1")).unwrap().is_empty());
    assert_eq!(directory.release(&owner("c1")).unwrap(), [ip("10.1.0.2"), ip("fd00::2")]);
    assert_eq!(node.files(), ["last_reserved_ip.0", "last_reserved_ip.1", "lock"]);
}

#[test]
fn check_names_the_set_that_has_no_address() {
    let node = Node::new(&[&["10.1.0.0/24"], &["fd00::/64"]]);
    let pool = node.pool();
    reserve(&pool, "c1", &[]).unwrap();
    pool.check(&owner("c1")).unwrap();
    fs::remove_file(node.leases().join("fd00::2")).unwrap();
    let e = pool.check(&owner("c1")).unwrap_err().to_string();
    assert_eq!(
        e,
        "network net: c1 eth0 holds no address in range fd00::1-fd00::ffff:ffff:ffff:ffff"
    );
}

#[test]
fn a_boot_voids_our_leases_and_no_others() {
    let node = Node::new(&[&["10.1.0.0/24"]]);
    let pool = node.pool();
    reserve(&pool, "c1", &[]).unwrap();
    reserve(&pool, "c2", &[]).unwrap();
    pool.reserve_durable(&owner("kept"), None).unwrap();
    node.foreign("10.1.0.5", "foreign\r\neth0");
    let pool = node.pool_in("boot-2");
    assert_eq!(pool.owned(&owner("c1")).unwrap(), [] as [IpAddr; 0]);
    let held: Vec<_> = pool.list().unwrap().into_iter().map(|h| (h.owner.id, h.kind)).collect();
    let expected = [("kept".to_owned(), Kind::Reservation), ("foreign".to_owned(), Kind::Foreign)];
    assert_eq!(held, expected);
    assert_eq!(reserve(&pool, "c1", &["10.1.0.3"]).unwrap(), ["10.1.0.3/24"]);
    assert_eq!(fs::read_dir(node.tmp.path().join("run/leases")).unwrap().count(), 1);
}

#[test]
fn foreign_leases_are_reclaimed_on_proof_alone() {
    let node = Node::new(&[&["10.1.0.0/24 10.1.0.2 10.1.0.4"]]);
    node.foreign("10.1.0.2", "gone\r\neth0");
    node.foreign("10.1.0.3", "alive\r\neth0");
    node.foreign("10.1.0.4", "back\r\neth0");
    assert!(reserve(&node.pool(), "c1", &[]).unwrap_err().is_exhausted());
    assert!(node.pool().status().is_err());
    let pool = node.pool().reclaim_foreign(|o| o.id == "gone" || o.id == "back");
    pool.status().unwrap();
    assert_eq!(reserve(&pool, "back", &["10.1.0.4"]).unwrap(), ["10.1.0.4/24"]);
    assert_eq!(reserve(&pool, "c1", &[]).unwrap(), ["10.1.0.2/24"]);
    assert!(reserve(&pool, "c2", &[]).unwrap_err().is_exhausted());
}

#[test]
fn a_file_that_its_writer_left_empty_is_reclaimed() {
    let node = Node::new(&[&["10.1.0.0/24 10.1.0.2 10.1.0.2"]]);
    node.foreign("10.1.0.2", "");
    assert_eq!(reserve(&node.pool(), "c1", &[]).unwrap(), ["10.1.0.2/24"]);
}

#[test]
fn collect_frees_the_unwanted_and_never_a_reservation() {
    let node = Node::new(&[&["10.1.0.0/24"]]);
    let pool = node.pool();
    for id in ["keep", "drop"] {
        reserve(&pool, id, &[]).unwrap();
    }
    pool.reserve_durable(&owner("drop"), None).unwrap();
    node.foreign("10.1.0.9", "drop\r\neth9");
    node.foreign("10.1.0.10", "");
    let freed: Vec<String> = pool
        .collect(&|o| o.id == "keep")
        .unwrap()
        .iter()
        .map(|h| format!("{} {:?}", h.address, h.kind))
        .collect();
    assert_eq!(freed, ["10.1.0.3 Lease", "10.1.0.9 Foreign", "10.1.0.10 Foreign"]);
    assert!(pool.collect(&|o| o.id == "keep").unwrap().is_empty());
    assert_eq!(pool.owned(&owner("drop")).unwrap(), [ip("10.1.0.4")]);
}

#[test]
fn a_reservation_ends_only_by_address() {
    let node = Node::new(&[&["10.1.0.0/24"]]);
    let pool = node.pool();
    let lease = pool.reserve_durable(&owner("r"), Some(ip("10.1.0.50"))).unwrap();
    assert_eq!(lease.address.to_string(), "10.1.0.50/24");
    pool.reserve_durable(&owner("r"), Some(ip("10.1.0.51"))).unwrap();
    assert!(pool.release(&owner("r")).unwrap().is_empty());
    assert!(matches!(reserve(&pool, "c", &["10.1.0.50"]), Err(Error::Taken { .. })));
    assert!(pool.reserve_durable(&owner("r"), Some(ip("10.1.0.1"))).is_err(), "gateway");
    // The owner may attach beside its reservations, and detach again.
    assert_eq!(reserve(&pool, "r", &[]).unwrap(), ["10.1.0.52/24"]);
    assert_eq!(pool.release(&owner("r")).unwrap(), [ip("10.1.0.52")]);
    assert!(pool.release_address(ip("10.1.0.50")).unwrap());
    assert!(!pool.release_address(ip("10.1.0.50")).unwrap());
    assert_eq!(pool.owned(&owner("r")).unwrap(), [ip("10.1.0.51")]);
}

#[test]
fn without_a_place_for_the_index_nothing_is_leased_but_all_is_freed() {
    let node = Node::new(&[&["10.1.0.0/24"]]);
    node.foreign("10.1.0.2", "c1\r\neth0");
    fs::File::create(node.tmp.path().join("run")).unwrap();
    let pool = node.pool();
    let e = reserve(&pool, "c2", &[]).unwrap_err().to_string();
    assert!(e.starts_with("make directory ") || e.starts_with("write index "), "{e}");
    assert_eq!(node.files(), ["10.1.0.2", "lock"]);
    assert_eq!(pool.release(&owner("c1")).unwrap(), [ip("10.1.0.2")]);
    assert_eq!(node.files(), ["lock"]);
}

#[test]
fn a_lease_that_fails_takes_the_others_of_its_owner_with_it() {
    let node = Node::new(&[&["10.1.0.0/24"], &["fd00::/64"]]);
    let pool = node.pool();
    reserve(&pool, "kept", &["10.1.0.9", "fd00::9"]).unwrap();
    let before = node.files();
    let picks = [("10.1.0.7", 0), ("fd00::9", 1)].map(|(a, set)| Pick { set, address: ip(a) });
    let mut locked = pool.directory.lock_or_make().unwrap();
    let e = locked.create(&owner("c1"), &picks, Kind::Lease).unwrap_err().to_string();
    drop(locked);
    assert!(e.contains("create lease") && e.contains("fd00::9"), "{e}");
    assert_eq!(node.files(), before);
    assert!(pool.owned(&owner("c1")).unwrap().is_empty());
    pool.check(&owner("kept")).unwrap();
}

#[test]
fn threads_never_get_the_same_address() {
    let node = Node::new(&[&["10.1.0.0/25"]]);
    let holders = std::sync::Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (pool, holders) = (node.pool(), &holders);
            scope.spawn(move || {
                for n in 0..40 {
                    let id = format!("c{thread}-{n}");
                    let address = reserve(&pool, &id, &[]).unwrap();
                    let other = holders.lock().unwrap().insert(address.clone(), id.clone());
                    assert_eq!(other, None, "{address:?}");
                    if n % 4 != 0 {
                        holders.lock().unwrap().remove(&address);
                        assert_eq!(pool.release(&owner(&id)).unwrap().len(), 1);
                    }
                }
            });
        }
    });
    assert_eq!(node.pool().list().unwrap().len(), 80);
    for id in holders.lock().unwrap().values() {
        node.pool().check(&owner(id)).unwrap();
    }
}
