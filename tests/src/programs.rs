//! Where the programs under test are: what `tests/build` collected, or `CLEAT_TEST_PLUGINS`.

use std::env;
use std::path::{Path, PathBuf};

/// A folder of plugin programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// The ones under test.
    pub fn under_test() -> Self {
        Self { folder: chosen().unwrap_or_else(collected) }
    }

    /// Debian's `containernetworking-plugins`.
    pub fn reference() -> Self {
        Self { folder: "/usr/lib/cni".into() }
    }

    /// The folder, a value for `CNI_PATH`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// One program; a missing one ends the test with what to do.
    pub fn path(&self, name: &str) -> PathBuf {
        let path = self.folder.join(name);
        assert!(path.exists(), "{} is missing: run tests/build", path.display());
        path
    }

    /// Someone asked for these suites against the reference: then a test that states where ours is
    /// better has nothing to say. Never true for ours.
    pub fn is_reference(&self) -> bool {
        chosen().as_ref() == Some(&self.folder) && !self.folder.join("none").exists()
    }
}

fn chosen() -> Option<PathBuf> {
    env::var_os("CLEAT_TEST_PLUGINS").filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// `cleat-bin` of the target folder that this test was built in (TARGET/debug/deps/TEST).
fn collected() -> PathBuf {
    let test = env::current_exe().unwrap();
    test.ancestors().nth(3).unwrap().join("cleat-bin")
}
