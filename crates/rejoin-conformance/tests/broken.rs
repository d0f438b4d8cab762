//! The suite catches what it is there to catch: each transport that is broken in one way fails the
//! trial that is named for it here, and the unbroken one passes all.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "memory/capability.rs"]
mod capability;
#[path = "broken/fault.rs"]
mod fault;
#[path = "broken/link.rs"]
mod link;
mod memory;
#[path = "broken/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use rejoin_conformance::{Suite, Verdict};

use crate::fault::Fault;
use crate::source::Broken;

/// How a trial notices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    /// It sees something wrong.
    Sight,
    /// It waits for what does not come, up to its deadline.
    Deadline,
}
use By::{Deadline, Sight};

const CAUGHT: &[(Fault, &str, By)] = &[
    (Fault::DropsOne, "link::order", Sight),
    (Fault::DropsOne, "link::random_sizes", Sight),
    (Fault::Duplicates, "link::order", Sight),
    (Fault::Reorders, "link::order", Sight),
    (Fault::Truncates, "link::the_maximum", Sight),
    (Fault::Truncates, "link::random_sizes", Sight),
    (Fault::Truncates, "link::both_directions_at_full_speed", Sight),
    (Fault::Merges, "link::order", Sight),
    (Fault::Splits, "link::whole_messages", Sight),
    (Fault::Splits, "link::the_maximum", Sight),
    (Fault::FlipsABit, "link::order", Sight),
    (Fault::FlipsABit, "stable::exactly_once_without_cuts", Sight),
    (Fault::SwallowsEmpty, "link::empty_payload", Deadline),
    (Fault::SwallowsHead, "link::whole_messages", Sight),
    (Fault::HeadBehindBody, "link::whole_messages", Sight),
    (Fault::HangsAtTheMaximum, "link::the_maximum", Deadline),
    (Fault::BlocksItsThread, "link::order", Deadline),
    (Fault::RefusesTheMaximum, "link::the_maximum", Sight),
    (Fault::OverstatesTheMaximum, "link::the_maximum", Sight),
    (Fault::WritesBeforeRefusing, "link::one_over_the_maximum_is_refused", Sight),
    (Fault::WritesFillingBeforeRefusing, "link::one_over_the_maximum_is_refused", Sight),
    (Fault::RefusesAsSomethingElse, "link::one_over_the_maximum_is_refused", Sight),
    (Fault::DiesOfARefusal, "link::one_over_the_maximum_is_refused", Sight),
    (Fault::TruncatesWhatIsTooLong, "link::one_over_the_maximum_is_refused", Sight),
    (Fault::FlushDoesNothing, "link::a_received_payload_is_kept", Deadline),
    (Fault::FlushSendsSomething, "link::flush_of_nothing", Sight),
    (Fault::NeverWaits, "link::a_full_medium_makes_the_sender_wait", Sight),
    (Fault::SwallowsSendErrors, "link::sending_to_nobody_fails", Sight),
    (Fault::SwallowsSendErrors, "link::abrupt_death_is_an_error", Sight),
    (Fault::SwallowsClose, "link::close_is_none_after_everything_sent", Deadline),
    (Fault::CloseForgetsTheQueue, "link::close_is_none_after_everything_sent", Sight),
    (Fault::CloseHangsAfterThePeers, "link::both_ends_close", Deadline),
    (Fault::DropIsNotSeen, "link::a_dropped_link_ends", Deadline),
    (Fault::DeliversAfterClose, "link::nothing_comes_after_a_close", Sight),
    (Fault::DeliversAfterError, "link::nothing_comes_after_an_error", Sight),
    (Fault::ErrorInsteadOfNone, "link::close_is_none_after_everything_sent", Sight),
    (Fault::ErrorInsteadOfNone, "link::both_ends_close", Sight),
    (Fault::NoneInsteadOfError, "link::a_dropped_link_is_no_close", Sight),
    (Fault::NoneInsteadOfError, "link::abrupt_death_is_an_error", Sight),
    (Fault::NoneInsteadOfError, "link::abrupt_death_under_load_keeps_a_prefix", Sight),
    (Fault::GivesOldBytes, "link::a_received_payload_is_kept", Sight),
    (Fault::LimitSticks, "link::a_lower_limit_passes_what_fits", Sight),
    (Fault::LimitIsOneTooLow, "link::a_lower_limit_passes_what_fits", Sight),
    (Fault::LimitIsIgnored, "link::a_lower_limit_refuses_what_is_longer", Sight),
    (Fault::PartBeginsAtTheFront, "link::a_part_is_sent_as_a_payload", Sight),
    (Fault::PartLosesItsHead, "link::a_part_is_sent_as_a_payload", Sight),
    (Fault::PartOvertakes, "link::a_part_is_sent_as_a_payload", Sight),
    (Fault::PartCountsAsTheWhole, "link::a_part_is_sent_as_a_payload", Sight),
    (Fault::PartIsOfAnyLength, "link::a_part_over_the_maximum_is_refused", Sight),
    (Fault::PartIsRefusedAsSomethingElse, "link::a_part_over_the_maximum_is_refused", Sight),
    (Fault::RunGivesOneAgain, "link::runs_are_what_recv_would_give", Sight),
    (Fault::RunLosesWhatIsLeft, "link::runs_are_what_recv_would_give", Sight),
    (Fault::RunGoesOnPastWhatIsLeft, "link::runs_are_what_recv_would_give", Sight),
    (Fault::RunIsPartedWrongly, "link::runs_are_what_recv_would_give", Sight),
    (Fault::RunIgnoresTheLimit, "link::a_run_ends_before_what_is_too_long", Sight),
    (Fault::RunSwallowsTheError, "link::a_run_ends_before_what_is_too_long", Sight),
    (Fault::RunComesAfterAnError, "link::a_run_ends_before_what_is_too_long", Sight),
    (Fault::OneDirectionAtATime, "link::a_waiting_receiver_leaves_the_sender_alone", Deadline),
    (
        Fault::StuckDirectionBlocksTheOther,
        "link::a_stuck_direction_leaves_the_other_alone",
        Deadline,
    ),
    (Fault::MisleadingPeer, "link::peer_name_is_harmless", Sight),
    (Fault::GivesTheDeadLinkAgain, "source::each_link_is_fresh", Sight),
    (Fault::GivesTheDeadLinkAgain, "source::a_link_after_abrupt_death", Sight),
    (Fault::HangsTheSecondTime, "source::a_link_after_silence", Deadline),
    (Fault::HangsTheSecondTime, "stable::migration_under_load", Deadline),
    (Fault::FailsAfterADroppedAttempt, "source::an_attempt_given_up_is_made_again", Deadline),
    (Fault::FailsAfterADroppedSend, "link::a_dropped_send_kills_only_its_link", Sight),
    (Fault::NewLinkKillsTheOld, "source::links_live_side_by_side", Sight),
    (Fault::ClaimsTheOtherRole, "source::the_roles_fit", Sight),
    (Fault::LosesPeersWhenDropped, "source::a_wait_for_a_peer_can_be_given_up", Deadline),
    (Fault::WaitsForAcceptedPeers, "source::a_silent_peer_holds_up_nobody", Deadline),
    (Fault::EndsWithABadPeer, "source::what_is_no_hello_costs_its_link_only", Sight),
    (Fault::RefusalIsFatal, "source::a_refusal_is_typed_and_may_heal", Sight),
    (Fault::RefusalIsUntyped, "source::a_refusal_is_typed_and_may_heal", Sight),
    (Fault::ExhaustionHeals, "source::an_exhausted_source_stays_so", Sight),
    (Fault::HangsAfterThreeLinks, "source::many_peers_at_once", Deadline),
    (Fault::HangsAfterThreeLinks, "stable::cut_at_every_frame_two_way", Deadline),
    (Fault::HangsAfterThreeLinks, "stable::severed_abruptly", Deadline),
];

