//! Other people's firewalls. An accept of ours does not overrule a drop in a later chain; so
//! what we let through carries a mark, and one rule per host in iptables' tables accepts it.
//! Never more than that rule, and in the one form that iptables lists and compares rightly.

use cleat_nft::{Backend, ChainInfo, Family, Hook, Result, Rule, Table, Transaction, expr};

use super::MARK;

/// iptables-nft's filter tables.
const TABLES: [Table; 2] = [Table::new(Family::Ip, "filter"), Table::new(Family::Ip6, "filter")];
/// The chain that Docker leaves to the administrator.
const DOCKER: &str = "DOCKER-USER";
const FORWARD: &str = "FORWARD";

/// Inserts the rule where forwarded traffic could be dropped and it is not there yet.
pub fn admit(backend: &mut impl Backend) -> Result<()> {
    for (table, chain) in lacking(backend)? {
        let mut transaction = Transaction::new();
        let accept = Rule::new(vec![expr::mark_has_bit(MARK), expr::counter(), expr::accept()]);
        transaction.insert_rule(table, chain, accept);
        backend.commit(&transaction)?;
    }
    Ok(())
}

/// The chains where forwarded traffic could be dropped and the rule is not there.
pub fn lacking(backend: &mut impl Backend) -> Result<Vec<(Table, &'static str)>> {
    let mut found = Vec::new();
    for table in TABLES {
        let chains = backend.chains(table.family, table.name)?;
        let Some(chain) = chain_to_use(backend, table, &chains)? else {
            continue;
        };
        let rules = backend.rules(table.family, table.name, chain)?;
        if !rules.iter().any(|rule| rule.accepts_mark == Some(MARK)) {
            found.push((table, chain));
        }
    }
    Ok(found)
}

/// Removes the rule wherever it stands.
pub fn withdraw(backend: &mut impl Backend) -> Result<()> {
    for table in TABLES {
        for chain in [DOCKER, FORWARD] {
            for rule in backend.rules(table.family, table.name, chain)? {
                if rule.accepts_mark == Some(MARK) {
                    let mut transaction = Transaction::new();
                    transaction.delete_rule(table, chain, rule.handle);
                    backend.commit(&transaction)?;
                }
            }
        }
    }
    Ok(())
}

/// Base chains of other programs on the forward hook whose policy is drop, and which the rule
/// cannot help: `family table chain`.
pub fn dropping(backend: &mut impl Backend) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (number, table) in backend.tables()? {
        let Some(family) = [Family::Ip, Family::Ip6, Family::Inet]
            .into_iter()
            .find(|family| family.number() == number)
        else {
            continue;
        };
        let ours = table == "cleat" || TABLES.iter().any(|t| t.family == family && t.name == table);
        if ours {
            continue;
        }
        for chain in backend.chains(family, &table)? {
            let forward =
                chain.base.as_ref().is_some_and(|b| b.drop && b.hook == Some(Hook::Forward));
            if forward {
                found.push(format!("{} {table} {}", family.name(), chain.name));
            }
        }
    }
    Ok(found)
}

fn chain_to_use(
    backend: &mut impl Backend,
    table: Table,
    chains: &[ChainInfo],
) -> Result<Option<&'static str>> {
    let Some(forward) = chains.iter().find(|chain| chain.name == FORWARD) else {
        return Ok(None);
    };
    if chains.iter().any(|chain| chain.name == DOCKER) {
        return Ok(Some(DOCKER));
    }
    let drops = forward.base.as_ref().is_some_and(|base| base.drop);
    let has_rules = !backend.rules(table.family, table.name, FORWARD)?.is_empty();
    Ok((drops || has_rules).then_some(FORWARD))
}
