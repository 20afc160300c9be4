//! The calls themselves: what each asks of the volumes, and how that is answered.

use std::time::Duration;

use cleat_volumes::records::time::rfc3339;
use cleat_volumes::{Deadline, Order, Volume, Volumes};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::protocol::{Request, activation};
use crate::status::Status;

/// The handlers.
pub struct Calls {
    volumes: Volumes,
    deadline: Duration,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// It was done.
    Done(Value),
    /// It was not; why.
    Failed(String),
    /// Nothing can be said: whoever asked must ask again.
    Silence(String),
}

impl Reply {
    /// As a document.
    pub fn document(&self) -> Value {
        match self {
            Self::Done(value) => value.clone(),
            Self::Failed(text) | Self::Silence(text) => json!({"Err": text}),
        }
    }

    /// It was done.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}

impl Calls {
    /// Calls about these volumes, each given up after a time.
    pub fn new(volumes: Volumes, deadline: Duration) -> Self {
        Self { volumes, deadline }
    }

    /// The volumes.
    pub fn volumes(&self) -> &Volumes {
        &self.volumes
    }

    /// How long a call may take.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Does a call.
    pub fn answer(&self, request: &Request) -> Reply {
        match self.answered(request) {
            Ok(value) => Reply::Done(value),
            // dockerd takes any error of Get for "no such volume" and forgets the volume's labels
            // and options; only a broken connection makes it ask again.
            Err(error) if request.method == "Get" && !is_final(&error) => {
                Reply::Silence(error.to_string())
            }
            Err(error) => Reply::Failed(error.to_string()),
        }
    }

    fn answered(&self, request: &Request) -> Result<Value> {
        let volumes = &self.volumes;
        let deadline = Deadline::after(self.deadline);
        let nothing = json!({"Err": ""});
        match request.method {
            "Activate" => Ok(activation()),
            "Capabilities" => Ok(json!({"Capabilities": {"Scope": "local"}, "Err": ""})),
            "Create" => {
                let order = Order {
                    name: request.named()?.to_owned(),
                    options: request.options.clone(),
                    made_for: Some("plugin".into()),
                    ..Order::default()
                };
                volumes.create(&order, deadline)?;
                Ok(nothing)
            }
            "Remove" => match volumes.remove(request.named()?, false, deadline) {
                // It may have been removed before a connection broke.
                Err(error) if error.is_no_volume() => Ok(nothing),
                outcome => Ok(outcome.map(|_| nothing)?),
            },
            "Mount" => {
                let path = volumes.mount(request.named()?, request.identified()?, deadline)?;
                Ok(json!({"Mountpoint": path, "Err": ""}))
            }
            "Unmount" => {
                volumes.unmount(request.named()?, request.identified()?, deadline)?;
                Ok(nothing)
            }
            "Path" => {
                let volume = volumes.get(request.named()?)?;
                Ok(json!({"Mountpoint": mountpoint(&volume), "Err": ""}))
            }
            "Get" => {
                let volume = volumes.get(request.named()?)?;
                Ok(json!({"Volume": described(&volume), "Err": ""}))
            }
            "List" => {
                let all: Vec<Value> = volumes.list()?.iter().map(described).collect();
                Ok(json!({"Volumes": all, "Err": ""}))
            }
            other => Err(Error::NoMethod(other.to_owned())),
        }
    }
}

/// The volume is known not to be there, or there cannot be one.
fn is_final(error: &Error) -> bool {
    match error {
        Error::Volumes(error) => error.is_no_volume() || error.is_request(),
        _ => false,
    }
}

/// Empty as long as nothing is seen there.
fn mountpoint(volume: &Volume) -> String {
    if volume.is_mounted() { volume.mountpoint.display().to_string() } else { String::new() }
}

fn described(volume: &Volume) -> Value {
    json!({
        "Name": volume.record.name,
        "Mountpoint": mountpoint(volume),
        "CreatedAt": rfc3339(volume.record.created),
        "Status": Status::of(volume),
    })
}
