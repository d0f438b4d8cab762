//! What the public types are to their users beside their methods: which threads they may be on, and
//! that they can be printed.

use std::fmt::Debug;

use rejoin_conformance::proxy::{
    Admission, Cut, CutReport, Direction, Fault, FaultProxy, Shape, Stats, Traffic,
};
use rejoin_conformance::{Capability, Feature, Medium, Sever, Suite, Toward, Verdict};

fn is_plain<T: Send + Sync + Unpin + Debug>() {}

fn is_sent<T: Send + Unpin + Debug>() {}

/// Compiles only if it is so.
#[test]
fn public_types_go_where_users_take_them() {
    is_plain::<(Capability, Feature, Sever, Toward, Verdict)>();
    is_plain::<(Admission, Cut, CutReport, Direction, Fault, FaultProxy, Shape, Stats, Traffic)>();
    is_sent::<(Medium, Suite)>();
}
