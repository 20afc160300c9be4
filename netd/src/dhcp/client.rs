//! Both families by the same words.

use std::net::IpAddr;

use cleat_front::dhcp::{Asked, Leased};

use super::exchange::Pace;
use super::failure::Failure;
use super::lease::Held;
use super::link::Link;
use super::settings::Settings;
use super::{v4, v6};

/// Leases an address of a family; `before` is hoped for.
pub(super) async fn acquire(
    link: &Link,
    asked: &Asked,
    (ipv6, before): (bool, Option<IpAddr>),
    settings: &Settings,
) -> Result<(Held, Leased), Failure> {
    match ipv6 {
        true => v6::acquire(link, asked, before, settings).await,
        false => v4::acquire(link, asked, before, settings).await,
    }
}

/// Asks for more time: the server that gave it, or `any`.
pub(super) async fn extend(
    link: &Link,
    asked: &Asked,
    held: &Held,
    any: (bool, Pace),
    settings: &Settings,
) -> Result<Held, Failure> {
    match held.address {
        IpAddr::V6(_) => v6::extend(link, asked, held, any).await,
        IpAddr::V4(_) => v4::extend(link, asked, held, any, settings).await,
    }
}

/// Gives it back.
pub(super) async fn release(
    link: &Link,
    asked: &Asked,
    held: &Held,
    settings: &Settings,
) -> Result<(), Failure> {
    match held.address {
        IpAddr::V6(_) => v6::release(link, asked, held).await,
        IpAddr::V4(_) => v4::release(link, asked, held, settings),
    }
}
