//! The `vrf` CNI plugin: see the library.
#![cfg_attr(not(test), no_main)]

cleat_engine::kernel::main!(|| cleat_cni::run(&cleat_vrf::Vrf));
