//! Netlink sockets and typed requests, network namespaces, sysctl, conntrack, mounts
