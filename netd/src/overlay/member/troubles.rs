//! What is wrong now, by what it is about: what was not looked at again stays as it was.

use std::collections::{BTreeMap, BTreeSet};

use crate::events::Trouble;

/// The kind of what is wrong and may mend itself.
const TROUBLE: &str = "overlay.trouble";
/// The kind of what keeps containers from being attached.
const HALTED: &str = "overlay.halted";

/// All of it.
#[derive(Default)]
pub(super) struct Troubles {
    about: BTreeMap<String, BTreeSet<Trouble>>,
}

impl Troubles {
    /// It is looked at again.
    pub(super) fn clear(&mut self, subject: &str) {
        self.about.remove(subject);
    }

    /// Something is wrong with it.
    pub(super) fn add(&mut self, subject: &str, text: impl Into<String>) {
        self.put(TROUBLE, subject, text.into());
    }

    /// Nothing new is attached to it.
    pub(super) fn halt(&mut self, subject: &str, text: impl Into<String>) {
        self.put(HALTED, subject, text.into());
    }

    fn put(&mut self, kind: &'static str, subject: &str, text: String) {
        let trouble = Trouble::new(kind, subject, text);
        self.about.entry(subject.to_owned()).or_default().insert(trouble);
    }

    /// Everything.
    pub(super) fn all(&self) -> BTreeSet<Trouble> {
        self.about.values().flatten().cloned().collect()
    }

    /// These alone are still somebody's business.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.about.retain(|subject, _| keep(subject));
    }
}
