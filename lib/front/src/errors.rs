//! Engine errors in CNI's words: the one place that gives them codes.

use cleat_engine::{Error as Engine, ipam};

/// Codes of our own, from the range that the specification leaves to plugins.
pub mod code {
    /// The kernel refused a request.
    pub const KERNEL: u32 = 100;
    /// The kernel refused a firewall rule.
    pub const FIREWALL: u32 = 101;
    /// The attachment is there already, or its interface's name is taken.
    pub const TAKEN: u32 = 102;
    /// The host's links or addresses are in the way.
    pub const CONFLICT: u32 = 103;
    /// A host port is published already.
    pub const PORT_TAKEN: u32 = 104;
    /// CHECK found a difference.
    pub const DIFFERS: u32 = 105;
    /// No address is left.
    pub const EXHAUSTED: u32 = 106;
    /// An address was refused.
    pub const ADDRESS: u32 = 107;
    /// DEL could not free everything.
    pub const INCOMPLETE: u32 = 108;
    /// The bridge has no port left.
    pub const BRIDGE_FULL: u32 = 109;
    /// An overlay network cannot be used from this node now.
    pub const OVERLAY: u32 = 110;
}

/// An engine error in CNI's words.
pub fn to_cni(error: Engine) -> cleat_cni::Error {
    if let Engine::Delegate(inner) = error {
        return match inner.downcast::<cleat_cni::Error>() {
            Ok(answer) => *answer,
            Err(other) => cleat_cni::Error::io(other.to_string()),
        };
    }
    cleat_cni::Error::new(code_of(&error), error.to_string())
}

fn code_of(error: &Engine) -> u32 {
    use cleat_cni::Error as Cni;
    match error {
        Engine::Kernel(_) => code::KERNEL,
        Engine::Firewall(_) => code::FIREWALL,
        Engine::Records(_) => Cni::IO,
        Engine::Ipam(error) => ipam_code(error),
        Engine::Netns { .. } => Cni::INVALID_NETNS,
        Engine::InterfaceTaken { .. } => code::TAKEN,
        Engine::NotABridge { .. }
        | Engine::NotAGateway { .. }
        | Engine::NotADomain { .. }
        | Engine::DomainsTable { .. }
        | Engine::GatewayDiffers { .. }
        | Engine::Overlap { .. }
        | Engine::Shaped { .. } => code::CONFLICT,
        Engine::BridgeFull { .. } => code::BRIDGE_FULL,
        Engine::Overlay { .. } => code::OVERLAY,
        Engine::NoLink { .. }
        | Engine::NoDefaultRoute
        | Engine::LeadsNowhere { .. }
        | Engine::Setting { .. }
        | Engine::Settings { .. }
        | Engine::MtuTooLarge { .. }
        | Engine::Sysctl { .. }
        | Engine::NoBackend { .. } => Cni::INVALID_CONFIG,
        Engine::NoFeature { .. } => Cni::UNSUPPORTED_FIELD,
        Engine::PortTaken { .. } => code::PORT_TAKEN,
        Engine::Differs { .. } => code::DIFFERS,
        Engine::Unknown { .. } => Cni::UNKNOWN_CONTAINER,
        Engine::NoBootId => Cni::IO,
        Engine::Address { .. } => code::ADDRESS,
        Engine::Incomplete { .. } => code::INCOMPLETE,
        _ => Cni::INTERNAL,
    }
}

fn ipam_code(error: &ipam::Error) -> u32 {
    use cleat_cni::Error as Cni;
    use ipam::Error as E;
    match error {
        E::Exhausted { .. } => code::EXHAUSTED,
        E::Duplicate { .. } => code::TAKEN,
        E::Gateway { .. } | E::Unusable { .. } | E::Taken { .. } => code::ADDRESS,
        E::Missing { .. } => code::DIFFERS,
        E::File { .. } => Cni::IO,
        _ => Cni::INVALID_CONFIG,
    }
}
