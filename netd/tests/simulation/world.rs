//! Machines over one store, and what must hold of them.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use cleat_engine::overlay::OverlayNetwork;
use cleat_netd::overlay::claims::{Book, Held, Single};
use cleat_netd::overlay::store::{Memory, Pause, Snapshot};
use cleat_netd::overlay::{NetworkRequest, networks};
use shuttle::rand::{Rng, thread_rng};

use crate::machine::{Machine, TTL};

pub(crate) struct World {
    inner: Arc<Inner>,
}

struct Inner {
    memory: Memory,
    network: OverlayNetwork,
    machines: Arc<OnceLock<Vec<Arc<Machine>>>>,
    now: Mutex<Duration>,
    /// What is owned is nobody else's at any moment.
    strict: bool,
}

/// Lets others go first, and looks whether all is well.
fn pause(machines: &Arc<OnceLock<Vec<Arc<Machine>>>>, strict: bool) -> Pause {
    let machines = machines.clone();
    Arc::new(move || {
        let machines = machines.clone();
        Box::pin(async move {
            if strict && let Some(machines) = machines.get() {
                check(machines);
            }
            shuttle::future::yield_now().await;
        })
    })
}

impl World {
    pub(crate) async fn new(nodes: usize, strict: bool) -> Self {
        let memory = Memory::new(1);
        let mut request = NetworkRequest::new("all");
        request.subnets = vec!["10.1.0.0/25".parse().unwrap()];
        request.block_v4 = Some(28);
        let network =
            networks::create(&memory.client(None), &request, "0123456789abcdef", 0).await.unwrap();
        let shared = Arc::new(OnceLock::new());
        let machines = (0..nodes)
            .map(|n| {
                let client = memory.client(Some(pause(&shared, strict)));
                let block = [28, 27, 29, 28][n];
                Arc::new(Machine::new(&format!("node{n}"), client, block))
            })
            .collect();
        assert!(shared.set(machines).is_ok());
        let inner = Inner { memory, network, machines: shared, now: Mutex::default(), strict };
        Self { inner: Arc::new(inner) }
    }

