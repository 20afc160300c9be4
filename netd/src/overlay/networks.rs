//! Networks in the store: made and removed in one transaction each, so that no two have one name,
//! one VNI or common addresses, whoever makes them at once.

use std::collections::BTreeSet;

use cleat_engine::overlay::OverlayNetwork;

use super::documents::{self, Claim, Host, VniHolder, decode, encode};
use super::error::{Error, Result};
use super::keys::{self, Key};
use super::request::{LAST_VNI, NetworkRequest};
use super::store::{Condition, Entry, Listing, Outcome, Range, Store, Txn, Write};

/// VNIs are given out from here on.
const FIRST_VNI: u32 = 4096;
/// Transactions that lost before it is said.
const TRIES: u32 = 16;

/// All networks that this version understands; what it does not is given as errors.
///
/// # Errors
/// The store could not be asked.
pub async fn list(store: &dyn Store) -> Result<(Vec<OverlayNetwork>, Vec<Error>)> {
    Ok(understood(&store.list(&keys::networks()).await?))
}

fn understood(listing: &Listing) -> (Vec<OverlayNetwork>, Vec<Error>) {
    let (mut networks, mut errors) = (Vec::new(), Vec::new());
    for Entry { key, value, .. } in &listing.entries {
        let Some(Key::Network(name)) = Key::parse(key) else { continue };
        match documents::decode_network(key, name, value) {
            Ok(network) => networks.push(network),
            Err(error) => errors.push(error),
        }
    }
    (networks, errors)
}

