//! What the store notes about itself: boots of the machine and what their clocks said, whether it was closed, what was lost. Owns
//! the stream of events ([`EVENTS`]) and the positions in which the notes are kept; they go through the journal like all else.
//!
//! A note and the event that it is about are one batch, so that after any number of crashes each outage is told once.

use std::collections::BTreeMap;

use duramen_journal::disk::Environment;

use crate::batch::Batch;
use crate::core::Core;
use crate::error::Error;
use crate::format::bytes::{Reader, put_number, put_signed};
use crate::labels::Labels;
use crate::lock;
use crate::row::{Arrival, Level, Nanoseconds, TimeBase};
use crate::store::Durability;

/// Labels of the stream that events are rows of: `{duramen="events"}`.
pub const EVENTS: (&str, &str) = ("duramen", "events");

/// Keys of the store's own positions begin with it; those of users with [`USER`].
const OWN: u8 = b'd';
/// What users' keys begin with.
pub(crate) const USER: u8 = b'u';

/// 2020-01-01 00:00 UTC: a clock that says less was never set.
const PLAUSIBLE: Nanoseconds = 1_577_836_800_000_000_000;
/// A clock that is so far behind what the store has seen is not set either.
const BEHIND: Nanoseconds = 86_400_000_000_000;

/// The key of one of the store's own positions.
pub(crate) fn own(key: &str) -> Vec<u8> {
    [&[OWN], key.as_bytes()].concat()
}

/// One boot of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Boot {
    pub id: [u8; 16],
    /// Wall time less monotonic time, once the clock was set.
    pub offset: Option<Nanoseconds>,
}

impl Boot {
    fn encode(self) -> Vec<u8> {
        let mut out = self.id.to_vec();
        if let Some(offset) = self.offset {
            put_signed(&mut out, offset);
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<Boot> {
        let mut reader = Reader::new(bytes);
        let id = reader.fixed()?;
        let offset = if reader.is_empty() { None } else { Some(reader.signed()?) };
        Some(Boot { id, offset })
    }
}

/// How the store was left, as its own note says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    closed: bool,
    arrival: Arrival,
    wall: Option<Nanoseconds>,
}

impl Left {
    fn encode(self) -> Vec<u8> {
        let mut out = vec![u8::from(self.closed)];
        put_number(&mut out, u64::from(self.arrival.boot));
        put_number(&mut out, self.arrival.monotonic);
        if let Some(wall) = self.wall {
            put_signed(&mut out, wall);
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<Left> {
        let mut reader = Reader::new(bytes);
        let closed = reader.byte()? != 0;
        let arrival = Arrival { boot: u32::try_from(reader.number()?).ok()?, monotonic: reader.number()? };
        let wall = if reader.is_empty() { None } else { Some(reader.signed()?) };
        Some(Left { closed, arrival, wall })
    }
}

/// What the store knows of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    /// The present boot's number.
    pub boot: u32,
    pub boots: BTreeMap<u32, Boot>,
    /// The latest wall time that the store was sure of before this opening.
    pub seen: Nanoseconds,
}

impl Clock {
    /// Wall time, if the machine's clock says something that can be believed.
    pub fn wall(&self, environment: &dyn Environment) -> Option<Nanoseconds> {
        let wall = i64::try_from(environment.wall()?.as_nanos()).ok()?;
        (wall >= PLAUSIBLE.max(self.seen.saturating_sub(BEHIND))).then_some(wall)
    }
}

/// An end of the store that nobody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The machine was started anew since: the power failed, or it was reset. Else only the process died.
    pub power: bool,
    /// The last moment of which something is stored, if its wall time is known.
    pub from: Option<Nanoseconds>,
    /// When the store was opened again, if that is known.
    pub to: Option<Nanoseconds>,
}

/// Something about the store that is worth a row.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// One word, the field `event` of the row: `outage`, `gap`, `power`, …
    pub kind: &'a str,
    /// How grave it is.
    pub level: Level,
    /// When it was; `None`: now.
    pub at: Option<Nanoseconds>,
    /// A sentence for people.
    pub text: String,
    /// What programs read.
    pub fields: Vec<(&'a str, String)>,
}

/// The key under which stands how the store was left.
pub(crate) fn session_key() -> Vec<u8> {
    own("session")
}

/// The same note of a store that was closed.
pub(crate) fn closed(value: &[u8]) -> Option<Vec<u8>> {
    Some(Left { closed: true, ..Left::decode(value)? }.encode())
}

impl Core {
    /// Which boot this is; called once, before anything is appended.
    pub(crate) fn learn_clock(&self) -> Clock {
        let write = lock(&self.write);
        let key = own("boot/");
        let mut clock = Clock::default();
        for (key, position) in write.positions.range(key.clone()..).take_while(|(found, _)| found.starts_with(&key)) {
            let number = std::str::from_utf8(&key[6..]).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
            if let (Some(number), Some(boot)) = (number, Boot::decode(&position.value)) {
                clock.boots.insert(number, boot);
            }
        }
        let left = write.positions.get(&own("session")).and_then(|position| Left::decode(&position.value));
        clock.seen = left.and_then(|left| left.wall).unwrap_or(0);
        let id = self.world.environment.boot_id().unwrap_or_default();
        clock.boot = match clock.boots.last_key_value() {
            Some((&number, boot)) if boot.id == id => number,
            Some((&number, _)) => number + 1,
            None => 1,
        };
        clock.boots.entry(clock.boot).or_insert(Boot { id, offset: None });
        clock
    }

