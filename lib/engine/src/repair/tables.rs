//! The ruleset: tables as they are laid, and an element for everything that is stored.

use std::collections::{BTreeMap, HashMap, HashSet};

use cleat_nft::{Backend, Data, Element, Key, Layout, Table, Transaction};

use super::Finding;
use super::picture::{Live, Picture, with_attached};
use crate::Node;
use crate::error::Result;
use crate::identity::AttachmentId;
use crate::record::{AttachmentRecord, Phase};
use crate::ruleset::{self, BRIDGE, Elements, INET, Ruleset, Stored};

/// With more attachments than this that lack elements, all of it is made again at once.
const FEW: usize = 16;

/// Where an element is, to look it up.
type Place = (Table, String, Key);

pub(super) fn look(picture: &Picture, live: &mut Live<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if !picture.stored.needs_tables(live.node) {
        return Ok(findings);
    }
    if let Some(error) = &picture.no_firewall {
        findings.push(Finding::FirewallUnavailable { why: error.to_string() });
        return Ok(findings);
    }
    let links = &picture.stored.links;
    if links.iter().any(|rules| ruleset::is_being_settled(live.node, rules)) {
        // What it is about to lay is no lack.
        live.busy += 1;
        return Ok(findings);
    }
    if lack_of_tables(&picture.stored, &picture.layouts).is_some() {
        // Once more, when whoever lays them is done.
        let _lock = ruleset::lock(live.node)?;
        let stored = Stored::read(live.node)?;
        if !stored.needs_tables(live.node) {
            return Ok(findings);
        }
        let mut layouts = HashMap::new();
        for table in [INET, BRIDGE] {
            let found = Layout::read(live.ruleset.backend(), table)?;
            layouts.extend(found.map(|layout| (table, layout)));
        }
        findings.extend(lack_of_tables(&stored, &layouts));
    }
    if findings.is_empty() {
        findings.extend(lack_of_link_elements(picture, live)?);
    }
    if findings.is_empty() {
        findings.extend(lack_of_elements(picture, live)?);
    }
    Ok(findings)
}

fn lack_of_tables(stored: &Stored, found: &HashMap<Table, Layout>) -> Option<Finding> {
    let mut laid = Transaction::new();
    ruleset::lay(&mut laid, &stored.shape());
    let admin = stored.admin_chains();
    let lack = |table: Table| {
        let name = table.to_string();
        let Some(layout) = found.get(&table) else {
            let wanted = table == INET || ruleset::has_bridge_family();
            return wanted.then_some(Finding::TableMissing { table: name });
        };
        let lack = Layout::of(&laid, table).first_lack(layout, |chain| admin.contains(chain))?;
        Some(Finding::TableIncomplete { table: name, what: lack })
    };
    lack(INET).or_else(|| lack(BRIDGE))
}

/// What of these is not there, or leads elsewhere.
fn missing(picture: &Picture, wanted: &Elements) -> Option<Place> {
    let lacks = |(table, set, element): &(Table, &str, &Element)| {
        // Without its table the kernel has no such family.
        picture.layouts.contains_key(table)
            && picture
                .elements
                .get(&(*table, (*set).to_owned()))
                .and_then(|found| found.get(&element.key))
                != Some(&element.data)
    };
    let (table, set, element) = wanted.iter().find(lacks)?;
    Some((table, set.to_owned(), element.key.clone()))
}

