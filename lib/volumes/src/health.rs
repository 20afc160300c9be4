//! Whether a volume is as it should be. Nothing remote is touched.

use cleat_records::time::rfc3339;

use crate::folders::needs_mount;
use crate::holders::Elsewhere;
use crate::mounting::mounted;
use crate::spec::{Backing, Driver};
use crate::volumes::{Volume, Volumes};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// What has to be mended.
    pub problems: Vec<String>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

impl Volumes {
    /// Compares what is written down with what is there.
    pub fn health(&self, volume: &Volume) -> Health {
        let (record, uses) = (&volume.record, &volume.uses);
        let mut health = Health { notes: uses.warnings.clone(), ..Health::default() };
        let home = self.folders.home(&record.name);
        let mut missing = |path: std::path::PathBuf| {
            if !path.exists() {
                health.problems.push(format!("{} is missing", path.display()));
            }
        };
        if let Driver::Named(named) = &record.spec.driver {
            missing(match named.backing {
                Backing::Dir => home.data(),
                Backing::Image => home.image(),
            });
        }
        if let Some(failure) = &uses.failure {
            let text = format!("mount failed at {}: {}", rfc3339(failure.at), failure.text);
            health.problems.push(text);
        }
        if needs_mount(&record.spec) {
            match (mounted(&home.mount()), uses.is_unused()) {
                (Err(error), _) => health.problems.push(error.to_string()),
                (Ok(Some(_)), true) => health.problems.push(format!(
                    "mounted, and used by nobody who is written down; `cleat volume reset {}` \
                     unmounts it",
                    record.name
                )),
                (Ok(None), false) => health.problems.push(format!(
                    "used by {}, and not mounted; the next use mounts it",
                    uses.named()
                )),
                _ => {}
            }
        }
        if !uses.is_unused()
            && let Ok(true) = self.is_held_by_count_alone(record, uses, &Elsewhere::look())
        {
            health.notes.push(format!(
                "used by {}, and no container has it; if nothing else on this host does, `cleat \
                 volume reset {}` frees it",
                uses.named(),
                record.name
            ));
        }
        if let Some(figures) = &volume.figures
            && figures
                .limit
                .is_some_and(|limit| figures.bytes.saturating_mul(20) > limit.saturating_mul(19))
        {
            health.notes.push("more than 95% full when last measured".into());
        }
        health
    }
}
