//! Calls of Docker's volume protocol: the call's name, a line feed, the body. What is understood
//! is kept as it was understood; what is shown shows no secret.

use std::collections::BTreeMap;

use cleat_voldriver::Request;
use cleat_volumes::{Spec, VolumeName, masked, parse};

/// Words whose values nobody may see.
const SECRET: &str = "5ecret5";

/// Parses this.
pub fn volumes(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (call, body) = text.split_once('\n').unwrap_or((&text, ""));
    // Options alone, too, where they need no JSON around them.
    let lines = body.lines().filter_map(|line| line.split_once('='));
    meet(&lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
    let Ok(request) = Request::parse(call, body.as_bytes()) else { return };
    meet(&request.options);
    if let Ok(Ok(name)) = request.named().map(str::parse::<VolumeName>) {
        let name = name.as_str();
        assert!(
            !name.contains(['/', '\0']) && !name.starts_with('.') && name.len() < 256,
            "{name:?}"
        );
    }
}

fn meet(options: &BTreeMap<String, String>) {
    let shown = masked(options);
    assert!(shown.keys().eq(options.keys()));
    if let Some(shown) = shown.get("password") {
        assert!(!shown.contains(SECRET), "a secret is shown: {shown}");
    }
    match parse(options) {
        Ok(spec) => {
            let text = serde_json::to_string(&spec).unwrap();
            assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), spec, "not as it was kept");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
