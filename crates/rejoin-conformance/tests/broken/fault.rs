//! What is wrong with a broken transport.

/// One thing that a transport gets wrong; everything else it does right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Nothing: the wrapping alone.
    None,

    // Sending halves.
    DropsOne,
    Duplicates,
    Reorders,
    Truncates,
    Merges,
    Splits,
    FlipsABit,
    SwallowsEmpty,
    SwallowsHead,
    HeadBehindBody,
    HangsAtTheMaximum,
    BlocksItsThread,
    RefusesTheMaximum,
    OverstatesTheMaximum,
    WritesBeforeRefusing,
    WritesFillingBeforeRefusing,
    RefusesAsSomethingElse,
    DiesOfARefusal,
    TruncatesWhatIsTooLong,
    FlushDoesNothing,
    FlushSendsSomething,
    NeverWaits,
    SwallowsSendErrors,
    SwallowsClose,
    CloseForgetsTheQueue,
    CloseHangsAfterThePeers,
    DropIsNotSeen,

    // Receiving halves.
    DeliversAfterClose,
    DeliversAfterError,
    ErrorInsteadOfNone,
    NoneInsteadOfError,
    GivesOldBytes,
    LimitSticks,
    LimitIsOneTooLow,

    // Both halves.
    OneDirectionAtATime,
    StuckDirectionBlocksTheOther,
    MisleadingPeer,

    // Sources and listeners.
    GivesTheDeadLinkAgain,
    HangsTheSecondTime,
    FailsAfterADroppedAttempt,
    FailsAfterADroppedSend,
    NewLinkKillsTheOld,
    ClaimsTheOtherRole,
    LosesPeersWhenDropped,
    WaitsForAcceptedPeers,
    EndsWithABadPeer,
    RefusalIsFatal,
    RefusalIsUntyped,
    ExhaustionHeals,
    HangsAfterThreeLinks,
}
