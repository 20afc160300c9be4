//! The `host-local` plugin: addresses from pools that this host keeps on disk, in the format of
//! the reference plugin of that name.

use cleat_cni::{CniResult, Error, Plugin, Request};
use cleat_engine::plan::Lessor;
use cleat_front::{HostLocal as Section, collect_pool, node, result_of, to_cni};

/// The plugin.
pub struct HostLocal;

impl Plugin for HostLocal {
    fn name(&self) -> &'static str {
        "host-local"
    }

    fn add(&self, request: &Request) -> Result<CniResult, Error> {
        let section = Section::read(request)?;
        let dns = section.dns.clone();
        let grants = section.lessor(&node(), request).lease().map_err(to_cni)?;
        Ok(result_of(&grants, dns))
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        Section::read(request)?.lessor(&node(), request).release().map_err(to_cni)
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        Section::read(request)?.lessor(&node(), request).check().map_err(to_cni)
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        let node = node();
        let lessor = Section::read(request)?.lessor(&node, request);
        collect_pool(&node, &lessor, request)
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        let lessor = Section::read(request)?.lessor(&node(), request);
        lessor.pool().status().map_err(|error| Error::not_available(error.to_string()))
    }
}
