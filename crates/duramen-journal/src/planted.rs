//! Bugs planted on purpose, each after a published failure, to prove that the tests would find it. Compiled in only with
//! `--cfg duramen_planted`; without it [`is`] is constantly false and costs nothing. Owns the list and the choice.

/// A planted bug. The number is its place in this list, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is described in `Bug::story`")]
#[allow(dead_code, reason = "the list is read in full only where bugs are compiled in")]
#[repr(u32)]
pub enum Bug {
    NoDirectorySyncAtRotation = 1,
    FailedSyncRetried,
    AcknowledgedBeforeSync,
    LengthOutsideChecksum,
    TornTailResigned,
    PreparedSegmentNotSynced,
    WatermarkStuckAtZero,
    RecycledSaltKept,
    BadLengthReadAsTornTail,
    CallbacksDroppedAfterError,
    SealedTailTruncated,
    FooterBeforeSuccessor,
    SuccessorBeforeData,
    GhostRevived,
    ZeroReadAsEnd,
    RecoveredTailNotSynced,
    SyncErrorForgotten,
    ReleaseNotDurable,
    ChecksumNotBoundToOffset,
    ShortFileAccepted,
    MissingSegmentAccepted,
    ShortWriteIgnored,
    InterruptedTakenAsDone,
    IdentityNotSynced,
    HeaderWrittenOnce,
    ChainNotChecked,
    TornBatchKept,
    NoSpaceSequenceLost,
    CacheTrustedAfterReopen,
    CutNotReported,
    PagesShared,
    MissingOldestAccepted,
    NewerFormatIgnored,
    SpaceErrorOfSyncForgiven,
    LaterRecordProvesRot,
    PreparedTrustedAfterCrash,
    FooterWithItsIndex,
    CutReportedAgain,
    PreparedTrustedAfterClose,
}

impl Bug {
    /// All of them, in order.
    pub const ALL: &'static [Bug] = &[
        Bug::NoDirectorySyncAtRotation,
        Bug::FailedSyncRetried,
        Bug::AcknowledgedBeforeSync,
        Bug::LengthOutsideChecksum,
        Bug::TornTailResigned,
        Bug::PreparedSegmentNotSynced,
        Bug::WatermarkStuckAtZero,
        Bug::RecycledSaltKept,
        Bug::BadLengthReadAsTornTail,
        Bug::CallbacksDroppedAfterError,
        Bug::SealedTailTruncated,
        Bug::FooterBeforeSuccessor,
        Bug::SuccessorBeforeData,
        Bug::GhostRevived,
        Bug::ZeroReadAsEnd,
        Bug::RecoveredTailNotSynced,
        Bug::SyncErrorForgotten,
        Bug::ReleaseNotDurable,
        Bug::ChecksumNotBoundToOffset,
        Bug::ShortFileAccepted,
        Bug::MissingSegmentAccepted,
        Bug::ShortWriteIgnored,
        Bug::InterruptedTakenAsDone,
        Bug::IdentityNotSynced,
        Bug::HeaderWrittenOnce,
        Bug::ChainNotChecked,
        Bug::TornBatchKept,
        Bug::NoSpaceSequenceLost,
        Bug::CacheTrustedAfterReopen,
        Bug::CutNotReported,
        Bug::PagesShared,
        Bug::MissingOldestAccepted,
        Bug::NewerFormatIgnored,
        Bug::SpaceErrorOfSyncForgiven,
        Bug::LaterRecordProvesRot,
        Bug::PreparedTrustedAfterCrash,
        Bug::FooterWithItsIndex,
        Bug::CutReportedAgain,
        Bug::PreparedTrustedAfterClose,
    ];
}

#[cfg(duramen_planted)]
mod chosen {
    use super::Bug;
    use std::cell::Cell;

    thread_local! {
        static CHOSEN: Cell<u32> = const { Cell::new(0) };
    }

    /// Plants one bug in this thread (the campaigns run without background threads), or none.
    pub fn plant(bug: Option<Bug>) {
        CHOSEN.with(|chosen| chosen.set(bug.map_or(0, |bug| bug as u32)));
    }

    /// Whether this bug is planted.
    pub fn is(bug: Bug) -> bool {
        CHOSEN.with(|chosen| chosen.get() == bug as u32)
    }
}

#[cfg(duramen_planted)]
pub use chosen::{is, plant};

/// Whether this bug is planted: never, in a normal build.
#[cfg(not(duramen_planted))]
#[inline(always)]
pub const fn is(_bug: Bug) -> bool {
    false
}
