//! Power: what signals about it mean, and how a store behaves then. Owns the state machine ([`Machine`], pure) and the table of
//! behaviour; where signals come from is the caller's business.
//!
//! Getting worse is believed at once, getting better only when it has lasted: a grid that flaps must not burn the flash card.

use std::fmt;
use std::time::Duration;

use duramen_journal::SyncPolicy;

use crate::compaction::Compaction;

/// How the machine is supplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Power {
    /// From the grid, or nobody knows better.
    #[default]
    Mains,
    /// From a battery.
    Battery,
    /// From a battery that will not last.
    Low,
    /// Not for long: it is shutting down.
    Going,
}

impl Power {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Power::Mains => "mains",
            Power::Battery => "battery",
            Power::Low => "low",
            Power::Going => "going",
        }
    }

    pub(crate) fn from_number(number: u8) -> Power {
        [Power::Mains, Power::Battery, Power::Low].get(usize::from(number)).copied().unwrap_or(Power::Going)
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Power> {
        [Power::Mains, Power::Battery, Power::Low, Power::Going].into_iter().find(|power| power.word() == word)
    }
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What somebody says about the power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It is so.
    Is(Power),
    /// It got worse by one step: from mains to battery, from there to low. SIGUSR1 says that.
    Worse,
    /// Whoever says how it is has fallen silent. On a battery that counts as low, as UPS monitors do.
    Silent,
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// From here.
    pub from: Power,
    /// To here.
    pub to: Power,
}

/// The state, and what is waited for.
#[derive(Clone, Debug)]
pub struct Machine {
    power: Power,
    /// A better state that has been told, and since when.
    better: Option<(Power, Duration)>,
    settle: Duration,
}

impl Machine {
    /// On mains; a better state counts when it has lasted so long.
    pub fn new(settle: Duration) -> Machine {
        Machine { power: Power::Mains, better: None, settle }
    }

    /// The state.
    pub fn power(&self) -> Power {
        self.power
    }

    /// The better state that has been told and is to last first.
    pub fn better(&self) -> Option<Power> {
        self.better.map(|(power, _)| power)
    }

    /// Takes a signal at a time.
    pub fn signal(&mut self, signal: Signal, now: Duration) -> Option<Change> {
        let told = match signal {
            Signal::Is(power) => power,
            Signal::Worse => match self.power {
                Power::Mains => Power::Battery,
                Power::Battery | Power::Low => Power::Low,
                Power::Going => Power::Going,
            },
            Signal::Silent if self.power >= Power::Battery => self.power.max(Power::Low),
            Signal::Silent => return None,
        };
        if told > self.power {
            self.better = None;
            return Some(self.change(told));
        }
        match self.better {
            _ if told == self.power => self.better = None,
            // What had been told before goes on lasting only if it is no better than what is told now.
            Some((before, since)) => self.better = Some((told, if before <= told { since } else { now })),
            None => self.better = Some((told, now)),
        }
        self.tick(now)
    }

    /// Looks whether a better state has lasted.
    pub fn tick(&mut self, now: Duration) -> Option<Change> {
        let (power, since) = self.better?;
        if now.saturating_sub(since) < self.settle {
            return None;
        }
        self.better = None;
        Some(self.change(power))
    }

    /// When [`Machine::tick`] has something to look at.
    pub fn due(&self) -> Option<Duration> {
        self.better.map(|(_, since)| since + self.settle)
    }

    fn change(&mut self, to: Power) -> Change {
        let from = std::mem::replace(&mut self.power, to);
        Change { from, to }
    }
}

/// How a store behaves in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// When rows of sources that cannot wait are synced; `None`: as the options say.
    pub policy: Option<SyncPolicy>,
    /// Whether tables are merged.
    pub compaction: Compaction,
    /// Which rows in memory become tables now, if there is time.
    pub seal: Seal,
    /// Whether new rows are taken.
    pub takes_rows: bool,
}

/// Which rows in memory become tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// Those of a full memory.
    AtBound,
    /// Those of streams that have many.
    Large,
    /// All.
    All,
}

