//! Kubernetes' FlexVolume, an exec-style protocol (kubelet's `--volume-plugin-dir`): `init`,
//! `mount DIR OPTIONS`, `unmount DIR`, each answered by one JSON document. Nothing is attached.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use cleat_volumes::{Deadline, Order, Target};
use serde_json::{Value, json};

use crate::args::Command;
use crate::calls::Calls;
use crate::error::{Error, Result};

/// Does a verb, and prints how it went.
pub fn run(calls: &Calls, command: &Command) -> ExitCode {
    let outcome = match command {
        Command::Init => Ok(json!({"status": "Success", "capabilities": {"attach": false}})),
        Command::Mount { directory, options } => mount(calls, directory, options),
        Command::Unmount { directory } => unmount(calls, directory),
        // Not of this protocol.
        Command::Run(_) | Command::Call { .. } => Ok(json!({"status": "Not supported"})),
    };
    let (document, code) = match outcome {
        Ok(document) => (document, ExitCode::SUCCESS),
        Err(error) => {
            (json!({"status": "Failure", "message": error.to_string()}), ExitCode::FAILURE)
        }
    };
    let _ = writeln!(std::io::stdout(), "{document}");
    code
}

/// The volume is named by the option `volume`, else by what Kubernetes calls it; all other
/// options of ours make it if it is not there.
fn mount(calls: &Calls, directory: &Path, options: &str) -> Result<Value> {
    let given: BTreeMap<String, Value> = serde_json::from_str(options)
        .map_err(|e| Error::Request(format!("options: not a JSON object: {e}")))?;
    let text = |key: &str| given.get(key).and_then(Value::as_str);
    let name = text("volume")
        .or_else(|| text("kubernetes.io/pvOrVolumeName"))
        .ok_or_else(|| Error::Request("options: volume: it is missing".into()))?;
    let own = given.iter().filter(|(key, _)| !key.contains('/') && *key != "volume");
    let own = own.map(|(key, value)| {
        (key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    });
    let deadline = Deadline::after(calls.deadline());
    let volumes = calls.volumes();
    if let Err(error) = volumes.get(name) {
        if !error.is_no_volume() {
            return Err(error.into());
        }
        let order = Order {
            name: name.to_owned(),
            options: own.collect(),
            made_for: Some("kubernetes".into()),
            ..Order::default()
        };
        volumes.create(&order, deadline)?;
    }
    let target = Target {
        path: directory.to_owned(),
        read_only: text("kubernetes.io/readwrite") == Some("ro"),
        ..Target::default()
    };
    std::fs::create_dir_all(directory).map_err(|source| Error::File {
        op: "make directory",
        path: directory.to_owned(),
        source,
    })?;
    volumes.publish(name, &id(directory), &target, deadline)?;
    Ok(json!({"status": "Success"}))
}

fn unmount(calls: &Calls, directory: &Path) -> Result<Value> {
    let deadline = Deadline::after(calls.deadline());
    let id = id(directory);
    let volumes = calls.volumes();
    for name in volumes.touched()? {
        if volumes.get(&name).is_ok_and(|volume| volume.uses.published.contains_key(&id)) {
            volumes.unpublish(&name, &id, deadline)?;
        }
    }
    Ok(json!({"status": "Success"}))
}

/// Kubernetes names no user but the directory.
fn id(directory: &Path) -> String {
    format!("flex:{}", directory.display())
}