/// Makes one. `id` is new and random, `now` in milliseconds since 1970.
///
/// # Errors
/// [`Error::Network`] for what is wrong with the request, or collides with another network.
pub async fn create(
    store: &dyn Store,
    request: &NetworkRequest,
    id: &str,
    now: u64,
) -> Result<OverlayNetwork> {
    request.check()?;
    for _ in 0..TRIES {
        let there = store.list(&keys::networks()).await?;
        let (networks, mut errors) = understood(&there);
        // What a newer version wrote may overlap in ways that are not seen here.
        if let Some(error) = errors.pop() {
            return Err(error);
        }
        if let Some(same) = networks.iter().find(|network| network.name == request.name) {
            if same.id == id {
                return Ok(same.clone());
            }
            let problem = format!(
                "{:?} is there already; choose another name, or remove that one",
                request.name
            );
            return Err(Error::Network { network: request.name.clone(), field: "name", problem });
        }
        let vni = vni(store, request).await?;
        let network = request.resolve(&networks, id, vni, now)?;
        match store.commit(&creation(&network, there.at.revision)?).await {
            Ok(Outcome::Committed(_)) => return Ok(network),
            // Somebody else made one meanwhile, or the answer got lost: the next look tells.
            Ok(Outcome::Refused) => {}
            Err(error) if error.may_have_happened() => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::Lost { doing: "make a network", tries: TRIES })
}

/// Tells the store of a network that it has forgotten, as it was; false: look again.
///
/// # Errors
/// [`Error::Network`]: another one has its name, its VNI or some of its addresses.
pub(super) async fn tell(
    store: &dyn Store,
    network: &OverlayNetwork,
    fence: Condition,
) -> Result<bool> {
    let there = store.list(&keys::networks()).await?;
    let (networks, _) = understood(&there);
    if networks.iter().any(|other| other.id == network.id) {
        return Ok(true);
    }
    let mut request = NetworkRequest::new(network.name.as_str());
    request.subnets.clone_from(&network.subnets);
    (request.block_v4, request.block_v6) = (Some(network.block_v4), Some(network.block_v6));
    request.vni = Some(network.vni);
    if networks.iter().any(|other| other.name == network.name) {
        let problem = format!("{:?} is another network", network.name);
        return Err(Error::Network { network: network.name.clone(), field: "name", problem });
    }
    let vni = vni(store, &request).await?;
    request.resolve(&networks, &network.id, vni, network.created)?;
    let mut txn = creation(network, there.at.revision)?;
    txn.conditions.push(fence);
    match store.commit(&txn).await {
        Ok(outcome) => Ok(outcome.is_committed()),
        Err(error) if error.may_have_happened() => Ok(false),
        Err(error) => Err(error),
    }
}

fn creation(network: &OverlayNetwork, seen: i64) -> Result<Txn> {
    let (key, vni) = (keys::network(&network.name), keys::vni(network.vni));
    let holder = VniHolder { network: network.name.clone(), id: network.id.clone() };
    Ok(Txn::new(
        [
            Condition::Absent(key.clone()),
            Condition::Absent(vni.clone()),
            // Those that were looked at for overlaps are all there are.
            Condition::NothingNewer(keys::networks(), seen),
        ],
        [
            Write::put(key.as_str(), encode(&key, network)?),
            Write::put(vni.as_str(), encode(&vni, &holder)?),
        ],
    ))
}

/// The one that is asked for, if it is free, or the first that is.
async fn vni(store: &dyn Store, request: &NetworkRequest) -> Result<u32> {
    let listing = store.list(&keys::vnis()).await?;
    let number = |entry: &Entry| match Key::parse(&entry.key) {
        Some(Key::Vni(number)) => Some(number),
        _ => None,
    };
    let wrong =
        |problem: String| Error::Network { network: request.name.clone(), field: "vni", problem };
    if let Some(asked) = request.vni {
        let Some(entry) = listing.entries.iter().find(|entry| number(entry) == Some(asked)) else {
            return Ok(asked);
        };
        let by = decode::<VniHolder>(&entry.key, &entry.value)?.network;
        return Err(wrong(format!(
            "{asked} belongs to overlay network {by:?}; choose another one, or leave it out"
        )));
    }
    let taken: BTreeSet<u32> = listing.entries.iter().filter_map(number).collect();
    (FIRST_VNI..=LAST_VNI)
        .find(|number| !taken.contains(number))
        .ok_or_else(|| wrong(format!("none from {FIRST_VNI} on is free; give one")))
}

/// Removes one that nobody owns a block of.
///
/// # Errors
/// [`Error::InUse`] naming the nodes; [`Error::Missing`].
pub async fn remove(store: &dyn Store, name: &str) -> Result<()> {
    let key = keys::network(name);
    for attempt in 0..TRIES {
        let Some(entry) = read(store, &key).await? else {
            // Our own removal, whose answer got lost.
            return if attempt > 0 { Ok(()) } else { Err(missing(name)) };
        };
        let network = documents::decode_network(&key, name, &entry.value)?;
        let claims = store.list(&keys::claims(&network.id)).await?;
        if !claims.entries.is_empty() {
            let hosts = store.list(&keys::hosts()).await?;
            return Err(in_use(name, &claims, &hosts));
        }
        let txn = Txn::new(
            [
                Condition::Unchanged(key.clone(), entry.revision),
                Condition::Empty(keys::claims(&network.id)),
            ],
            [
                Write::Delete(key.clone()),
                Write::Delete(keys::vni(network.vni)),
                Write::DeleteAll(keys::names(&network.id)),
                Write::DeleteAll(keys::asks(&network.id)),
            ],
        );
        match store.commit(&txn).await {
            Ok(Outcome::Committed(_)) => return Ok(()),
            Ok(Outcome::Refused) => {}
            Err(error) if error.may_have_happened() => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::Lost { doing: "remove a network", tries: TRIES })
}

pub(super) fn missing(name: &str) -> Error {
    Error::Missing { kind: "network", name: name.to_owned(), hint: "see `cleat network ls`" }
}

fn in_use(name: &str, claims: &Listing, hosts: &Listing) -> Error {
    let owner = |entry: &Entry| Some(decode::<Claim>(&entry.key, &entry.value).ok()?.node);
    let owners: BTreeSet<String> = claims.entries.iter().filter_map(owner).collect();
    let called = |id: &String| {
        let host = hosts.entries.iter().find(|entry| entry.key == keys::host(id));
        let host = host.and_then(|entry| decode::<Host>(&entry.key, &entry.value).ok());
        host.map_or_else(|| id.clone(), |host| format!("{} ({id})", host.name))
    };
    let owners: Vec<String> = owners.iter().map(called).collect();
    Error::InUse {
        network: name.to_owned(),
        users: format!(
            "addresses belong to node {}; end its containers there, or forget the node if it is gone (cleat node forget)",
            owners.join(", ")
        ),
    }
}

/// One key.
pub(super) async fn read(store: &dyn Store, key: &str) -> Result<Option<Entry>> {
    let listing = store.list(&Range::between(key, format!("{key}\0"))).await?;
    Ok(listing.entries.into_iter().next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::store::Memory;

    fn asked(name: &str, subnet: &str) -> NetworkRequest {
        let mut request = NetworkRequest::new(name);
        request.subnets = vec![subnet.parse().unwrap()];
        request
    }

    #[tokio::test]
    async fn names_vnis_and_addresses_belong_to_one_network() {
        let store = Memory::new(1).client(None);
        let a = create(&store, &asked("a", "10.1.0.0/16"), "1", 0).await.unwrap();
        assert_eq!(a.vni, 4096);
        let same = create(&store, &asked("a", "10.2.0.0/16"), "2", 0).await.unwrap_err();
        assert!(same.to_string().contains("there already"), "{same}");
        let overlap = create(&store, &asked("b", "10.1.4.0/22"), "2", 0).await.unwrap_err();
        assert!(overlap.to_string().contains("overlaps 10.1.0.0/16"), "{overlap}");
        let mut third = asked("c", "10.3.0.0/16");
        third.vni = Some(4096);
        let vni = create(&store, &third, "3", 0).await.unwrap_err();
        assert!(vni.to_string().contains("4096 belongs to overlay network \"a\""), "{vni}");
        third.vni = Some(7);
        create(&store, &third, "3", 0).await.unwrap();
        assert_eq!(create(&store, &asked("d", "10.4.0.0/16"), "4", 0).await.unwrap().vni, 4097);
        let (networks, errors) = list(&store).await.unwrap();
        assert_eq!((networks.len(), errors.len()), (3, 0));
        remove(&store, "a").await.unwrap();
        assert!(matches!(remove(&store, "a").await, Err(Error::Missing { .. })));
        assert_eq!(create(&store, &asked("e", "10.1.0.0/16"), "5", 0).await.unwrap().vni, 4096);
    }

    #[tokio::test]
    async fn an_answer_that_got_lost_makes_no_second_network_and_no_error() {
        let store = Memory::new(1).client(None);
        store.lose_answers(1);
        create(&store, &asked("a", "10.1.0.0/16"), "1", 0).await.unwrap();
        assert_eq!(list(&store).await.unwrap().0.len(), 1);
        store.lose_answers(1);
        remove(&store, "a").await.unwrap();
        assert!(store.list(&Range::all()).await.unwrap().entries.is_empty());
    }

    #[tokio::test]
    async fn a_network_that_somebody_has_addresses_of_stays() {
        let store = Memory::new(1).client(None);
        let network = create(&store, &asked("a", "10.1.0.0/16"), "1", 0).await.unwrap();
        let key = keys::claim(&network.id, &"10.1.1.0/24".parse().unwrap());
        let claim = Claim { node: "n1".into(), nonce: String::new(), granted_by: None };
        store
            .commit(&Txn::new([], [Write::put(key.as_str(), encode(&key, &claim).unwrap())]))
            .await
            .unwrap();
        let error = remove(&store, "a").await.unwrap_err().to_string();
        assert!(error.contains("node n1"), "{error}");
    }

    #[tokio::test]
    async fn what_a_newer_version_wrote_is_left_alone() {
        let store = Memory::new(1).client(None);
        store.commit(&Txn::new([], [Write::put("network/new", "{\"schema\":9}")])).await.unwrap();
        assert_eq!(list(&store).await.unwrap().1.len(), 1);
        let error = create(&store, &asked("a", "10.1.0.0/16"), "1", 0).await.unwrap_err();
        assert!(error.to_string().contains("schema 9 is newer"), "{error}");
    }
}