impl Power {
    /// The table of DESIGN, as code.
    pub fn behaviour(self) -> Behaviour {
        let (policy, compaction, seal) = match self {
            Power::Mains => (None, Compaction::Runs, Seal::AtBound),
            Power::Battery => (Some(SyncPolicy::Interval(Duration::from_millis(200))), Compaction::Pauses, Seal::Large),
            Power::Low | Power::Going => (Some(SyncPolicy::Always), Compaction::Off, Seal::All),
        };
        Behaviour { policy, compaction, seal, takes_rows: self != Power::Going }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Power::{Battery, Going, Low, Mains};

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn machine() -> Machine {
        Machine::new(at(10))
    }

    #[test]
    fn worse_is_believed_at_once() {
        let mut machine = machine();
        assert_eq!(machine.signal(Signal::Worse, at(0)), Some(Change { from: Mains, to: Battery }));
        assert_eq!(machine.signal(Signal::Worse, at(0)), Some(Change { from: Battery, to: Low }));
        assert_eq!(machine.signal(Signal::Worse, at(0)), None);
        assert_eq!(machine.signal(Signal::Is(Going), at(1)), Some(Change { from: Low, to: Going }));
        assert_eq!(machine.signal(Signal::Is(Going), at(1)), None);
    }

    #[test]
    fn better_must_last() {
        let mut machine = machine();
        machine.signal(Signal::Is(Low), at(0));
        assert_eq!(machine.signal(Signal::Is(Mains), at(5)), None);
        assert_eq!((machine.power(), machine.due()), (Low, Some(at(15))));
        assert_eq!(machine.tick(at(14)), None);
        assert_eq!(machine.tick(at(15)), Some(Change { from: Low, to: Mains }));
        assert_eq!((machine.power(), machine.due()), (Mains, None));
    }

    #[test]
    fn a_grid_that_flaps_stays_on_battery() {
        let mut machine = machine();
        machine.signal(Signal::Is(Battery), at(0));
        for second in 1..100 {
            let told = if second % 5 == 0 { Battery } else { Mains };
            assert_eq!(machine.signal(Signal::Is(told), at(second)), None, "second {second}");
        }
    }

    #[test]
    fn what_is_repeated_goes_on_lasting() {
        let mut machine = machine();
        machine.signal(Signal::Is(Low), at(0));
        for second in 1..11 {
            assert_eq!(machine.signal(Signal::Is(Mains), at(second)), None);
        }
        assert_eq!(machine.signal(Signal::Is(Mains), at(11)), Some(Change { from: Low, to: Mains }));
        // Better, but not that much better, begins to last when it is told first.
        machine.signal(Signal::Is(Low), at(20));
        assert_eq!(machine.signal(Signal::Is(Mains), at(21)), None);
        assert_eq!(machine.signal(Signal::Is(Battery), at(25)), None);
        assert_eq!(machine.tick(at(31)), Some(Change { from: Low, to: Battery }));
    }

    #[test]
    fn silence_on_a_battery_is_low() {
        let mut machine = machine();
        assert_eq!(machine.signal(Signal::Silent, at(0)), None);
        machine.signal(Signal::Is(Battery), at(1));
        assert_eq!(machine.signal(Signal::Silent, at(2)), Some(Change { from: Battery, to: Low }));
        assert_eq!(machine.signal(Signal::Silent, at(3)), None);
    }

    #[test]
    fn each_state_is_stricter_than_the_one_before() {
        assert_eq!(Mains.behaviour().policy, None);
        assert_eq!(Battery.behaviour().compaction, Compaction::Pauses);
        assert_eq!((Low.behaviour().policy, Low.behaviour().seal), (Some(SyncPolicy::Always), Seal::All));
        assert!(Low.behaviour().takes_rows && !Going.behaviour().takes_rows);
        for power in [Mains, Battery, Low, Going] {
            assert_eq!(Power::parse(power.word()), Some(power));
        }
    }
}
