//! The `dhcp` CNI plugin, and its daemon's command line: see the library.
#![cfg_attr(not(test), no_main)]

cleat_engine::kernel::main!(|| match cleat_dhcp::asks_for_daemon(std::env::args_os()) {
    true => cleat_dhcp::become_daemon(std::env::args_os()),
    false => cleat_cni::run(&cleat_dhcp::Dhcp),
});
