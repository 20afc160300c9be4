//! The wire form of a `bandwidth` configuration, and what it means.

use std::time::Duration;

use cleat_cni::{Error, Request};
use cleat_engine::bandwidth::{Bandwidth, Limit};
use cleat_front::{attachment, runtime_value};
use serde::Deserialize;

/// Runtimes send the largest integer of some kind where nobody asked for a burst; taken at its
/// word, half a gigabyte would pass before the limit began.
const UNSET: u64 = i32::MAX as u64;
const LONGEST_LATENCY: u64 = 10_000;
const LATENCY: Duration = Duration::from_millis(25);
/// A burst that nobody chose lasts this long at the full rate.
const BURST: Duration = Duration::from_millis(100);
const SMALLEST_BURST: u64 = 32 * 1024;

/// In bits per second and bits.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Rates {
    ingress_rate: u64,
    ingress_burst: u64,
    egress_rate: u64,
    egress_burst: u64,
}

impl Rates {
    fn is_given(&self) -> bool {
        [self.ingress_rate, self.ingress_burst, self.egress_rate, self.egress_burst] != [0; 4]
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    /// In milliseconds.
    latency: Option<u64>,
}

/// The limits that the request asks for: the configuration's own before the runtime's.
pub(crate) fn read(request: &Request) -> Result<Bandwidth, Error> {
    let (wire, own): (Wire, Rates) = (request.config_as()?, request.config_as()?);
    let rates =
        if own.is_given() { own } else { runtime_value(request, "bandwidth")?.unwrap_or_default() };
    let latency = match wire.latency {
        None | Some(0) => LATENCY,
        Some(millis) if millis <= LONGEST_LATENCY => Duration::from_millis(millis),
        Some(millis) => {
            let text = format!("latency: {millis} ms is not in 1..{LONGEST_LATENCY}");
            return Err(Error::invalid_config(text));
        }
    };
    Ok(Bandwidth {
        id: attachment(request),
        netns: request.netns.clone().unwrap_or_default(),
        ingress: limit("ingress", rates.ingress_rate, rates.ingress_burst, latency)?,
        egress: limit("egress", rates.egress_rate, rates.egress_burst, latency)?,
    })
}

fn limit(
    direction: &str,
    rate: u64,
    burst: u64,
    latency: Duration,
) -> Result<Option<Limit>, Error> {
    let bad = |text: String| Err(Error::invalid_config(text));
    let bytes = (rate / 8).max(1);
    let burst = match (rate, burst) {
        (0, 0) => return Ok(None),
        (0, UNSET..) => return Ok(None),
        (0, _) => return bad(format!("{direction}Burst: needs {direction}Rate beside it")),
        (_, 0) => return bad(format!("{direction}Rate: needs {direction}Burst beside it")),
        (_, UNSET..) => {
            let lasting = u128::from(bytes) * BURST.as_millis() / 1000;
            u64::try_from(lasting).unwrap_or(u64::MAX).max(SMALLEST_BURST)
        }
        (_, bits) => bits / 8,
    };
    let burst = u32::try_from(burst).unwrap_or(u32::MAX);
    Ok(Some(Limit { rate: bytes, burst, latency }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_burst_come_together() {
        let of = |rate, burst| limit("ingress", rate, burst, LATENCY);
        assert_eq!(of(0, 0).unwrap(), None);
        assert_eq!(of(0, u64::from(u32::MAX)).unwrap(), None);
        assert!(of(0, 8).unwrap_err().msg.contains("ingressBurst"));
        assert!(of(8, 0).unwrap_err().msg.contains("ingressRate"));
        let chosen = of(8_000_000, 800_000).unwrap().unwrap();
        assert_eq!((chosen.rate, chosen.burst), (1_000_000, 100_000));
    }

    #[test]
    fn a_burst_that_nobody_chose_is_small() {
        for unset in [i32::MAX as u64, u64::from(u32::MAX), u64::MAX] {
            let slow = limit("egress", 1_000_000, unset, LATENCY).unwrap().unwrap();
            assert_eq!(slow.burst, 32 * 1024);
            let fast = limit("egress", 1_000_000_000, unset, LATENCY).unwrap().unwrap();
            assert_eq!(fast.burst, 12_500_000);
        }
    }
}
