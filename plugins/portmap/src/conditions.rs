//! `conditionsV4` and `conditionsV6`: arguments in iptables' or in nft's syntax, as the reference
//! plugin passes them on. Here they are understood, so what is not is refused by name.

use std::net::IpAddr;

use cleat_cni::Error;
use cleat_engine::ruleset::conditions::{Condition, Conditions};
use ipnet::IpNet;

/// Which syntax a list is in: the first character tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// `-s 192.0.2.0/24 ! -i eth1`.
    Iptables,
    /// `ip saddr 192.0.2.0/24 iifname != eth1`.
    Nft,
}

/// Reads one family's conditions; none for an empty list.
pub(crate) fn read(
    field: &str,
    ipv6: bool,
    words: &[String],
) -> Result<Option<(Syntax, Conditions)>, Error> {
    // An element of the list may hold several words.
    let mut words = words.iter().flat_map(|text| text.split_whitespace()).peekable();
    let Some(first) = words.peek() else {
        return Ok(None);
    };
    let syntax = if first.starts_with(['-', '!']) { Syntax::Iptables } else { Syntax::Nft };
    let mut all = Vec::new();
    while let Some(word) = words.next() {
        let condition = match syntax {
            Syntax::Iptables => iptables(word, &mut words),
            Syntax::Nft => nft(ipv6, word, &mut words),
        };
        let condition = condition.ok_or_else(|| {
            Error::unsupported_field(
                field,
                format!(
                    "{word:?}: known are source, destination and incoming interface, each \
                         with an address of the family or a name, as in \"-s 192.0.2.0/24\", \
                         \"! -i eth1\", \"ip daddr != 192.0.2.1\", \"iifname eth0\""
                ),
            )
        })?;
        if let Condition::Source(net, _) | Condition::Destination(net, _) = &condition
            && net.addr().is_ipv6() != ipv6
        {
            let family = if ipv6 { "IPv6" } else { "IPv4" };
            return Err(Error::invalid_config(format!(
                "{field}: {net} is not an {family} network"
            )));
        }
        all.push(condition);
    }
    Ok(Some((syntax, Conditions::new(ipv6, all))))
}

fn iptables<'w>(first: &str, words: &mut impl Iterator<Item = &'w str>) -> Option<Condition> {
    let not = first == "!";
    let option = if not { words.next()? } else { first };
    let value = words.next()?;
    match option {
        "-s" | "--source" | "--src" => Some(Condition::Source(network(value)?, not)),
        "-d" | "--destination" | "--dst" => Some(Condition::Destination(network(value)?, not)),
        "-i" | "--in-interface" => Some(Condition::Input(interface(value)?, not)),
        _ => None,
    }
}

fn nft<'w>(
    ipv6: bool,
    first: &str,
    words: &mut impl Iterator<Item = &'w str>,
) -> Option<Condition> {
    let field = match first {
        "ip" if !ipv6 => words.next()?,
        "ip6" if ipv6 => words.next()?,
        "iifname" | "iif" => "iifname",
        "meta" => match words.next()? {
            "iifname" | "iif" => "iifname",
            _ => return None,
        },
        _ => return None,
    };
    let word = words.next()?;
    let (not, value) = match word {
        "!=" => (true, words.next()?),
        "==" => (false, words.next()?),
        value => (false, value),
    };
    match field {
        "saddr" => Some(Condition::Source(network(value)?, not)),
        "daddr" => Some(Condition::Destination(network(value)?, not)),
        "iifname" => Some(Condition::Input(interface(value.trim_matches('"'))?, not)),
        _ => None,
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().map(IpNet::from).ok())
        .map(|net| net.trunc())
}

fn interface(text: &str) -> Option<String> {
    cleat_cni::name::check_interface(text).ok().map(|()| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(ipv6: bool, words: &[&str]) -> Result<Option<(Syntax, Conditions)>, Error> {
        let words: Vec<String> = words.iter().map(|&w| w.to_owned()).collect();
        read("conditionsV4", ipv6, &words)
    }

    #[test]
    fn both_syntaxes_mean_the_same() {
        let (_, iptables) =
            parse(false, &["-s", "192.0.2.0/24", "!", "-i", "eth1"]).unwrap().unwrap();
        let (_, nft) =
            parse(false, &["ip saddr 192.0.2.0/24", "iifname", "!=", "\"eth1\""]).unwrap().unwrap();
        assert_eq!(iptables, nft);
        assert_eq!(iptables.id(), nft.id());
        assert!(parse(false, &[]).unwrap().is_none());
        assert_eq!(parse(true, &["ip6", "daddr", "2001:db8::1"]).unwrap().unwrap().0, Syntax::Nft);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for words in [
            &["-p", "tcp"][..],
            &["-s"],
            &["-s", "nowhere"],
            &["-s", "2001:db8::/64"],
            &["!"],
            &["ip6", "saddr", "2001:db8::/64"],
            &["tcp", "dport", "80"],
            &["iifname", "a/b"],
        ] {
            assert!(parse(false, words).is_err(), "{words:?}");
        }
    }
}
