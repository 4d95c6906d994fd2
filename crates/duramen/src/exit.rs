//! The exit codes: one enum, which the command's help, the man page and the code all use. Also the way from an error to
//! its code. Knows no command.

use std::io;

use duramen_journal::Error;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; for `cat` and `verify`: and the journal ends in a mark, or its writer lives.
    Complete,
    /// Any failure without a code of its own.
    Failure,
    /// The command line is wrong; clap exits with it.
    Usage,
    /// The journal ends without a mark.
    Unmarked,
    /// The journal is damaged.
    Damaged,
    /// The disk is full.
    NoSpace,
    /// The disk could not be read in places: no damage, as far as anybody can tell.
    Unreadable,
    /// The reader of standard output went away.
    BrokenPipe,
    /// Stopped by a signal, cleanly; the code is 128 + its number.
    Signal(u8),
    /// `exec`: as its command ended.
    #[cfg(feature = "daemon")]
    Command(u8),
}

/// What each code means, as help and man page print it.
pub const HELP: &str = "\
Exit codes:
  0    done; cat and verify: complete, the journal ends in a closing or idle
       mark, or its writer lives
  1    failure: the message says what happened and what to do
  2    the command line is wrong
  3    cat, verify: the journal ends without a mark; all that is there was
       printed or checked, the last lines of the last run may be missing
  4    the journal is damaged, or (raft) its records break the rules of Raft
       logs; what is good was printed, the place is on standard error
  5    the disk is full; standard error says what is durable, nothing is
       half-written
  6    the disk cannot read part of the journal, which says nothing about what
       stands there; what can be read was printed, nothing was changed
  130  stopped by Ctrl-C (143 by SIGTERM, 129 by a hang-up): what was read is
       durable, the journal is closed; follow ends with 0: that is its way
  141  the reader of standard output went away";

/// The same for `exec`.
#[cfg(feature = "daemon")]
pub const HELP_OF_EXEC: &str = "\
The exit code is the command's: 128 + N if signal N killed it, 127 if it was
not found, 126 if it could not be run. What could not be stored is said on
standard error and does not change it.";

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Exit::Complete => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::Unmarked => 3,
            Exit::Damaged => 4,
            Exit::NoSpace => 5,
            Exit::Unreadable => 6,
            Exit::BrokenPipe => 141,
            Exit::Signal(signal) => 128 + signal,
            #[cfg(feature = "daemon")]
            Exit::Command(code) => code,
        }
    }

    /// The code for an error: found by its type, wherever in the chain of causes it stands.
    pub fn of(error: &anyhow::Error) -> Exit {
        for cause in error.chain() {
            if let Some(cause) = cause.downcast_ref::<Error>() {
                return Exit::of_journal(cause);
            }
            #[cfg(feature = "daemon")]
            if let Some(exit) = cause.downcast_ref::<duramen_store::Error>().and_then(Exit::of_store) {
                return exit;
            }
            if let Some(cause) = cause.downcast_ref::<io::Error>() {
                return match cause.kind() {
                    io::ErrorKind::BrokenPipe => Exit::BrokenPipe,
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Exit::NoSpace,
                    _ => Exit::Failure,
                };
            }
        }
        Exit::Failure
    }

    /// The code for an error of the store, if it is not that of its cause.
    #[cfg(feature = "daemon")]
    fn of_store(error: &duramen_store::Error) -> Option<Exit> {
        match error {
            duramen_store::Error::NoSpace { .. } => Some(Exit::NoSpace),
            duramen_store::Error::DamagedTable { .. }
            | duramen_store::Error::UnusableTable { .. }
            | duramen_store::Error::BadCopy { .. } => Some(Exit::Damaged),
            duramen_store::Error::Io { offset: Some(_), .. } => Some(Exit::Unreadable),
            _ => None,
        }
    }

    /// The code for an error of the journal.
    pub fn of_journal(error: &Error) -> Exit {
        match error {
            Error::NoSpace { .. } => Exit::NoSpace,
            Error::Damaged(_) | Error::DamagedRecord(_) => Exit::Damaged,
            Error::TornTail(_) => Exit::Unmarked,
            Error::Unreadable(_) | Error::UnreadableRecord(_) | Error::Io { offset: Some(_), .. } => Exit::Unreadable,
            _ => Exit::Failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_in_the_help() {
        let all = [
            Exit::Complete,
            Exit::Failure,
            Exit::Usage,
            Exit::Unmarked,
            Exit::Damaged,
            Exit::NoSpace,
            Exit::Unreadable,
            Exit::BrokenPipe,
            Exit::Signal(2),
        ];
        for exit in all {
            let code = format!("  {} ", exit.code());
            assert!(HELP.contains(&code), "{exit:?} is not documented");
        }
    }

    #[test]
    fn a_cause_deep_in_the_chain_decides() {
        let error = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("writing").context("cat");
        assert_eq!(Exit::of(&error), Exit::BrokenPipe);
        assert_eq!(Exit::of(&anyhow::anyhow!("no cause")), Exit::Failure);
    }
}
