//! Other people's firewalls. An accept of ours does not overrule a drop in a later chain; so
//! what we let through carries a mark, and one rule per host in iptables' tables accepts it.
//! Never more than that rule, and in the one form that iptables lists and compares rightly.

use cleat_nft::{Backend, ChainInfo, Family, Hook, Result, Rule, Table, Transaction, expr};

/// iptables-nft's filter tables.
const TABLES: [Table; 2] = [Table::new(Family::Ip, "filter"), Table::new(Family::Ip6, "filter")];
/// The chain that Docker leaves to the administrator.
const DOCKER: &str = "DOCKER-USER";
const FORWARD: &str = "FORWARD";
const INPUT: &str = "INPUT";

/// What is to be let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// The bit of the packet mark that it carries.
    pub mark: u32,
    /// Some of it is for the host itself.
    pub input: bool,
}

/// Inserts the rule where what has to pass could be dropped and it is not there yet.
pub fn admit(backend: &mut impl Backend, passage: Passage) -> Result<()> {
    for (table, chain) in lacking(backend, passage)? {
        let mut transaction = Transaction::new();
        let has_mark = expr::mark_has_bit(passage.mark);
        let accept = Rule::new(vec![has_mark, expr::counter(), expr::accept()]);
        transaction.insert_rule(table, chain, accept);
        backend.commit(&transaction)?;
    }
    Ok(())
}

/// The chains where what has to pass could be dropped and the rule is not there.
pub fn lacking(backend: &mut impl Backend, passage: Passage) -> Result<Vec<(Table, &'static str)>> {
    let mut found = Vec::new();
    for table in TABLES {
        let chains = backend.chains(table.family, table.name)?;
        let forward = could_drop(backend, table, &chains, FORWARD)?;
        // Docker's chain is there for rules before its own, which FORWARD holds.
        let docker = chains.iter().any(|chain| chain.name == DOCKER);
        let forward = forward.then_some(if docker { DOCKER } else { FORWARD });
        let input = passage.input && could_drop(backend, table, &chains, INPUT)?;
        for chain in forward.into_iter().chain(input.then_some(INPUT)) {
            let rules = backend.rules(table.family, table.name, chain)?;
            if !rules.iter().any(|rule| rule.accepts_mark == Some(passage.mark)) {
                found.push((table, chain));
            }
        }
    }
    Ok(found)
}

/// Removes the rule wherever it stands.
pub fn withdraw(backend: &mut impl Backend, mark: u32) -> Result<()> {
    for table in TABLES {
        for chain in [DOCKER, FORWARD, INPUT] {
            for rule in backend.rules(table.family, table.name, chain)? {
                if rule.accepts_mark == Some(mark) {
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

/// By its policy, or by a rule: any rule may, and telling which does is iptables' business.
fn could_drop(
    backend: &mut impl Backend,
    table: Table,
    chains: &[ChainInfo],
    name: &str,
) -> Result<bool> {
    let Some(chain) = chains.iter().find(|chain| chain.name == name) else {
        return Ok(false);
    };
    let drops = chain.base.as_ref().is_some_and(|base| base.drop);
    Ok(drops || !backend.rules(table.family, table.name, name)?.is_empty())
}
