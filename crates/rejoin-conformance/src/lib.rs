//! What a rejoin transport is tested with. Nothing here is needed to use one.

pub mod proxy;
