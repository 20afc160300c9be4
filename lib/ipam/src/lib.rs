//! Pools and leases in host-local's on-disk format