    /// Wall time, if it can be believed.
    pub fn wall(&self) -> Option<Nanoseconds> {
        lock(&self.clock).wall(&*self.world.environment)
    }

    /// The time that a row gets which says none of its own.
    pub fn now(&self) -> (TimeBase, Nanoseconds) {
        match self.wall() {
            Some(wall) => (TimeBase::Wall, wall),
            None => {
                let arrival = self.arrival();
                (TimeBase::Boot(arrival.boot), i64::try_from(arrival.monotonic).unwrap_or(i64::MAX))
            }
        }
    }

    /// What to add to a boot's monotonic time for wall time; `None`: its clock was never set.
    pub fn offsets(&self) -> BTreeMap<u32, Nanoseconds> {
        let clock = lock(&self.clock);
        clock.boots.iter().filter_map(|(&number, boot)| Some((number, boot.offset?))).collect()
    }

    /// Puts the note about the present boot into a batch, if the clock has been set since the last one.
    fn note_boot(&self, batch: &mut Batch) {
        let arrival = self.arrival();
        let mut clock = lock(&self.clock);
        let wall = clock.wall(&*self.world.environment);
        let number = clock.boot;
        let boot = clock.boots.entry(number).or_default();
        if boot.offset.is_none() {
            boot.offset = wall.map(|wall| wall.saturating_sub(i64::try_from(arrival.monotonic).unwrap_or(i64::MAX)));
            batch.positions.push((own(&format!("boot/{number:08x}")), boot.encode()));
        }
    }

    /// Notes that the store is open, and tells of an outage, if the last one who had it open did not close it.
    pub(crate) fn begin_session(&self, last: Option<Arrival>) -> Result<Option<Outage>, Error> {
        let left = {
            let write = lock(&self.write);
            write.positions.get(&own("session")).and_then(|position| Left::decode(&position.value))
        };
        let mut batch = Batch::own();
        self.note_boot(&mut batch);
        let outage = left.filter(|left| !left.closed).map(|left| {
            let last = last.filter(|last| *last > left.arrival).unwrap_or(left.arrival);
            let offset = lock(&self.clock).boots.get(&last.boot).and_then(|boot| boot.offset);
            Outage {
                power: last.boot != self.arrival().boot,
                from: offset.map(|offset| offset.saturating_add(i64::try_from(last.monotonic).unwrap_or(i64::MAX))),
                to: self.wall(),
            }
        });
        if let Some(outage) = &outage {
            self.add_event(&mut batch, &outage.event())?;
        }
        self.note_session(&mut batch, false);
        let ticket = self.append(&mut batch, Durability::Now)?;
        ticket.map_or(Ok(0), duramen_journal::Ticket::wait)?;
        Ok(outage)
    }

