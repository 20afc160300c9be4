//! The bare C program, with the arguments that it needs instead of a configuration.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::node::{Node, run};
use crate::tools::compiled;

/// The program, and the bridge that it attaches to.
#[derive(Debug)]
pub(crate) struct Floor {
    program: PathBuf,
    bridge: usize,
}

impl Floor {
    pub(crate) fn on_bridge(bridge: usize) -> Self {
        Self { program: compiled("floor"), bridge }
    }

    /// Attaches with an address from the end of the subnet.
    pub(crate) fn add(&self, node: &Node, number: usize, netns: &str) -> Duration {
        self.run(node, "add", number, netns)
    }

    /// Undoes [`Self::add`].
    pub(crate) fn del(&self, node: &Node, number: usize, netns: &str) -> Duration {
        self.run(node, "del", number, netns)
    }

    /// In the node's host namespace already; the node is named so that none forgets it.
    fn run(&self, _inside: &Node, verb: &str, number: usize, netns: &str) -> Duration {
        let subnet = 88 + self.bridge;
        let mut command = Command::new(&self.program);
        command.args([
            verb,
            netns,
            &format!("br{}", self.bridge),
            &format!("vethfloor{number}"),
            &format!("10.{subnet}.250.{}/16", number % 250),
            &format!("10.{subnet}.0.1"),
            &format!("02:42:0a:{subnet:02x}:fa:{:02x}", number % 250),
        ]);
        let (time, said) = run(command, b"");
        assert_eq!(said.code, Some(0), "floor {verb}: {said:?}");
        time
    }
}
