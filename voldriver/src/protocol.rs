//! Requests as dockerd, Podman and people send them: no body, `null`, keys in any case, values
//! that are not text.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// The calls, without their interface.
pub(crate) const METHODS: &[&str] =
    &["Activate", "Create", "Remove", "Mount", "Unmount", "Path", "Get", "List", "Capabilities"];

const INTERFACES: [&str; 2] = ["VolumeDriver", "Plugin"];

/// A call and what came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// One of the calls there are.
    pub method: &'static str,
    /// `Name`.
    pub name: Option<String>,
    /// `ID`.
    pub id: Option<String>,
    /// `Opts`.
    pub options: BTreeMap<String, String>,
    /// There was nothing in it.
    pub is_empty: bool,
}

impl Request {
    /// Reads a call: `/VolumeDriver.Get`, `VolumeDriver.Get` or `Get`.
    pub fn parse(call: &str, body: &[u8]) -> Result<Self> {
        let word = call.trim_start_matches('/');
        let word = match word.split_once('.') {
            Some((interface, word))
                if INTERFACES.iter().any(|i| i.eq_ignore_ascii_case(interface)) =>
            {
                word
            }
            _ => word,
        };
        let method = METHODS
            .iter()
            .find(|method| method.eq_ignore_ascii_case(word))
            .ok_or_else(|| Error::NoMethod(word.chars().take(64).collect()))?;
        let mut request =
            Self { method, name: None, id: None, options: BTreeMap::new(), is_empty: true };
        let fields = fields(method, body)?;
        request.is_empty = fields.is_empty();
        for (key, value) in fields {
            match key.to_ascii_lowercase().as_str() {
                "name" => request.name = text(method, &key, value)?,
                "id" => request.id = text(method, &key, value)?,
                "opts" | "options" => request.options = options(method, value)?,
                // Later versions may send more.
                _ => {}
            }
        }
        Ok(request)
    }

    /// The volume, without which there is nothing to do.
    pub fn named(&self) -> Result<&str> {
        self.required("Name", self.name.as_deref())
    }

    /// Who mounts.
    pub fn identified(&self) -> Result<&str> {
        self.required("ID", self.id.as_deref())
    }

    fn required<'v>(&self, key: &str, value: Option<&'v str>) -> Result<&'v str> {
        value.ok_or_else(|| {
            let method = self.method;
            // What dockerd sends when it tries again after a broken connection.
            let why = if self.is_empty { "the request has no body" } else { "it is missing" };
            Error::Request(format!("VolumeDriver.{method}: {key}: {why}"))
        })
    }
}

fn fields(method: &str, body: &[u8]) -> Result<Map<String, Value>> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Null) => Ok(Map::new()),
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Error::Request(format!("{method}: the request is not a JSON object"))),
        Err(e) => Err(Error::Request(format!("{method}: the request is not JSON: {e}"))),
    }
}

fn text(method: &str, key: &str, value: Value) -> Result<Option<String>> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(Error::Request(format!("{method}: {key}: expected text"))),
    }
}

fn options(method: &str, value: Value) -> Result<BTreeMap<String, String>> {
    let fields = match value {
        Value::Null => return Ok(BTreeMap::new()),
        Value::Object(fields) => fields,
        _ => return Err(Error::Request(format!("{method}: Opts: expected an object"))),
    };
    let mut options = BTreeMap::new();
    for (key, value) in fields {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text,
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            _ => {
                return Err(Error::Request(format!("{method}: Opts: {key}: expected text")));
            }
        };
        options.insert(key, text);
    }
    Ok(options)
}

/// What this program is, for `Plugin.Activate`.
pub(crate) fn activation() -> Value {
    json!({"Implements": ["VolumeDriver"]})
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_sent() {
        for (call, body, name, options) in [
            ("/VolumeDriver.Create", r#"{"Name":"v","Opts":{"size":"1g"}}"#, Some("v"), 1),
            ("/VolumeDriver.Create", r#"{"name":"v","OPTS":null,"more":[1]}"#, Some("v"), 0),
            ("Create", r#"{"NAME":"v","opts":{"a":1,"b":true,"c":null}}"#, Some("v"), 2),
            ("/volumedriver.list", "", None, 0),
            ("VolumeDriver.List", " null\n", None, 0),
            ("/Plugin.Activate", "{}", None, 0),
        ] {
            let request =
                Request::parse(call.trim_start_matches("/volumedriver."), body.as_bytes());
            let request = request.unwrap();
            assert_eq!(request.name.as_deref(), name, "{call} {body}");
            assert_eq!(request.options.len(), options, "{call} {body}");
        }
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        for (call, body, part) in [
            ("/VolumeDriver.Explode", "", "no such call; there are Activate, Create"),
            ("/VolumeDriver.Get", "[]", "not a JSON object"),
            ("/VolumeDriver.Get", "{", "not JSON"),
            ("/VolumeDriver.Get", r#"{"Name":1}"#, "Name: expected text"),
            ("/VolumeDriver.Create", r#"{"Name":"v","Opts":[]}"#, "Opts: expected an object"),
            ("/VolumeDriver.Create", r#"{"Name":"v","Opts":{"a":[]}}"#, "a: expected text"),
        ] {
            let error = Request::parse(call, body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{call} {body}: {error}");
        }
        let empty = Request::parse("/VolumeDriver.Mount", b"").unwrap();
        assert!(empty.named().unwrap_err().to_string().contains("no body"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(call in ".{0,40}", body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Request::parse(&call, &body);
        }
    }
}
