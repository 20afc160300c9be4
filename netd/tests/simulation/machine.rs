//! A machine: a process that may be killed at any step, and what outlives it.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use cleat_engine::overlay::OverlayNetwork;
use cleat_netd::overlay::claims::{Book, Books, Claims, Licence, Reserve};
use cleat_netd::overlay::epoch::{self, Age};
use cleat_netd::overlay::session::{Session, Standing, Who};
use cleat_netd::overlay::store::{MemoryClient, Position, Range, Store};
use ipnet::IpNet;
use shuttle::rand::{Rng, thread_rng};

pub(crate) const TTL: Duration = Duration::from_secs(15);

/// Addresses of a node's own blocks that it keeps for others.
#[derive(Default)]
pub(crate) struct Pool {
    pub(crate) leased: Mutex<BTreeSet<IpAddr>>,
}

impl Reserve for Pool {
    fn reserve(&self, _: &OverlayNetwork, address: IpAddr, _: &str) -> Result<(), String> {
        if self.leased.lock().unwrap().contains(&address) { Err("in use".into()) } else { Ok(()) }
    }

    fn free(&self, _: &OverlayNetwork, _: IpAddr) {}
}

pub(crate) struct Machine {
    pub(crate) node: String,
    pub(crate) client: MemoryClient,
    pub(crate) pool: Pool,
    /// The length of the blocks that it claims.
    block: u8,
    process: Mutex<Process>,
    last: Mutex<Option<Position>>,
    /// It acted for its node at least once.
    held: AtomicBool,
}

struct Process {
    claims: Arc<Claims>,
    session: Option<Session>,
    age: Option<Age>,
}

