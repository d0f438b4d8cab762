//! What runs have seen: the numbers that are reported, and those that show that the simulation
//! reaches its corners.

use rejoin_core::protocol::{Ending, LossReason};

use super::world::World;

macro_rules! stats {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// Counts of what happened in runs.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl Stats {
            /// Adds the counts of other runs.
            pub fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }
        }
    };
}

stats! {
    /// Runs.
    seeds,
    /// Runs that broke a rule.
    failures,
    /// Sessions that an acceptor has made.
    sessions,
    /// Items that applications got.
    messages,
    /// Links that were broken in one way or another.
    link_failures,
    /// Handshakes that gave a session another link.
    resumes,
    /// Items written again.
    replayed,
    /// Items that came again and were ignored.
    duplicates,
    /// Batches that a link took with several items in them.
    runs,
    /// Inputs of links that were not current any more.
    stale,
    /// Answers to hellos that were lost.
    replies_lost,
    /// Hellos that arrived a second time.
    echoes,
    /// Links given up because of silence.
    dead_peers,
    /// Links given up because an item was missing.
    gaps,
    /// Moments at which something waited for a window or a link to take it.
    blocked,
    /// Sessions whose numbers went past 2³² on the wire.
    wraps,
    /// Sessions of the base profile.
    base,
    /// Sessions that were closed in good order while there were faults.
    closed_under_faults,
    /// Sessions that were lost, all of them for a good reason.
    lost,
    /// Those of them that had no link for too long.
    expired,
    /// Those of them that were lost in closing, because a last word was.
    last_words_lost,
}

impl Stats {
    /// Adds what can be seen in the end.
    pub(super) fn note_sides(&mut self, world: &World) {
        for (number, side) in world.sides.iter().enumerate() {
            let counters = side.session.counters();
            self.replayed += counters.items_replayed;
            self.duplicates += counters.items_duplicate;
            self.base += u64::from(side.base && side.end == 0);
            self.wraps += u64::from(world.has_wrapped(number));
            let expired = matches!(
                side.ending,
                Some(Ending::Lost(LossReason::Expired | LossReason::OutageLimit))
            );
            self.expired += u64::from(expired);
        }
    }
}
