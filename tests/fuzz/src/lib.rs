//! What all programs for libFuzzer have in common. What they do is in `rejoin_tests::fuzz`.

pub use libfuzzer_sys::fuzz_target;
pub use rejoin_tests::fuzz::{ALLOCATOR, Guard, target};

/// The whole program for the target of this name.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        #[global_allocator]
        static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = $crate::ALLOCATOR;

        libfuzzer_sys::fuzz_target!(|input: &[u8]| {
            $crate::Guard::new($crate::target($name)).run(input);
        });
    };
}
