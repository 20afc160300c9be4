//! firewalld on the system bus: its zones, and the news of it. Calls go to the process that has
//! the name now, so that none of them starts firewalld.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use zbus::fdo::{self, DBusProxy};
use zbus::message::Type;
use zbus::names::{BusName, OwnedUniqueName};
use zbus::{Connection, MatchRule, MessageStream};

use super::zones::Zones;

const NAME: &str = "org.fedoraproject.FirewallD1";
const PATH: &str = "/org/fedoraproject/FirewallD1";
const ZONE: &str = "org.fedoraproject.FirewallD1.zone";
/// It answers nothing while it starts or reloads, which takes some seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// The system bus.
pub(super) struct Bus {
    connection: Connection,
    came_or_went: MessageStream,
    reloaded: MessageStream,
}

/// firewalld as it runs now.
pub(super) struct Firewalld<'b> {
    connection: &'b Connection,
    owner: OwnedUniqueName,
}

impl Bus {
    /// `None` where there is no bus.
    pub(super) async fn connect() -> zbus::Result<Option<Self>> {
        let builder = zbus::connection::Builder::system()?.method_timeout(PATIENCE);
        let connection = match builder.build().await {
            Ok(connection) => connection,
            Err(zbus::Error::Connection(..) | zbus::Error::InputOutput(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let signal = || MatchRule::builder().msg_type(Type::Signal);
        let came_or_went = signal()
            .sender("org.freedesktop.DBus")?
            .interface("org.freedesktop.DBus")?
            .member("NameOwnerChanged")?
            .arg(0, NAME)?
            .build();
        let reloaded =
            signal().sender(NAME)?.interface(NAME)?.member("Reloaded")?.path(PATH)?.build();
        Ok(Some(Self {
            came_or_went: MessageStream::for_match_rule(came_or_went, &connection, None).await?,
            reloaded: MessageStream::for_match_rule(reloaded, &connection, None).await?,
            connection,
        }))
    }

    /// Waits until firewalld has come, gone or reloaded; false if the bus is gone.
    pub(super) async fn news(&mut self) -> bool {
        let message = tokio::select! {
            message = self.came_or_went.next() => message,
            message = self.reloaded.next() => message,
        };
        matches!(message, Some(Ok(_)))
    }

    /// firewalld, if it runs.
    pub(super) async fn firewalld(&self) -> zbus::Result<Option<Firewalld<'_>>> {
        let bus = DBusProxy::new(&self.connection).await?;
        match bus.get_name_owner(BusName::try_from(NAME)?).await {
            Ok(owner) => Ok(Some(Firewalld { connection: &self.connection, owner })),
            Err(fdo::Error::NameHasNoOwner(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Firewalld<'_> {
    /// All zones.
    pub(super) async fn zones(&self) -> zbus::Result<Zones> {
        let names: Vec<String> = self.call("getZones", &()).await?.body().deserialize()?;
        let active = self.call("getActiveZones", &()).await?;
        let active: HashMap<String, HashMap<String, Vec<String>>> = active.body().deserialize()?;
        let interfaces = active.into_iter().filter_map(|(zone, mut members)| {
            members.remove("interfaces").map(|interfaces| (zone, interfaces))
        });
        Ok(Zones::new(names, interfaces))
    }

    /// Puts an interface into a zone, until firewalld ends.
    pub(super) async fn add(&self, zone: &str, interface: &str) -> zbus::Result<()> {
        self.call("addInterface", &(zone, interface)).await.map(drop)
    }

    /// Takes it out.
    pub(super) async fn remove(&self, zone: &str, interface: &str) -> zbus::Result<()> {
        self.call("removeInterface", &(zone, interface)).await.map(drop)
    }

    async fn call<B>(&self, method: &str, body: &B) -> zbus::Result<zbus::Message>
    where
        B: serde::Serialize + zbus::zvariant::DynamicType,
    {
        self.connection.call_method(Some(&self.owner), PATH, Some(ZONE), method, body).await
    }
}