/// For trials that are to fail by it. Those that see what is wrong need not wait for it.
const SHORT: Duration = Duration::from_millis(500);

fn suite(fault: Fault, by: By) -> Suite {
    // Some trials move much, and no broken link needs that to be seen.
    let capability = capability::with_early_limit("broken").with_load_bytes(512 * 1024);
    let capability = match by {
        Sight => capability,
        Deadline => capability.with_deadline(SHORT),
    };
    Suite::new(Broken { fault, capability })
}

fn is_caught(fault: Fault, trial: &str, by: By) -> Result<(), Failed> {
    match (suite(fault, by).run(trial), by) {
        (Some(Verdict::Failed { because }), _)
            if because.starts_with("hangs") != (by == Deadline) =>
        {
            Err(format!("caught, but not by {by:?}: {because}").into())
        }
        (Some(Verdict::Failed { .. }), _) => Ok(()),
        (Some(verdict), _) => Err(format!("not caught: {verdict:?}").into()),
        (None, _) => Err("there is no such trial".into()),
    }
}

fn passes(trial: &str) -> Result<(), Failed> {
    match suite(Fault::None, Sight).run(trial) {
        Some(Verdict::Failed { because }) => Err(because.into()),
        _ => Ok(()),
    }
}

/// A trial of a link or a source that has never caught anything may be one that cannot.
fn every_trial_catches_something() -> Result<(), Failed> {
    let catching: BTreeSet<_> = CAUGHT.iter().map(|(_, trial, _)| *trial).collect();
    let capability = suite(Fault::None, Sight);
    let idle: Vec<_> = Suite::names()
        .filter(|name| !name.starts_with("stable::"))
        .filter(|name| !catching.contains(name) && capability.skips(name).is_none())
        .collect();
    if idle.is_empty() { Ok(()) } else { Err(format!("catch nothing: {idle:?}").into()) }
}

fn main() -> ExitCode {
    // What a trial that fails has to say is in its verdict; most are to fail here.
    std::panic::set_hook(Box::new(|_| {}));
    let mut tests =
        vec![Trial::test("every_trial_catches_something", every_trial_catches_something)];
    for name in Suite::names() {
        tests.push(Trial::test(format!("unbroken::{name}"), move || passes(name)));
    }
    for &(fault, trial, by) in CAUGHT {
        let name = format!("{fault:?}::{trial}");
        tests.push(Trial::test(name, move || is_caught(fault, trial, by)));
    }
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}
