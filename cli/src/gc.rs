//! `cleat gc`: removes what belongs to nothing that still runs: containers that ended with their
//! supervisor, attachments whose container is proven to be gone or whose making was interrupted,
//! leases of an earlier boot. And mends what was taken from the containers that do run: the ruleset,
//! bridges, addresses, settings. What is not proven is left, and told by `cleat doctor`.

use clap::Args;
use cleat_engine::kernel::Namespace;
use cleat_engine::lease::open_pool;
use cleat_engine::repair;
use cleat_volumes::Finding;
use serde::Serialize;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::network::Known;
use crate::output::{self, Format, print_table};
use crate::run::{record, supervise};
use crate::volume;

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Say what would be removed or mended, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Something that belongs to nothing, or lacks something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Leaked {
    /// `container`, `address`, `namespace`, `files`, `volume`, or as [`repair::Finding::kind`] says.
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) why: String,
}

pub(crate) fn run(context: &Context, asked: &GcArgs) -> Result<()> {
    let outcome = sweep(context, asked.dry_run);
    let (found, errors) = outcome?;
    match context.format {
        Format::Json => output::json(&found),
        Format::Table if found.is_empty() => output::line("Nothing to remove or mend."),
        Format::Table => {
            let rows = found.iter().map(|l| [l.kind.to_owned(), l.name.clone(), l.why.clone()]);
            print_table(["KIND", "NAME", "WHY"], rows.collect());
        }
    }
    Error::join(errors)
}

/// How often it is looked again: what is mended may uncover what was behind it.
const ROUNDS: u32 = 3;

/// What is leaked or lacks something, set right unless `dry`; with what could not be.
pub(crate) fn sweep(context: &Context, dry: bool) -> Result<(Vec<Leaked>, Vec<Error>)> {
    let mut sweep = Sweep { context, dry, found: Vec::new(), errors: Vec::new() };
    sweep.containers()?;
    sweep.repair()?;
    sweep.addresses()?;
    sweep.files()?;
    sweep.volumes()?;
    Ok((sweep.found, sweep.errors))
}

struct Sweep<'c> {
    context: &'c Context,
    dry: bool,
    found: Vec<Leaked>,
    errors: Vec<Error>,
}

impl Sweep<'_> {
    fn note(&mut self, kind: &'static str, name: impl Into<String>, why: &str) {
        let found = Leaked { kind, name: name.into(), why: why.to_owned() };
        if !self.found.contains(&found) {
            self.found.push(found);
        }
    }

    /// What a crash left of volumes. To tell is to look under each volume's lock, and no less work.
    fn volumes(&mut self) -> Result<()> {
        if self.dry {
            return Ok(());
        }
        for finding in volume::volumes(self.context).reconcile(volume::deadline())? {
            match finding {
                Finding::Remains(name) => self.note("volume", name, "half made or half removed"),
                Finding::Unmounted(name) => self.note("volume", name, "nobody uses it"),
                // Told by `cleat volume health`: a person must decide.
                Finding::Unaccounted(_) | Finding::NotMounted(_) | Finding::CountedOnly(..) => {}
                Finding::Failed(name, text) => {
                    output::warn(&format!("volume {name}: {text}"));
                }
            }
        }
        Ok(())
    }

    fn containers(&mut self) -> Result<()> {
        for container in record::all(self.context)? {
            let half = container.exit_code.is_some() && container.netns.is_some();
            if !container.is_abandoned() && !half {
                continue;
            }
            self.note("container", &container.name, "it ended, and its supervisor with it");
            if !self.dry {
                let ended = supervise::end(self.context, &container.id, None);
                self.errors.extend(ended.err());
            }
        }
        Ok(())
    }

    /// What the engine finds, in its order: what is added first, what is removed last.
    fn repair(&mut self) -> Result<()> {
        let node = &self.context.node;
        for _ in 0..ROUNDS {
            let survey = repair::survey(node)?;
            let mut failed = false;
            let mut any = false;
            for finding in survey.findings.iter().filter(|finding| finding.is_mendable()) {
                any = true;
                self.note(finding.kind(), finding.object(), &finding.to_string());
                if !self.dry
                    && let Err(error) = repair::mend(node, finding)
                {
                    failed = true;
                    self.errors.push(error.into());
                }
            }
            cleat_engine::kernel::delete::reap();
            if self.dry || failed || !any {
                break;
            }
        }
        Ok(())
    }

    /// Leases of an earlier boot, and those that a killed writer left unfinished.
    fn addresses(&mut self) -> Result<()> {
        for network in Known::read(self.context)?.networks {
            let Ok(config) = network.pool() else { continue };
            let pool = open_pool(&self.context.node, config);
            let boot = self.context.node.boot_id();
            for held in pool.list()? {
                let earlier = held.boot.as_deref().is_some_and(|made_in| made_in != boot);
                if earlier || held.owner.id.is_empty() {
                    let name = format!("{} on network {}", held.address, network.name);
                    self.note("address", name, "it was leased before the host was started");
                }
            }
            if !self.dry {
                self.errors.extend(pool.collect(&|_| true).err().map(Error::from));
            }
        }
        Ok(())
    }

    /// Namespaces and folders of containers that nobody knows of.
    fn files(&mut self) -> Result<()> {
        let known = record::ids(self.context)?;
        let entries = |folder: &str| {
            let path = self.context.run_path(folder);
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        let (namespaces, containers) = (entries("netns"), entries("containers"));
        let is_lost = |path: &std::path::PathBuf| {
            path.file_name().is_some_and(|name| !known.iter().any(|id| name == id.as_str()))
        };
        for path in namespaces.into_iter().filter(is_lost) {
            self.note("namespace", path.display().to_string(), "its container is forgotten");
            if !self.dry {
                self.errors.extend(Namespace::remove_at(&path).err().map(Error::from));
            }
        }
        for path in containers.into_iter().filter(|p| p.is_dir()).filter(is_lost) {
            self.note("files", path.display().to_string(), "their container is forgotten");
            if !self.dry {
                let removed = std::fs::remove_dir_all(&path);
                let removed = removed.map_err(crate::context::file_error("remove", &path));
                self.errors.extend(removed.err());
            }
        }
        Ok(())
    }
}
