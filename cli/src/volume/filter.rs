//! `--filter`, as Docker has it: of one key any, of several keys all.

use std::str::FromStr;

use cleat_volumes::Volume;

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    key: Key,
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Name,
    Driver,
    Label,
    NotLabel,
    Dangling,
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected name=, driver=, label=, label!= or dangling=true|false";
        let (key, value) = text.split_once('=').ok_or(EXPECTED)?;
        let key = match key {
            "name" => Key::Name,
            "driver" => Key::Driver,
            "label" => Key::Label,
            "label!" => Key::NotLabel,
            "dangling" if ["true", "false", "1", "0"].contains(&value) => Key::Dangling,
            _ => return Err(EXPECTED.to_owned()),
        };
        Ok(Self { key, value: value.to_owned() })
    }
}

impl Filter {
    fn holds(&self, volume: &Volume) -> bool {
        let record = &volume.record;
        match self.key {
            Key::Name => record.name.as_str().contains(&self.value),
            Key::Driver => record.spec.driver.name() == self.value,
            Key::Label => has_label(volume, &self.value),
            Key::NotLabel => !has_label(volume, &self.value),
            Key::Dangling => {
                volume.uses.is_unused() == ["true", "1"].contains(&self.value.as_str())
            }
        }
    }
}

fn has_label(volume: &Volume, wanted: &str) -> bool {
    let labels = &volume.record.labels;
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
        None => labels.contains_key(wanted),
    }
}

/// Whether a volume is meant.
pub(super) fn all(filters: &[Filter], volume: &Volume) -> bool {
    filters.iter().all(|filter| {
        // Labels narrow down; of the others one is enough.
        match filter.key {
            Key::Label | Key::NotLabel => filter.holds(volume),
            key => filters.iter().any(|other| other.key == key && other.holds(volume)),
        }
    })
}
