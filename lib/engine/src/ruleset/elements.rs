//! Which set elements stand for an attachment: a function of its record, so that what was added
//! is what is removed, and what was lost is made again.

use std::borrow::Cow;
use std::net::IpAddr;

use cleat_nft::{Element, Key, Table, Transaction};

use super::{BRIDGE, INET, conditions};
use crate::identity::AttachmentId;
use crate::record::{AttachmentRecord, Binding, LinkPart, Phase, PortsPart};

/// An nft comment holds 127 bytes.
const COMMENT: usize = 127;

/// Most sets' names are known beforehand.
pub(crate) type SetName = Cow<'static, str>;

/// Elements by set.
#[derive(Debug, Default, Clone)]
pub(crate) struct Elements {
    sets: Vec<(Table, SetName, Vec<Element>)>,
}

impl Elements {
    pub(crate) fn push(&mut self, table: Table, set: impl Into<SetName>, element: Element) {
        let set = set.into();
        match self.sets.iter_mut().find(|(t, s, _)| *t == table && *s == set) {
            Some((_, _, elements)) => elements.push(element),
            None => self.sets.push((table, set, vec![element])),
        }
    }

    pub(crate) fn append(&mut self, other: Self) {
        for (table, set, elements) in other.sets {
            elements.into_iter().for_each(|element| self.push(table, set.clone(), element));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    pub(crate) fn has_bridge_part(&self) -> bool {
        self.sets.iter().any(|(table, _, _)| *table == BRIDGE)
    }

    pub(crate) fn inet_only(&self) -> Self {
        let sets = self.sets.iter().filter(|(table, _, _)| *table == INET).cloned().collect();
        Self { sets }
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str, &Element) -> bool) {
        for (_, set, elements) in &mut self.sets {
            elements.retain(|element| keep(set, element));
        }
        self.sets.retain(|(_, _, elements)| !elements.is_empty());
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Table, &str, &Element)> {
        self.sets
            .iter()
            .flat_map(|(t, s, elements)| elements.iter().map(move |e| (*t, s.as_ref(), e)))
    }

    pub(crate) fn add_to(&self, transaction: &mut Transaction) {
        for (table, set, elements) in &self.sets {
            transaction.add_elements(*table, set, elements.clone());
        }
    }

    pub(crate) fn remove_from(&self, transaction: &mut Transaction) {
        for (table, set, elements) in &self.sets {
            transaction.destroy_elements(*table, set, elements.clone());
        }
    }
}

/// All elements of an attachment.
pub(crate) fn of_attachment(record: &AttachmentRecord) -> Elements {
    let mut elements = Elements::default();
    if let Some(link) = &record.link {
        elements.append(of_link_part(record, link));
    }
    if let Some(ports) = &record.ports {
        elements.append(of_ports(&record.id, ports));
    }
    elements
}

/// The elements of its interface.
pub(crate) fn of_link_part(record: &AttachmentRecord, link: &LinkPart) -> Elements {
    let mut elements = Elements::default();
    let comment = comment(&record.id);
    let addresses = || record.addresses.iter().map(|grant| grant.address.addr());
    if link.masquerade {
        for address in addresses() {
            let element = Element::new(Key::new().ip(address)).comment(&comment);
            elements.push(INET, by_family(address, "masq4", "masq6"), element);
        }
    }
    let Some(host) = link.host.as_deref().filter(|_| link.spoof_guard) else {
        return elements;
    };
    let port = || Key::new().ifname(host);
    elements.push(BRIDGE, "ports", Element::new(port()).comment(&comment));
    if link.strict {
        elements.push(BRIDGE, "strict", Element::new(port()));
    }
    for address in addresses() {
        elements.push(BRIDGE, by_family(address, "own4", "own6"), Element::new(port().ip(address)));
        let held = Element::new(Key::new().ip(address));
        elements.push(BRIDGE, by_family(address, "held4", "held6"), held);
    }
    let tuned = record.tuning.as_ref().filter(|tuning| tuning.mac.is_some());
    let settled = tuned.is_some_and(|tuning| tuning.phase == Phase::Ready);
    let macs = [tuned.and_then(|tuning| tuning.mac), link.mac.filter(|_| !settled)];
    for mac in macs.into_iter().flatten() {
        elements.push(BRIDGE, "own_mac", Element::new(port().mac(mac.0)));
        elements.push(BRIDGE, "held_mac", Element::new(Key::new().mac(mac.0)));
    }
    elements
}

/// The elements of its published ports.
pub(crate) fn of_ports(id: &AttachmentId, ports: &PortsPart) -> Elements {
    let mut elements = Elements::default();
    let comment = comment(id);
    let mut backends: Vec<IpAddr> = Vec::new();
    for binding in &ports.bindings {
        let (set, element) = binding_element(binding);
        elements.push(INET, set, element.comment(&comment));
        if binding.host.is_some() && binding.conditions.is_none() {
            let key = Key::new().proto(binding.protocol.number()).port(binding.port);
            let set = by_family(binding.to, "specific4", "specific6");
            elements.push(INET, set, Element::new(key));
        }
        if !backends.contains(&binding.to) {
            backends.push(binding.to);
        }
    }
    for to in backends {
        if ports.hairpin {
            elements.push(INET, by_family(to, "snat4", "snat6"), Element::new(Key::new().ip(to)));
        }
        if ports.masquerade_all {
            let set = by_family(to, "snatall4", "snatall6");
            elements.push(INET, set, Element::new(Key::new().ip(to)));
        }
    }
    elements
}

/// The map and the element that translate a published port.
pub(crate) fn binding_element(binding: &Binding) -> (SetName, Element) {
    let port = |key: Key| key.proto(binding.protocol.number()).port(binding.port);
    let to = Key::new().ip(binding.to).port(binding.to_port);
    let (key, set) = match binding.host {
        Some(host) => (port(Key::new().ip(host)), by_family(host, "exact4", "exact6")),
        None => (port(Key::new()), by_family(binding.to, "any4", "any6")),
    };
    let set = match &binding.conditions {
        Some(id) => conditions::map_name(id, binding.host.is_some()).into(),
        None => set.into(),
    };
    (set, Element::map(key, to))
}

pub(super) fn by_family(address: IpAddr, v4: &'static str, v6: &'static str) -> &'static str {
    if address.is_ipv4() { v4 } else { v6 }
}

/// Who an element belongs to, for readers of `nft list`.
pub(crate) fn comment(id: &AttachmentId) -> String {
    let mut text = format!("{}/{}/{}", id.network, id.owner, id.slot);
    let mut end = text.len().min(COMMENT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
