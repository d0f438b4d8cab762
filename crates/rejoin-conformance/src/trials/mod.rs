//! The trials, by layer. Each is one promise of a transport, or of a conduit over it, and fails by
//! an error, a panic or its deadline.

mod link;
mod link_ends;
mod link_flow;
mod link_runs;
mod source;
mod stable_cuts;
mod stable_flow;
mod stable_life;

use std::future::Future;
use std::pin::Pin;

use crate::capability::Feature;
use crate::kit::{Outcome, Stage};

/// One trial.
pub(crate) struct Trial {
    pub(crate) name: &'static str,
    /// What a transport must have for it.
    pub(crate) needs: &'static [Feature],
    pub(crate) run: fn(Stage) -> Pin<Box<dyn Future<Output = Outcome>>>,
}

/// Every trial, in the order in which it is shown.
pub(crate) fn all() -> impl Iterator<Item = &'static Trial> {
    const LAYERS: [&[Trial]; 8] = [
        link::TRIALS,
        link_runs::TRIALS,
        link_flow::TRIALS,
        link_ends::TRIALS,
        source::TRIALS,
        stable_cuts::TRIALS,
        stable_life::TRIALS,
        stable_flow::TRIALS,
    ];
    LAYERS.into_iter().flatten()
}

/// A table of trials: functions of one module, and what each needs.
macro_rules! trials {
    ($layer:literal: $($function:ident [$($needs:ident),*],)*) => {
        pub(crate) const TRIALS: &[$crate::trials::Trial] = &[$($crate::trials::Trial {
            name: concat!($layer, "::", stringify!($function)),
            needs: &[$($crate::capability::Feature::$needs),*],
            run: |stage| Box::pin($function(stage)),
        }),*];
    };
}
use trials;
