//! The calls themselves: what each asks of the volumes, and how that is answered.

use std::time::Duration;

use cleat_volumes::records::time::rfc3339;
use cleat_volumes::{Deadline, Order, Volume, Volumes};
use serde::Serialize;
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
    /// It was done: a document.
    Done(Vec<u8>),
    /// It was not; why.
    Failed(String),
    /// Nothing can be said: whoever asked must ask again.
    Silence(String),
}

impl Reply {
    /// As a document.
    pub fn into_document(self) -> Vec<u8> {
        match self {
            Self::Done(document) => document,
            Self::Failed(text) | Self::Silence(text) => rendered(&json!({"Err": text})),
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
            Ok(document) => Reply::Done(document),
            // dockerd takes any error of Get for "no such volume" and forgets the volume's labels
            // and options; only a broken connection makes it ask again.
            Err(error) if request.method == "Get" && !is_final(&error) => {
                Reply::Silence(error.to_string())
            }
            Err(error) => Reply::Failed(error.to_string()),
        }
    }

    fn answered(&self, request: &Request) -> Result<Vec<u8>> {
        match request.method {
            "List" => listed(&self.volumes),
            _ => self.done(request).map(|value| rendered(&value)),
        }
    }

    fn done(&self, request: &Request) -> Result<Value> {
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
                Ok(json!({"Volume": Described::of(&volume), "Err": ""}))
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

/// Thousands of volumes are described one after the other: together they take fifty times the room
/// of the answer.
fn listed(volumes: &Volumes) -> Result<Vec<u8>> {
    let mut document = br#"{"Volumes":["#.to_vec();
    let empty = document.len();
    volumes.each(|volume| {
        if document.len() > empty {
            document.push(b',');
        }
        document.extend(rendered(&Described::of(&volume)));
    })?;
    document.extend_from_slice(br#"],"Err":""}"#);
    Ok(document)
}

fn rendered(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// A volume in Get and List.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Described<'v> {
    name: &'v str,
    mountpoint: String,
    created_at: String,
    status: Status<'v>,
}

impl<'v> Described<'v> {
    fn of(volume: &'v Volume) -> Self {
        Self {
            name: volume.record.name.as_str(),
            mountpoint: mountpoint(volume),
            created_at: rfc3339(volume.record.created),
            status: Status::of(volume),
        }
    }
}