fn nonce() -> String {
    format!("{:016x}", thread_rng().r#gen::<u64>())
}

fn process(node: &str, client: &MemoryClient, books: Books) -> Process {
    let store: Arc<dyn Store> = Arc::new(client.clone());
    let who = Who {
        node: node.into(),
        boot: nonce(),
        name: node.into(),
        run: None,
        file: "node.json".into(),
    };
    Process {
        claims: Arc::new(Claims::new(store.clone(), node, books, nonce)),
        session: Some(Session::open(store, who, TTL).unwrap()),
        age: None,
    }
}

impl Machine {
    pub(crate) fn new(node: &str, client: MemoryClient, block: u8) -> Self {
        let process = process(node, &client, Books::in_memory(Default::default()));
        Self {
            node: node.to_owned(),
            client,
            pool: Pool::default(),
            block,
            process: Mutex::new(process),
            last: Mutex::default(),
            held: AtomicBool::new(false),
        }
    }

    /// Another machine with the same disk.
    pub(crate) fn copy(&self, client: MemoryClient) -> Self {
        let books = Books::in_memory(self.claims().books().all());
        let process = process(&self.node, &client, books);
        Self {
            node: self.node.clone(),
            client,
            pool: Pool::default(),
            block: self.block,
            process: Mutex::new(process),
            last: Mutex::default(),
            held: AtomicBool::new(false),
        }
    }

    pub(crate) fn claims(&self) -> Arc<Claims> {
        self.process.lock().unwrap().claims.clone()
    }

    pub(crate) fn pages(&self) -> Vec<Book> {
        self.claims().books().all().into_values().collect()
    }

    pub(crate) fn was_held(&self) -> bool {
        self.held.load(Ordering::SeqCst)
    }

    /// Killed and started again, with what was on disk.
    pub(crate) fn restart(&self) {
        let mut held = self.process.lock().unwrap();
        let books = Books::in_memory(held.claims.books().all());
        *held = process(&self.node, &self.client, books);
    }

    /// A network as this node has it: nodes need not agree on the length of blocks.
    pub(crate) fn own(&self, network: &OverlayNetwork) -> OverlayNetwork {
        OverlayNetwork { block_v4: self.block, ..network.clone() }
    }

    /// Keeps the session and looks whether the store went back, as the tasks do.
    pub(crate) async fn keep(&self, now: Duration) -> Option<Standing> {
        let mut session = self.process.lock().unwrap().session.take()?;
        let standing = self.step(&mut session, now).await;
        let mut process = self.process.lock().unwrap();
        if process.session.is_none() {
            process.session = Some(session);
        }
        if let Some(Standing::Held(live)) = &standing
            && let Some(age) = process.age
        {
            self.held.store(true, Ordering::SeqCst);
            let live = live.clone();
            process.claims.license(if age.left.is_zero() {
                Licence::Full { live, epoch: age.revision }
            } else {
                Licence::Keep { live }
            });
        }
        standing
    }

    async fn step(&self, session: &mut Session, now: Duration) -> Option<Standing> {
        let at = self.client.list(&Range::between("epoch", "epoch\0")).await.ok()?.at;
        let last = *self.last.lock().unwrap();
        let made = self.claims().made();
        let made = made.load(Ordering::SeqCst);
        let seen = last.map(|last| Position { revision: last.revision.max(made), ..last });
        let went_back =
            seen.filter(|seen| seen.cluster != at.cluster || at.revision < seen.revision);
        let age = self.process.lock().unwrap().age;
        if went_back.is_some() {
            self.claims().license(Licence::None("the store went back".into()));
            self.claims().made().store(0, Ordering::SeqCst);
            session.doubt();
        }
        // A second is one look: owners have had their time when all have looked.
        let millis = u64::try_from(now.as_millis()).unwrap();
        let grace = Duration::from_secs(60);
        if went_back.is_some()
            || age.is_none_or(|age| !age.left.is_zero())
            || thread_rng().gen_ratio(1, 2)
        {
            let age = epoch::ensure(&self.client, at, went_back, grace, millis).await.ok()?;
            self.process.lock().unwrap().age = Some(age);
        }
        *self.last.lock().unwrap() = Some(at);
        session.step(now).await.ok()
    }

    /// Something that a node does, which may be cut short.
    pub(crate) async fn act(&self, network: &OverlayNetwork) {
        let (choice, steps) = {
            let mut random = thread_rng();
            let steps = if random.gen_ratio(1, 4) { random.gen_range(1..12) } else { u32::MAX };
            (random.gen_range(0..10), steps)
        };
        let own = self.own(network);
        let claims = self.claims();
        let subnet = network.subnets[0];
        let whole = Killed {
            steps,
            inner: Box::pin(async {
                match choice {
                    0..=3 => {
                        let have: Vec<IpNet> = claims
                            .books()
                            .held_of(&network.id)
                            .iter()
                            .map(|held| held.block)
                            .collect();
                        let _ = claims.block(&own, &subnet, &have).await;
                    }
                    4 | 5 => {
                        // A few that are often asked for, and one of the first block.
                        let host = [3, 20, 40, 41, 60][thread_rng().gen_range(0..5)];
                        let address = subnet.hosts().nth(host).unwrap();
                        for _ in 0..3 {
                            let _ = claims.address(&own, address).await;
                        }
                        if thread_rng().gen_ratio(1, 2) {
                            let _ = claims.withdraw(&own, address).await;
                        }
                    }
                    6 | 7 => {
                        let held = claims.books().held_of(&network.id);
                        if !held.is_empty() {
                            let block = held[thread_rng().gen_range(0..held.len())].block;
                            let _ = claims.release(network, &block).await;
                        }
                    }
                    _ => {
                        let _ = claims.settle(network, &self.pool).await;
                    }
                }
            }),
        };
        if whole.await.is_none() {
            self.restart();
        }
    }
}

/// A future that is dropped after so many steps.
struct Killed<'f> {
    steps: u32,
    inner: Pin<Box<dyn Future<Output = ()> + Send + 'f>>,
}

impl Future for Killed<'_> {
    type Output = Option<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.steps == 0 {
            return Poll::Ready(None);
        }
        self.steps -= 1;
        self.inner.as_mut().poll(context).map(Some)
    }
}
