//! Which names of networks, containers and interfaces are allowed.
//!
//! The rules and the words are the reference implementation's (`pkg/utils`); they keep names
//! usable as file names.

use crate::Error;

/// IFNAMSIZ less the final zero.
const INTERFACE_MAX: usize = 15;

/// A letter or digit, then letters, digits, `_`, `.`, `-`.
fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// Checks the name of a network.
///
/// # Errors
/// Code 7.
pub fn check_network(name: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::invalid_config("missing network name"));
    }
    if !is_plain(name) {
        let error = Error::invalid_config("invalid characters found in network name");
        return Err(error.with_details(name));
    }
    Ok(())
}

/// Checks the id of a container.
///
/// # Errors
/// Code 4.
pub fn check_container_id(id: &str) -> Result<(), Error> {
    if !is_plain(id) {
        let error = Error::invalid_environment("invalid characters in containerID");
        return Err(error.with_details(id));
    }
    Ok(())
}

/// Checks the name of an interface.
///
/// # Errors
/// Code 4.
pub fn check_interface(name: &str) -> Result<(), Error> {
    let error = |msg: &str| Err(Error::invalid_environment(msg).with_details(name));
    if name.is_empty() {
        return error("interface name is empty");
    }
    if name.len() > INTERFACE_MAX {
        return Err(Error::invalid_environment("interface name is too long")
            .with_details(format!("{name}: interface name should be less than 16 characters")));
    }
    if name == "." || name == ".." {
        return error("interface name is . or ..");
    }
    if name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) {
        return error("interface name contains / or : or whitespace characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "0-._x", "A.b"] {
            assert_eq!(check_network(good), Ok(()));
            assert_eq!(check_container_id(good), Ok(()));
        }
        for bad in ["", ".a", "-a", "a/b", "a b", "é", "a\n", ".."] {
            assert_eq!(check_network(bad).unwrap_err().code, 7, "{bad:?}");
            assert_eq!(check_container_id(bad).unwrap_err().code, 4, "{bad:?}");
        }
        for good in ["eth0", "a.b", "...", "123456789012345"] {
            assert_eq!(check_interface(good), Ok(()));
        }
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "a\u{a0}b", "1234567890123456"] {
            assert_eq!(check_interface(bad).unwrap_err().code, 4, "{bad:?}");
        }
    }
}