    fn note_session(&self, batch: &mut Batch, closed: bool) {
        let seen = lock(&self.clock).seen;
        let wall = self.wall().or((seen > 0).then_some(seen));
        let left = Left { closed, arrival: self.arrival(), wall };
        batch.positions.push((own("session"), left.encode()));
    }

    /// Notes that the store is closed.
    pub(crate) fn end_session(&self) -> Result<(), Error> {
        let mut batch = Batch::own();
        self.note_boot(&mut batch);
        self.note_session(&mut batch, true);
        self.append(&mut batch, Durability::Policy)?;
        Ok(())
    }

    /// Adds an event to a batch.
    pub(crate) fn add_event(&self, batch: &mut Batch, event: &Event<'_>) -> Result<(), Error> {
        let labels = Labels::new([EVENTS])?;
        let stream = self.stream_beyond_bound(&labels)?;
        let (base, time) = event.at.map_or_else(|| self.now(), |at| (TimeBase::Wall, at));
        let mut fields = vec![("event", event.kind)];
        fields.extend(event.fields.iter().map(|(name, value)| (*name, value.as_str())));
        batch.push_at(base, &stream, time, event.level, event.text.as_bytes(), &fields);
        Ok(())
    }

    /// Stores an event; with a key it is stored once, however often it is told.
    pub fn tell(&self, event: &Event<'_>, once: Option<&str>) -> Result<(), Error> {
        let mut batch = Batch::own();
        if let Some(key) = once {
            let key = own(&format!("told/{key}"));
            if lock(&self.write).positions.contains_key(&key) {
                return Ok(());
            }
            batch.positions.push((key, vec![1]));
        }
        self.note_boot(&mut batch);
        self.add_event(&mut batch, event)?;
        let ticket = self.append(&mut batch, Durability::Now)?;
        ticket.map_or(Ok(0), duramen_journal::Ticket::wait)?;
        Ok(())
    }
}

impl Outage {
    /// How long nothing was stored, if both ends are known.
    pub fn length(&self) -> Option<std::time::Duration> {
        let nanoseconds = self.to?.checked_sub(self.from?)?;
        Some(std::time::Duration::from_nanos(u64::try_from(nanoseconds).ok()?))
    }

    fn event(&self) -> Event<'static> {
        let cause = if self.power { "power" } else { "killed" };
        let what = if self.power {
            "the machine lost power or was reset"
        } else {
            "the collecting process died without closing"
        };
        let length = self.length().map_or(String::new(), |length| format!(", for {:.1} s", length.as_secs_f64()));
        let mut fields = vec![("cause", cause.to_string())];
        fields.extend(self.from.map(|from| ("from", from.to_string())));
        fields.extend(self.to.map(|to| ("to", to.to_string())));
        let text = format!(
            "{what}{length}: nothing that was acknowledged is lost; of sources that cannot wait, rows of the last commit \
             interval may be"
        );
        Event { kind: "outage", level: Level::Warning, at: None, text, fields }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back() {
        for boot in [Boot { id: [3; 16], offset: None }, Boot { id: [4; 16], offset: Some(-5) }] {
            assert_eq!(Boot::decode(&boot.encode()), Some(boot));
        }
        let arrival = Arrival { boot: 7, monotonic: 1 << 50 };
        for left in [
            Left { closed: true, arrival, wall: None },
            Left { closed: false, arrival, wall: Some(1_700_000_000_000_000_000) },
        ] {
            assert_eq!(Left::decode(&left.encode()), Some(left));
        }
        assert_eq!(Left::decode(&[]), None);
    }
}
