//! Interleavings of nodes that claim, release and ask for addresses at once, explored at random
//! but repeatably: a schedule that fails is printed and can be replayed (see shuttle's `replay`).
//! What must hold is looked at whenever any node is about to speak to the store, or has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod machine;
mod world;

use std::time::Duration;

use shuttle::scheduler::RandomScheduler;
use shuttle::{Config, Runner};
use world::World;

/// So many schedules at most, and no longer than this. When its time is over, shuttle prints the
/// last seed as if it had failed.
fn explore(schedules: usize, time: Duration, test: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.max_time = Some(time);
    config.silence_warnings = true;
    let done = Runner::new(RandomScheduler::new(schedules), config).run(test);
    #[allow(clippy::print_stdout, reason = "how much was explored")]
    {
        println!("{done} schedules");
    }
    assert!(done >= 20, "{done} schedules only within {time:?}");
}

/// Claims of blocks of different lengths, addresses asked for, releases; nodes cut off, killed in
/// the midst of anything, answers lost. No address is ever two nodes'.
#[test]
fn no_address_is_ever_in_two_books() {
    explore(3000, Duration::from_secs(7), || {
        shuttle::future::block_on(async {
            let world = World::new(3, true).await;
            world.run(8, None).await;
            world.settle().await;
            world.check_settled();
        });
    });
}

/// The store goes back to an older backup in the midst of it, as the same cluster or another one.
/// When all have looked at it again, nothing may be leased by two nodes.
#[test]
fn after_a_backup_whatever_is_owned_twice_is_halted() {
    explore(3000, Duration::from_secs(7), || {
        shuttle::future::block_on(async {
            let world = World::new(3, false).await;
            world.run(6, Some(2)).await;
            world.settle().await;
            world.check_settled();
        });
    });
}

/// What is granted late is granted only if the block is still the granter's.
#[test]
fn a_grant_that_arrives_after_its_block_changed_hands_is_none() {
    explore(20, Duration::from_secs(60), || {
        shuttle::future::block_on(async {
            let world = World::new(3, true).await;
            world.grant_late().await;
        });
    });
}

/// A copy of a machine that starts while the first one runs never acts for the node.
#[test]
fn a_copy_never_gets_in() {
    explore(2000, Duration::from_secs(4), || {
        shuttle::future::block_on(async {
            let world = World::new(2, true).await;
            world.run_with_a_copy(5).await;
            world.settle().await;
            world.check_settled();
        });
    });
}
