//! Which version of the specification a network is run with.

use crate::SpecVersion;

/// The newest of `cniVersion` and `cniVersions` that we speak. With `cniVersions`, one that we do
/// not know is skipped as long as another is left: it is there for other runtimes.
///
/// # Errors
/// What is wrong, naming the field.
pub(super) fn negotiate(one: &str, many: Option<&[String]>) -> Result<SpecVersion, String> {
    let Some(many) = many.filter(|many| !many.is_empty()) else {
        return one.parse().map_err(|error| format!("cniVersion: {error}"));
    };
    let mut best = None;
    for (index, text) in many.iter().enumerate() {
        if !is_version(text) {
            return Err(format!(
                "cniVersions[{index}]: invalid value {text:?}: expected a version"
            ));
        }
        best = best.max(text.parse::<SpecVersion>().ok());
    }
    if !one.is_empty() {
        if !is_version(one) {
            return Err(format!("cniVersion: invalid value {one:?}: expected a version"));
        }
        best = best.max(one.parse().ok());
    }
    best.ok_or_else(|| {
        let newest = SpecVersion::CURRENT;
        format!("cniVersions: none of {many:?} is known: the newest that is known is {newest}")
    })
}

/// Numbers with dots between, as semver without its extensions.
fn is_version(text: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split('.').count() <= 3 && text.split('.').all(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negotiation() {
        type Case<'a> = (&'a str, Option<&'a [&'a str]>, Result<&'a str, &'a str>);
        let cases: [Case<'_>; 10] = [
            ("", None, Ok("0.1.0")),
            ("1.0.0", None, Ok("1.0.0")),
            ("1.0.0", Some(&[]), Ok("1.0.0")),
            ("0.4.0", Some(&["1.0.0", "0.3.1"]), Ok("1.0.0")),
            ("1.1.0", Some(&["1.0.0"]), Ok("1.1.0")),
            ("", Some(&["9.0.0", "1.0.0"]), Ok("1.0.0")),
            ("9.0.0", Some(&["0.4.0"]), Ok("0.4.0")),
            (
                "1.0.0",
                Some(&["1.x"]),
                Err("cniVersions[0]: invalid value \"1.x\": expected a version"),
            ),
            ("v1", Some(&["1.0.0"]), Err("cniVersion: invalid value \"v1\": expected a version")),
            (
                "",
                Some(&["9.0.0"]),
                Err("cniVersions: none of [\"9.0.0\"] is known: the newest that is known is 1.1.0"),
            ),
        ];
        for (one, many, expected) in cases {
            let many: Option<Vec<String>> =
                many.map(|many| many.iter().map(|text| (*text).to_owned()).collect());
            let found = negotiate(one, many.as_deref());
            let expected = expected.map(|text| text.parse().unwrap()).map_err(str::to_owned);
            assert_eq!(found, expected, "{one:?} {many:?}");
        }
        let error = negotiate("9.9.9", None).unwrap_err();
        assert!(error.starts_with("cniVersion: CNI version \"9.9.9\" is unknown"), "{error}");
    }
}
