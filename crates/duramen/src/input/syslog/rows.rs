//! Messages into rows: which parts become labels, which fields. Owns that choice.

use duramen_store::{Batch, Error, Level, Nanoseconds, Stream, TimeBase};

use crate::input::parts::Row;
use crate::input::streams::Streams;
use crate::input::syslog::frames::Frame;
use crate::input::syslog::message::parse;
use crate::input::{Counters, Feed, Now};
use crate::stamp::{self, Stamps};

/// Turns messages into rows.
pub struct Rows {
    stamps: Stamps,
    streams: Streams,
}

/// What a frame that goes on needs of its beginning.
pub struct Begun {
    stream: Stream,
    base: TimeBase,
    time: Nanoseconds,
    level: Level,
}

impl Rows {
    /// In these streams.
    pub fn new(streams: Streams) -> Rows {
        Rows { stamps: Stamps::default(), streams }
    }

    /// Adds a message's row to a batch. `sender` is the host of messages that name none.
    ///
    /// # Errors
    /// As [`Streams::place`].
    pub fn push(
        &mut self,
        batch: &mut Batch,
        bytes: &[u8],
        sender: &str,
        now: Now,
        feed: &Feed,
    ) -> Result<Begun, Error> {
        let found = parse(bytes, &mut self.stamps, now.wall);
        let (host, app) = (found.host.unwrap_or(sender), found.app.unwrap_or(""));
        let mut fields: Vec<(&str, &str)> = Vec::new();
        let named = [("facility", found.facility), ("pid", found.pid), ("msgid", found.msgid)];
        fields.extend(named.into_iter().filter_map(|(name, value)| Some((name, value?))));
        fields.extend(found.data.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let named: Vec<_> = [("host", host), ("app", app)].into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let place = self.streams.place(&named, feed)?;
        fields.extend(place.fields());
        let level = if found.level == Level::None { stamp::level(found.text) } else { found.level };
        let (base, time) = found.time.map_or((now.base, now.time), |time| (TimeBase::Wall, time));
        feed.push(batch, &place.stream, &Row { base, time, level, text: found.text, fields: &fields });
        Counters::add(&feed.counters.odd, u64::from(found.odd));
        Ok(Begun { stream: place.stream.clone(), base, time, level })
    }

    /// Adds a frame of a connection; `begun` is what its frame before left.
    ///
    /// # Errors
    /// As [`Rows::push`].
    pub fn push_frame(
        &mut self,
        batch: &mut Batch,
        frame: Frame<'_>,
        begun: &mut Option<Begun>,
        sender: &str,
        now: Now,
        feed: &Feed,
    ) -> Result<(), Error> {
        // Between two messages some senders put empty lines.
        if frame.whole && frame.bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        match begun {
            Some(begun) if frame.goes_on => {
                let Begun { stream, base, time, level } = &*begun;
                let row = Row { base: *base, time: *time, level: *level, text: frame.bytes, fields: &[] };
                feed.push(batch, stream, &row);
                Counters::add(&feed.counters.odd, 1);
            }
            _ => {
                let odd = feed.counters.odd.load(std::sync::atomic::Ordering::Relaxed);
                *begun = Some(self.push(batch, frame.bytes, sender, now, feed)?);
                let counted = feed.counters.odd.load(std::sync::atomic::Ordering::Relaxed) > odd;
                Counters::add(&feed.counters.odd, u64::from(!frame.whole && !counted));
            }
        }
        Ok(())
    }
}
