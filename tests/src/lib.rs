//! The lab: nodes and containers as namespaces.
