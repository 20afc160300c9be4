//! What a program sees in place of the host's directories: volumes, which are made on first use
//! and counted as used by the container; binds; memory.

use std::path::{Path, PathBuf};

use std::os::fd::AsFd;

use cleat_volumes::kernel::mount::{Attributes, Detached, open_path};
use cleat_volumes::{Driver, Order, Target, Volumes, copy};

use super::mount_request::{MountRequest, What};
use super::record::Container;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::volume::create::anonymous;
use crate::volume::{deadline, volumes};

/// Gives names to the volumes that nobody named, and checks what can be checked.
pub(super) fn settle(requests: &mut [MountRequest]) -> Result<()> {
    let mut targets: Vec<&Path> = Vec::new();
    for request in requests {
        if let What::Volume { name: name @ None, labels, .. } = &mut request.what {
            let order = anonymous(std::mem::take(labels))?;
            *name = Some(order.name);
            *labels = order.labels;
        }
        let target = request.target.as_path();
        let fail = |problem: &str| Error::Argument {
            argument: "--volume",
            value: target.display().to_string(),
            problem: problem.to_owned(),
        };
        if targets.contains(&target) {
            return Err(fail("something is to be mounted there already"));
        }
        if !target.exists() {
            return Err(fail(
                "there is no such directory; a program runs on the host's file system, so make it",
            ));
        }
        targets.push(target);
    }
    Ok(())
}

/// Makes what is to be mounted, in the order of the command line, and counts it as used.
pub(super) fn make(context: &Context, container: &Container) -> Result<Vec<(Detached, PathBuf)>> {
    let volumes = volumes(context);
    let mut made = Vec::new();
    for request in &container.mounts {
        made.push((one(&volumes, container, request)?, request.target.clone()));
    }
    Ok(made)
}

fn one(volumes: &Volumes, container: &Container, request: &MountRequest) -> Result<Detached> {
    let attributes = Attributes { read_only: request.read_only, ..Attributes::default() };
    match &request.what {
        What::Volume { .. } => volume(volumes, container, request),
        What::Bind { source, recursive } => {
            let opened = open_path(source)?;
            let mount = Detached::clone_of(opened.as_fd(), source, *recursive)?;
            mount.restrict(attributes, *recursive)?;
            Ok(mount)
        }
        What::Tmpfs { size, mode } => {
            let parameters = [("size", size.as_deref()), ("mode", mode.as_deref())];
            let given: Vec<_> = parameters.into_iter().filter(|(_, v)| v.is_some()).collect();
            let usual = Attributes { nosuid: true, nodev: true, ..attributes };
            Ok(Detached::new("tmpfs", &given, usual)?)
        }
    }
}

fn volume(volumes: &Volumes, container: &Container, request: &MountRequest) -> Result<Detached> {
    let What::Volume { name, options, labels, no_copy, subpath } = &request.what else {
        return Err(Error::Argument {
            argument: "--mount",
            value: request.target.display().to_string(),
            problem: "not a volume".into(),
        });
    };
    let name = name.as_deref().unwrap_or_default();
    let (options, labels) = (options.clone(), labels.clone());
    let volume = match volumes.get(name) {
        Err(error) if error.is_no_volume() => {
            let order = Order { name: name.to_owned(), options, labels, made_for: None };
            volumes.create(&order, deadline())?
        }
        found => found?,
    };
    let path = volumes.mount(name, &container.id, deadline())?;
    let is_named = matches!(volume.record.spec.driver, Driver::Named(_));
    let has_content = request.target.is_dir() && !copy::is_empty(&request.target)?;
    if is_named && !no_copy && subpath.is_none() && has_content && copy::is_empty(&path)? {
        copy::tree(&request.target, &path)?;
    }
    let target =
        Target { read_only: request.read_only, subpath: subpath.clone(), ..Target::default() };
    Ok(volumes.detached(&path, &target)?)
}

/// Ends the container's uses; what nobody named goes with it if it is to be forgotten.
pub(super) fn release(context: &Context, container: &Container) -> Vec<Error> {
    let volumes = volumes(context);
    let mut errors = Vec::new();
    for request in &container.mounts {
        let What::Volume { name: Some(name), labels, .. } = &request.what else { continue };
        let uses = match volumes.get(name) {
            Ok(volume) => volume.uses.users.get(&container.id).copied().unwrap_or_default(),
            Err(_) => 0,
        };
        for _ in 0..uses {
            errors.extend(volumes.unmount(name, &container.id, deadline()).err().map(Error::from));
        }
        if container.setup.remove && labels.contains_key(crate::volume::create::ANONYMOUS) {
            match volumes.remove(name, false, deadline()) {
                Err(error) if !error.is_no_volume() => errors.push(error.into()),
                _ => {}
            }
        }
    }
    errors
}