    /// Every node does some things, all at once. With `backups`, the store goes back as often.
    pub(crate) async fn run(&self, actions: u32, backups: Option<u32>) {
        let mut tasks = Vec::new();
        for n in 0..self.inner.machines().len() {
            let inner = self.inner.clone();
            tasks.push(shuttle::future::spawn(async move {
                for _ in 0..actions {
                    inner.turn(n, true).await;
                }
            }));
        }
        if let Some(backups) = backups {
            let inner = self.inner.clone();
            tasks.push(shuttle::future::spawn(async move { inner.go_back(backups).await }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    }

    /// One grants an address by a transaction that arrives only after its block is another's.
    pub(crate) async fn grant_late(&self) {
        let inner = &self.inner;
        let network = &inner.network;
        let machines = inner.machines();
        for machine in machines {
            machine.keep(inner.time()).await;
            assert!(machine.was_held());
        }
        let [owner, asker, next] = [0, 1, 2].map(|n| machines[n].clone());
        // All have blocks of one length here.
        let block = owner.claims().block(network, &network.subnets[0], &[]).await.unwrap();
        let [wanted, other] = [3, 4].map(|n| block.hosts().nth(n).unwrap());
        assert_eq!(asker.claims().address(network, wanted).await.unwrap(), Single::Asked);
        owner.client.delay_commits(1);
        owner.claims().settle(network, &owner.pool).await.unwrap();
        owner.claims().release(network, &block).await.unwrap();
        let got = next.claims().address(network, other).await.unwrap();
        assert_eq!(got, Single::OwnBlock(block));
        inner.memory.deliver();
        assert_eq!(asker.claims().address(network, wanted).await.unwrap(), Single::Asked);
        next.pool.leased.lock().unwrap().insert(wanted);
        next.claims().settle(network, &next.pool).await.unwrap();
        let error = asker.claims().address(network, wanted).await.unwrap_err().to_string();
        assert!(error.contains("in use"), "{error}");
        check(machines);
    }

    /// The first node is copied at some moment, while it keeps its session.
    pub(crate) async fn run_with_a_copy(&self, actions: u32) {
        let mut tasks = Vec::new();
        for n in 0..self.inner.machines().len() {
            let inner = self.inner.clone();
            tasks.push(shuttle::future::spawn(async move {
                for _ in 0..actions {
                    inner.turn(n, false).await;
                }
            }));
        }
        let inner = self.inner.clone();
        tasks.push(shuttle::future::spawn(async move {
            for _ in 0..thread_rng().gen_range(0..60) {
                shuttle::future::yield_now().await;
            }
            let first = &inner.machines()[0];
            while !first.was_held() {
                shuttle::future::yield_now().await;
            }
            let client = inner.memory.client(Some(pause(&inner.machines, inner.strict)));
            let copy = first.copy(client);
            for _ in 0..actions * 2 {
                copy.keep(inner.time()).await;
                copy.act(&inner.network).await;
            }
            assert!(!copy.was_held(), "the copy acted for the node");
        }));
        for task in tasks {
            task.await.unwrap();
        }
    }

    /// Everything is whole again, and everybody looks until nothing changes.
    pub(crate) async fn settle(&self) {
        let inner = &self.inner;
        for machine in inner.machines() {
            machine.client.cut(false);
            machine.client.lose_answers(0);
            machine.client.delay_commits(0);
        }
        for _ in 0..50 {
            inner.memory.deliver();
        }
        for _ in 0..4 {
            inner.pass(TTL * 2);
            for _ in 0..2 {
                for machine in inner.machines() {
                    machine.keep(inner.time()).await;
                    let _ = machine.claims().settle(&inner.network, &machine.pool).await;
                }
            }
        }
    }

    /// What may be leased may be leased by one node alone; and the store agrees with the books.
    pub(crate) fn check_settled(&self) {
        check(self.inner.machines());
        for machine in self.inner.machines() {
            assert!(machine.was_held(), "{} could not get a session", machine.node);
            for book in machine.pages() {
                assert!(book.held.iter().all(|held| !held.leaving), "{book:?}");
            }
        }
    }
}

impl Inner {
    fn machines(&self) -> &Vec<Arc<Machine>> {
        self.machines.get().unwrap()
    }

    fn time(&self) -> Duration {
        *self.now.lock().unwrap()
    }

    fn pass(&self, by: Duration) {
        *self.now.lock().unwrap() += by;
        self.memory.advance(by);
    }

    async fn turn(&self, n: usize, faults: bool) {
        let machine = &self.machines()[n];
        if faults {
            self.trouble(machine);
        }
        machine.keep(self.time()).await;
        machine.act(&self.network).await;
    }

    fn trouble(&self, machine: &Machine) {
        let mut random = thread_rng();
        match random.gen_range(0..14) {
            0 => machine.client.cut(true),
            1..=3 => machine.client.cut(false),
            4 => machine.client.lose_answers(random.gen_range(1..4)),
            5 => self.pass(TTL),
            6 => self.pass(TTL / 3),
            7 => machine.client.delay_commits(random.gen_range(1..3)),
            8 | 9 => self.memory.deliver(),
            _ => {}
        }
    }

    /// Backups are taken and put back at any moments.
    async fn go_back(&self, times: u32) {
        for n in 0..times {
            let backup: Snapshot = self.memory.snapshot();
            let steps = thread_rng().gen_range(1..120);
            for _ in 0..steps {
                shuttle::future::yield_now().await;
            }
            let cluster =
                if thread_rng().gen_ratio(1, 2) { backup.at.cluster } else { u64::from(n) + 2 };
            self.memory.restore(backup, cluster);
        }
    }
}

/// No address may be leased by two nodes, but for one that is granted: which its owner does not
/// lease.
fn check(machines: &[Arc<Machine>]) {
    let books: Vec<(&str, Vec<Book>)> =
        machines.iter().map(|machine| (machine.node.as_str(), machine.pages())).collect();
    for (n, (one, of_one)) in books.iter().enumerate() {
        for (other, of_other) in books.iter().skip(n + 1) {
            for a in of_one {
                for b in of_other {
                    assert_disjoint((one, a), (other, b));
                }
            }
        }
    }
}

fn assert_disjoint((one, a): (&str, &Book), (other, b): (&str, &Book)) {
    for x in a.held.iter().filter(|held| held.is_usable()) {
        for y in b.held.iter().filter(|held| held.is_usable()) {
            let overlap = x.block.contains(&y.block) || y.block.contains(&x.block);
            assert!(
                !overlap || is_granted(a, x, y) || is_granted(b, y, x),
                "both {one} and {other} may lease from {} and {}:\n{a:#?}\n{b:#?}",
                x.block,
                y.block
            );
        }
    }
}

/// A single address that the owner of a block knows to be another's.
fn is_granted(owners: &Book, block: &Held, single: &Held) -> bool {
    let is_inside = single.is_single() && !block.is_single() && block.block.contains(&single.block);
    is_inside && owners.grants.iter().any(|grant| grant.address == single.block.addr())
}
