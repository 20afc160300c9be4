//! Who may know whom, over the crates' manifests: programs know front, engine and cni; libraries
//! know what is below them; no library knows a command line's crates, no plugin an async runtime's.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand, NodeDep};

/// What each library may depend on, without its tests.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("cleat-cni", &[]),
    ("cleat-front", &["cleat-engine", "cleat-cni"]),
    ("cleat-engine", &["cleat-ipam", "cleat-nft", "cleat-kernel", "cleat-records"]),
    ("cleat-ipam", &["cleat-records"]),
    ("cleat-nft", &["cleat-kernel"]),
    ("cleat-kernel", &[]),
    ("cleat-records", &[]),
    ("cleat-volumes", &["cleat-kernel", "cleat-records"]),
];
/// What programs may depend on.
const PROGRAMS: &[&str] = &["cleat-front", "cleat-engine", "cleat-cni"];
/// What libraries leave to programs.
const NOT_IN_LIBRARIES: &[&str] = &["clap", "anyhow", "comfy-table", "tracing-subscriber"];
/// What a program that lives for milliseconds never starts.
const NOT_IN_PLUGINS: &[&str] = &["tokio", "hickory-server", "hickory-resolver", "hickory-proto"];

/// Each crate of the workspace with the names it depends on, directly and at all.
struct Graph {
    folders: BTreeMap<String, String>,
    direct: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn read() -> Self {
        let metadata = MetadataCommand::new()
            .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
            .other_options(vec![
                "--filter-platform".into(),
                format!("{}-unknown-linux-gnu", std::env::consts::ARCH),
            ])
            .exec()
            .unwrap();
        let root = metadata.workspace_root.clone();
        let mut folders = BTreeMap::new();
        for package in metadata.workspace_packages() {
            let folder = package.manifest_path.parent().unwrap().strip_prefix(&root).unwrap();
            folders.insert(package.name.to_string(), folder.to_string());
        }
        // The resolved graph: an optional dependency that nobody switches on is none.
        let names: BTreeMap<_, _> =
            metadata.packages.iter().map(|package| (&package.id, &package.name)).collect();
        let mut direct = BTreeMap::new();
        for node in &metadata.resolve.as_ref().unwrap().nodes {
            let is_normal =
                |d: &&NodeDep| d.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal);
            let below = node.deps.iter().filter(is_normal);
            direct.insert(
                names[&node.id].to_string(),
                below.map(|d| names[&d.pkg].to_string()).collect(),
            );
        }
        Self { folders, direct }
    }

    /// The workspace's crates below a folder.
    fn under<'g>(&'g self, folder: &'g str) -> impl Iterator<Item = &'g str> {
        let inside = move |path: &str| path == folder || path.starts_with(&format!("{folder}/"));
        self.folders.iter().filter(move |(_, path)| inside(path)).map(|(name, _)| name.as_str())
    }

    /// The workspace's crates that a crate names.
    fn own(&self, name: &str) -> BTreeSet<&str> {
        let known = |other: &&str| self.folders.contains_key(*other);
        self.direct[name].iter().map(String::as_str).filter(known).collect()
    }

    /// Everything that a crate pulls in.
    fn all(&self, name: &str) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut open = vec![name];
        while let Some(next) = open.pop() {
            for other in self.direct.get(next).into_iter().flatten() {
                if found.insert(other.as_str()) {
                    open.push(other);
                }
            }
        }
        found
    }
}

#[track_caller]
fn assert_within(name: &str, has: &BTreeSet<&str>, allowed: &[&str]) {
    let allowed = allowed.iter().copied().collect();
    let extra: Vec<_> = has.difference(&allowed).collect();
    assert!(extra.is_empty(), "{name} must not depend on {extra:?}");
}

#[test]
fn libraries_know_what_is_below_them() {
    let graph = Graph::read();
    for name in graph.under("lib") {
        let (_, allowed) = LIBRARIES
            .iter()
            .find(|(library, _)| *library == name)
            .unwrap_or_else(|| panic!("{name} has no place among the arrows yet"));
        assert_within(name, &graph.own(name), allowed);
    }
}

#[test]
fn programs_know_the_engine_and_its_front() {
    let graph = Graph::read();
    for name in graph.under("plugins").chain(graph.under("netd")) {
        assert_within(name, &graph.own(name), PROGRAMS);
    }
    let command: Vec<&str> = PROGRAMS.iter().copied().chain(["cleat-volumes"]).collect();
    for name in graph.under("cli") {
        assert_within(name, &graph.own(name), &command);
    }
    for name in graph.under("voldriver") {
        assert_within(name, &graph.own(name), &["cleat-volumes"]);
    }
}

#[test]
fn nobody_depends_on_a_program_or_on_the_lab() {
    let graph = Graph::read();
    let programs: BTreeSet<&str> = ["plugins", "cli", "netd", "voldriver", "tests"]
        .into_iter()
        .flat_map(|f| graph.under(f))
        .collect();
    for name in graph.folders.keys() {
        let own = graph.own(name);
        let wrong: Vec<_> = own.intersection(&programs).collect();
        assert!(wrong.is_empty(), "{name} must not depend on {wrong:?}");
    }
}

#[test]
fn libraries_and_plugins_stay_light() {
    let graph = Graph::read();
    let check = |name: &str, banned: &[&str]| {
        let all = graph.all(name);
        let wrong: Vec<_> = banned.iter().filter(|b| all.contains(**b)).collect();
        assert!(wrong.is_empty(), "{name} pulls in {wrong:?}");
    };
    for name in graph.under("lib") {
        check(name, NOT_IN_LIBRARIES);
        check(name, NOT_IN_PLUGINS);
    }
    for name in graph.under("plugins") {
        check(name, NOT_IN_LIBRARIES);
        check(name, NOT_IN_PLUGINS);
    }
}
