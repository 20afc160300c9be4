//! DHCPv4 options as a configuration names them.

use cleat_cni::Error;

/// Names that the reference knows, those of dhcp-options(5) for what a result can hold besides.
const NAMES: &[(&str, u8)] = &[
    ("subnet-mask", 1),
    ("routers", 3),
    ("domain-name-servers", 6),
    ("host-name", 12),
    ("domain-name", 15),
    ("static-routes", 33),
    ("vendor-class-identifier", 60),
    ("dhcp-client-identifier", 61),
    ("user-class", 77),
    ("domain-search", 119),
    ("classless-static-routes", 121),
];
/// Padding and the end mark are none.
const NUMBERS: std::ops::RangeInclusive<u8> = 1..=254;

/// The number of an option by its name or its number.
pub(super) fn number(field: &str, text: &str) -> Result<u8, Error> {
    let known = NAMES.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    let given = known.or_else(|| text.parse().ok()).filter(|number| NUMBERS.contains(number));
    given.ok_or_else(|| {
        let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        Error::invalid_config(format!(
            "{field}: {text:?} is no number in 1..254 and none of {}",
            names.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name_and_by_number() {
        assert_eq!(number("x", "host-name"), Ok(12));
        assert_eq!(number("x", "121"), Ok(121));
        for bad in ["", "0", "255", "256", "-1", "hostname"] {
            let error = number("ipam.request[0].option", bad).unwrap_err().to_string();
            assert!(error.contains("ipam.request[0].option"), "{error}");
        }
    }
}
