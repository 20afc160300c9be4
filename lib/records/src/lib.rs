//! JSON documents on disk: atomic replace, lock, list, watch, schema version