fn is_missing(live: &mut Live<'_>, wanted: &Elements) -> Result<bool> {
    for (table, set, element) in wanted.iter() {
        if !live.ruleset.backend().table_exists(table)? {
            continue;
        }
        let found = live.ruleset.backend().element(table, set, &element.key)?;
        if found.is_none_or(|found| found.data != element.data) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn lack_of_link_elements(picture: &Picture, live: &mut Live<'_>) -> Result<Option<Finding>> {
    let Some((table, set, key)) = missing(picture, &picture.stored.elements_of_links()) else {
        return Ok(None);
    };
    let again = Stored::read(live.node)?.elements_of_links();
    if !is_missing(live, &again)? {
        return Ok(None);
    }
    let what = format!("set {set} lacks {}", text(&key));
    Ok(Some(Finding::TableIncomplete { table: table.to_string(), what }))
}

fn lack_of_elements(picture: &Picture, live: &mut Live<'_>) -> Result<Vec<Finding>> {
    let mut lacking = Vec::new();
    for (name, record) in &picture.stored.records {
        if let Some((table, set, _)) = missing(picture, &required(live.node, record)) {
            lacking.push((name, record, table, set));
        }
    }
    let many = lacking.len() > FEW;
    let mut findings = Vec::new();
    for (name, record, table, set) in &lacking {
        let confirmed =
            live.confirm(name, |live, now| is_missing(live, &required(live.node, now)))?;
        if !confirmed {
            continue;
        }
        if many {
            let what = format!("{} attachments lack elements, as of set {set}", lacking.len());
            return Ok(vec![Finding::TableIncomplete { table: table.to_string(), what }]);
        }
        findings.push(Finding::ElementsMissing { attachment: record.id.clone(), set: set.clone() });
    }
    Ok(findings)
}

/// The elements that must be there for an attachment: not those of a part that is being made. The
/// markers of ports on one address are several attachments' at once, and nothing depends on them.
fn required(node: &Node, record: &AttachmentRecord) -> Elements {
    let ready = |phase: Phase| phase == Phase::Ready;
    if !node.is_this_boot(&record.boot) {
        return Elements::default();
    }
    let mut made = record.clone();
    made.link = made.link.filter(|link| ready(link.phase));
    made.ports = made.ports.filter(|ports| ready(ports.phase));
    let retuned = made.tuning.as_ref().is_some_and(|tuning| !ready(tuning.phase));
    let mut elements = ruleset::of_attachment(&made);
    elements.retain(|set, _| !(is_marker(set) || (retuned && set.ends_with("_mac"))));
    elements
}

fn is_marker(set: &str) -> bool {
    set.starts_with("specific")
}

fn is_at_rest(record: &AttachmentRecord) -> bool {
    let ready = |phase: Phase| phase == Phase::Ready;
    record.link.as_ref().is_none_or(|link| ready(link.phase))
        && record.ports.as_ref().is_none_or(|ports| ready(ports.phase))
        && record.tuning.as_ref().is_none_or(|tuning| ready(tuning.phase))
}

/// Elements that stand for nothing that is stored. While an attachment is in the making nobody
/// can say whose an element is, and none counts.
pub(super) fn look_for_leaks(picture: &Picture, live: &mut Live<'_>) -> Result<Vec<Finding>> {
    let found = picture.elements.iter();
    let found = found.flat_map(|((table, set), all)| all.keys().map(move |k| (*table, set, k)));
    let Some(mut suspects) = leaked(live.node, &picture.stored, found) else {
        live.busy += 1;
        return Ok(Vec::new());
    };
    if suspects.is_empty() {
        return Ok(Vec::new());
    }
    // There, of nobody, and still there.
    retain_present(live, &mut suspects)?;
    let stored = Stored::read(live.node)?;
    let Some(mut suspects) = leaked(live.node, &stored, suspects.into_iter()) else {
        live.busy += 1;
        return Ok(Vec::new());
    };
    retain_present(live, &mut suspects)?;
    let mut by_set: BTreeMap<(Table, &String), usize> = BTreeMap::new();
    for (table, set, _) in suspects {
        *by_set.entry((table, set)).or_default() += 1;
    }
    let finding = |((table, set), count): ((Table, &String), usize)| Finding::ElementsLeaked {
        table: table.to_string(),
        set: set.clone(),
        count,
    };
    Ok(by_set.into_iter().map(finding).collect())
}

fn retain_present(live: &mut Live<'_>, suspects: &mut Vec<(Table, &String, &Key)>) -> Result<()> {
    let mut present = Vec::with_capacity(suspects.len());
    for (table, set, key) in suspects.drain(..) {
        if live.ruleset.backend().element(table, set, key)?.is_some() {
            present.push((table, set, key));
        }
    }
    *suspects = present;
    Ok(())
}

/// Those that nothing stored stands for; `None` where that cannot be said.
fn leaked<'f>(
    node: &Node,
    stored: &Stored,
    found: impl Iterator<Item = (Table, &'f String, &'f Key)>,
) -> Option<Vec<(Table, &'f String, &'f Key)>> {
    let elements = stored.elements(node, None);
    let wanted: HashSet<(Table, &str, &Key)> =
        elements.iter().map(|(table, set, element)| (table, set, &element.key)).collect();
    let mut laid = Transaction::new();
    ruleset::lay(&mut laid, &stored.shape());
    let ours: HashSet<(Table, String)> = [INET, BRIDGE]
        .into_iter()
        .flat_map(|table| {
            let layout = Layout::of(&laid, table);
            layout.sets().map(|set| (table, set.to_owned())).collect::<Vec<_>>()
        })
        .collect();
    let leaked: Vec<_> = found
        .filter(|(table, set, key)| !wanted.contains(&(*table, set.as_str(), *key)))
        .filter(|(table, set, _)| !is_marker(set) && ours.contains(&(*table, (*set).clone())))
        .collect();
    let quiet = stored.is_whole && stored.records.iter().all(|(_, record)| is_at_rest(record));
    (quiet || leaked.is_empty()).then_some(leaked)
}

/// Makes the ruleset again.
pub(super) fn mend(node: &Node) -> Result<()> {
    Ruleset::open(node).restore()
}

/// Adds what is missing of an attachment.
pub(super) fn mend_elements(node: &Node, id: &AttachmentId) -> Result<()> {
    let added = with_attached(node, id, |record| {
        let mut transaction = Transaction::new();
        required(node, record).add_to(&mut transaction);
        Ok(Ruleset::open(node).backend().commit(&transaction))
    })?;
    match added {
        None | Some(Ok(())) => Ok(()),
        // The table is gone, or the key leads elsewhere.
        Some(Err(error)) if error.is_not_found() || error.is_exists() || error.is_busy() => {
            mend(node)
        }
        Some(Err(error)) => Err(error.into()),
    }
}

/// Removes a set's elements that stand for nothing.
pub(super) fn mend_leak(node: &Node, table: &str, set: &str) -> Result<()> {
    let Some(table) = [INET, BRIDGE].into_iter().find(|known| known.to_string() == table) else {
        return Ok(());
    };
    let mut live = Live::open(node)?;
    let set = set.to_owned();
    let found: HashMap<Key, Data> = match live.ruleset.backend().elements(table, &set) {
        Ok(found) => found.into_iter().map(|element| (element.key, element.data)).collect(),
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let stored = Stored::read(node)?;
    let Some(leaked) = leaked(node, &stored, found.keys().map(|key| (table, &set, key))) else {
        return Ok(());
    };
    if leaked.is_empty() {
        return Ok(());
    }
    let removed: Vec<Element> =
        leaked.iter().map(|(_, _, key)| Element::new((*key).clone())).collect();
    let mut transaction = Transaction::new();
    transaction.destroy_elements(table, &set, removed.clone());
    live.ruleset.backend().commit(&transaction)?;
    // An attach may have taken over an address or a port in between.
    let mut wanted = Stored::read(node)?.elements(node, None);
    wanted.retain(|of, element| *of == set && removed.iter().any(|r| r.key == element.key));
    let mut transaction = Transaction::new();
    wanted.add_to(&mut transaction);
    Ok(live.ruleset.backend().commit(&transaction)?)
}

fn text(key: &Key) -> String {
    let fields: Vec<String> = key.fields().iter().map(ToString::to_string).collect();
    fields.join(" . ")
}
