//! The CNI protocol: the plugin half and the runtime half
