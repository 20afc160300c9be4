//! The price of a lease, seen from outside: what the kernel reports as opened and read in the
//! lease directory (inotify) must not grow with the number of leases.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::SystemTime;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use super::*;

struct Opened(OwnedFd);

impl Opened {
    fn in_dir(dir: &Path) -> Self {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&inotify, dir, WatchFlags::OPEN).unwrap();
        Self(inotify)
    }

    /// Names opened since the last call; the directory itself has none.
    fn take(&self) -> Vec<String> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.0, &mut buffer);
        let mut names = Vec::new();
        while let Ok(event) = reader.next() {
            assert!(!event.events().contains(ReadFlags::QUEUE_OVERFLOW));
            names.push(event.file_name().map_or("", |n| n.to_str().unwrap()).to_owned());
        }
        names
    }
}

#[test]
fn five_thousand_leases_make_nothing_slower() {
    let node = Node::new(&[&["10.1.0.0/16"]]);
    for n in 0..5000 {
        node.foreign(&format!("10.1.{}.{}", 100 + n / 250, n % 250), &format!("f{n}\r\neth0"));
    }
    let pool = node.pool();
    let opened = Opened::in_dir(&node.leases());
    assert!(pool.release(&owner("c0")).unwrap().is_empty());
    assert!(opened.take().len() > 5000, "the first look reads all there is");
    for n in 0..20 {
        let id = format!("c{n}");
        assert_eq!(pool.release(&owner(&id)).unwrap(), [] as [IpAddr; 0]);
        assert_eq!(opened.take(), [""; 0], "a miss opens nothing");
        let address = reserve(&pool, &id, &[]).unwrap()[0].replace("/16", "");
        let names = opened.take();
        assert!(names.len() <= 4, "{names:?}");
        assert_eq!(pool.owned(&owner(&id)).unwrap().len(), 1);
        opened.take();
        assert_eq!(pool.release(&owner(&id)).unwrap().len(), 1);
        let names = opened.take();
        assert!(names.len() <= 2 && names.contains(&address), "{names:?}");
    }
}

#[test]
fn a_stamp_does_not_hide_a_later_writer() {
    let node = Node::new(&[&["10.1.0.0/24"]]);
    let pool = node.pool();
    for n in 10..60 {
        reserve(&pool, "mine", &[]).unwrap();
        // Within the same clock tick as the stamp, most likely.
        node.foreign(&format!("10.1.0.{n}"), &format!("f{n}\r\neth0"));
        assert_eq!(pool.owned(&owner(&format!("f{n}"))).unwrap().len(), 1);
        pool.release(&owner("mine")).unwrap();
        fs::remove_file(node.leases().join(format!("10.1.0.{n}"))).unwrap();
        assert!(pool.owned(&owner(&format!("f{n}"))).unwrap().is_empty());
    }
}

#[test]
fn a_directory_whose_time_was_set_is_read_again() {
    let node = Node::new(&[&["10.1.0.0/24"]]);
    let pool = node.pool();
    reserve(&pool, "mine", &[]).unwrap();
    node.foreign("10.1.0.9", "f\r\neth0");
    let dir = fs::File::open(node.leases()).unwrap();
    for time in [SystemTime::UNIX_EPOCH, SystemTime::now()] {
        dir.set_modified(time).unwrap();
        assert_eq!(pool.owned(&owner("f")).unwrap().len(), 1);
    }
}
