//! SIGUSR1 (worse by one step), SIGUSR2 (mains), SIGPWR (going): what `kill`, init systems and UPS daemons send. Owns their
//! handlers.

use std::sync::Arc;

use duramen_store::{Power, Signal};
use signal_hook::consts::{SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::power::Watch;
use crate::power::sources::Word;

/// Linux's number on all the processors that the project is built for; `signal-hook` names only what POSIX does.
const SIGPWR: i32 = 30;

/// Handles the signals from here on; [`serve`] acts on them.
///
/// # Errors
/// The kernel refuses a handler.
pub fn install() -> std::io::Result<Signals> {
    Signals::new([SIGUSR1, SIGUSR2, SIGPWR])
}

/// Acts on signals until the handle of `signals` is closed.
pub fn serve(mut signals: Signals, watch: &Arc<Watch>) {
    for number in signals.forever() {
        let (signal, source) = match number {
            SIGUSR1 => (Signal::Worse, "SIGUSR1"),
            SIGUSR2 => (Signal::Is(Power::Mains), "SIGUSR2"),
            _ => (Signal::Is(Power::Going), "SIGPWR"),
        };
        watch.hear(Word::new("signals", signal, source));
    }
}
