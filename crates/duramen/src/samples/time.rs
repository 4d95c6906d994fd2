//! Times of samples. Owns the units in which senders count them, the guess of a unit that was not named, and their bounds: a
//! time is nanoseconds since 1970 in an i64 and not the last of them, which no question would find, or it is refused. Pure.

use jiff::tz::TimeZone;

use crate::samples::{number, quoted};
use crate::stamp::Stamps;

/// What a number counts since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// 10^-9 s.
    #[default]
    Nanoseconds,
    /// 10^-6 s.
    Microseconds,
    /// 10^-3 s.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// 60 s.
    Minutes,
    /// 3,600 s.
    Hours,
}

impl Unit {
    /// By the names that InfluxDB's two interfaces have for it; an empty name is nanoseconds, as there.
    ///
    /// # Errors
    /// The name is none of them.
    pub fn named(name: &str) -> Result<Unit, String> {
        Ok(match name {
            "" | "n" | "ns" => Unit::Nanoseconds,
            "u" | "us" | "µ" | "µs" | "μ" | "μs" => Unit::Microseconds,
            "ms" => Unit::Milliseconds,
            "s" => Unit::Seconds,
            "m" => Unit::Minutes,
            "h" => Unit::Hours,
            _ => return Err(format!("unknown precision {}: expected ns, us, ms, s, m or h", quoted(name.as_bytes()))),
        })
    }

    /// Its length.
    pub fn nanoseconds(self) -> i64 {
        match self {
            Unit::Nanoseconds => 1,
            Unit::Microseconds => 1_000,
            Unit::Milliseconds => 1_000_000,
            Unit::Seconds => 1_000_000_000,
            Unit::Minutes => 60_000_000_000,
            Unit::Hours => 3_600_000_000_000,
        }
    }

    /// The unit in which a number is a time between 1973 and 5138, from seconds to nanoseconds.
    fn guessed(number: u64) -> Unit {
        match number {
            0..100_000_000_000 => Unit::Seconds,
            100_000_000_000..100_000_000_000_000 => Unit::Milliseconds,
            100_000_000_000_000..100_000_000_000_000_000 => Unit::Microseconds,
            _ => Unit::Nanoseconds,
        }
    }
}

/// A whole number of units.
///
/// # Errors
/// It is no number, or out of range.
pub fn whole(text: &[u8], unit: Unit) -> Result<i64, String> {
    match number::signed(text) {
        Some(count) => count.checked_mul(unit.nanoseconds()).and_then(askable).ok_or_else(|| out_of_range(text)),
        None if is_whole(text) => Err(out_of_range(text)),
        None => Err(format!("bad timestamp {}", quoted(text))),
    }
}

/// A number of units, with a fraction or not; without a unit, of the one that its size suggests. Digits below a nanosecond are
/// dropped.
///
/// # Errors
/// It is no number, or out of range.
pub fn decimal(text: &[u8], unit: Option<Unit>) -> Result<i64, String> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let (before, after) = match memchr::memchr(b'.', digits) {
        Some(at) => (&digits[..at], &digits[at + 1..]),
        None => (digits, &digits[..0]),
    };
    let is_plain = before.len() + after.len() > 0 && before.iter().chain(after).all(u8::is_ascii_digit);
    if !is_plain {
        return scientific(text, unit);
    }
    let before = if before.is_empty() { Some(0) } else { number::unsigned(before) };
    let before = before.ok_or_else(|| out_of_range(text))?;
    let after = &after[..after.len().min(18)];
    let length = unit.unwrap_or_else(|| Unit::guessed(before)).nanoseconds();
    let fraction =
        i128::from(number::unsigned(after).unwrap_or(0)) * i128::from(length) / 10i128.pow(after.len() as u32);
    let sum = i128::from(before) * i128::from(length) + fraction;
    let signed = if digits.len() < text.len() { -sum } else { sum };
    i64::try_from(signed).ok().and_then(askable).ok_or_else(|| out_of_range(text))
}

/// As some programs print large numbers: `1.7e9`.
fn scientific(text: &[u8], unit: Option<Unit>) -> Result<i64, String> {
    let value = number::decimal(text).ok_or_else(|| format!("bad timestamp {}", quoted(text)))?;
    let unit = unit.unwrap_or_else(|| Unit::guessed(value.abs() as u64));
    let nanoseconds = value * unit.nanoseconds() as f64;
    // The nearest f64 to the largest i64 lies above it.
    if nanoseconds.abs() >= i64::MAX as f64 {
        return Err(out_of_range(text));
    }
    Ok(nanoseconds as i64)
}

/// Spans of time exclude their end.
fn askable(time: i64) -> Option<i64> {
    (time < i64::MAX).then_some(time)
}

fn is_whole(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

fn out_of_range(text: &[u8]) -> String {
    format!("timestamp {} is out of range", quoted(text))
}

/// Reads times of tables: numbers of a unit, and dates such as `2015-09-01 11:25:00`, `2015-09-01T11:25:00.5+02:00` or
/// `2015-09-01`. A date without a zone is UTC.
#[derive(Clone, Debug)]
pub struct Times {
    unit: Option<Unit>,
    stamps: Stamps,
}

impl Times {
    /// With the unit of numbers; without one it is guessed for each.
    pub fn new(unit: Option<Unit>) -> Times {
        Times { unit, stamps: Stamps::new(TimeZone::UTC) }
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is none, or out of range.
    pub fn read(&mut self, text: &[u8]) -> Result<i64, String> {
        let text = text.trim_ascii();
        if text.get(4).is_none_or(|byte| !matches!(byte, b'-' | b'/')) {
            return decimal(text, self.unit);
        }
        let midnight;
        let date = if text.len() == 10 {
            midnight = [text, b" 00:00:00"].concat();
            &midnight
        } else {
            text
        };
        // The present matters only to times without a year.
        let found = self.stamps.time(date, 0).filter(|(_, length)| *length == date.len());
        found.and_then(|(time, _)| askable(time)).ok_or_else(|| format!("bad time {}", quoted(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn units_have_the_names_that_influxdb_gives_them() {
        for (name, nanoseconds) in [
            ("", 1),
            ("ns", 1),
            ("n", 1),
            ("u", 1_000),
            ("us", 1_000),
            ("µ", 1_000),
            ("ms", 1_000_000),
            ("s", SECOND),
            ("m", 60 * SECOND),
            ("h", 3_600 * SECOND),
        ] {
            assert_eq!(Unit::named(name).map(Unit::nanoseconds), Ok(nanoseconds), "{name}");
        }
        let reason = Unit::named("fortnight").unwrap_err();
        assert!(reason.contains("\"fortnight\""), "{reason}");
    }

    #[test]
    fn whole_times_are_scaled_within_their_range() {
        assert_eq!(whole(b"1465839830100400200", Unit::Nanoseconds), Ok(1_465_839_830_100_400_200));
        assert_eq!(whole(b"-1", Unit::Hours), Ok(-3_600 * SECOND));
        for text in ["9223372037", "-9223372037", "9223372036854775808", "99999999999999999999999"] {
            let reason = whole(text.as_bytes(), Unit::Seconds).unwrap_err();
            assert!(reason.contains("out of range"), "{reason}");
        }
        for text in ["", "x", "1.5", "1e9", "-"] {
            assert!(whole(text.as_bytes(), Unit::Seconds).unwrap_err().contains("bad timestamp"), "{text}");
        }
    }

    #[test]
    fn fractions_are_exact() {
        let seconds = Some(Unit::Seconds);
        assert_eq!(decimal(b"1520879607.789", seconds), Ok(1_520_879_607_789_000_000));
        assert_eq!(decimal(b"1520879607.123456789987", seconds), Ok(1_520_879_607_123_456_789));
        assert_eq!(decimal(b"-0.5", seconds), Ok(-SECOND / 2));
        assert_eq!(decimal(b".5", Some(Unit::Minutes)), Ok(30 * SECOND));
        assert_eq!(decimal(b"1.5e9", seconds), Ok(1_500_000_000 * SECOND));
        for text in ["", "-", ".", "x", "1.5.5", "1e99", "99999999999999999999", "NaN", "--1", "+-1"] {
            assert!(decimal(text.as_bytes(), seconds).is_err(), "{text}");
        }
    }

    #[test]
    fn a_unit_is_guessed_by_size() {
        let expected = Ok(1_441_106_700 * SECOND);
        for text in ["1441106700", "1441106700000", "1441106700000000", "1441106700000000000", "1441106700.0"] {
            assert_eq!(decimal(text.as_bytes(), None), expected, "{text}");
        }
    }

    #[test]
    fn dates_are_read_as_utc_unless_they_name_a_zone() {
        let mut times = Times::new(None);
        let expected = Ok(1_441_106_700 * SECOND);
        for text in [
            "2015-09-01 11:25:00",
            "2015-09-01T11:25:00Z",
            "2015-09-01T13:25:00+02:00",
            " 2015-09-01 11:25:00.000 ",
            "1441106700",
        ] {
            assert_eq!(times.read(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(times.read(b"2015-09-01"), Ok(1_441_065_600 * SECOND));
        assert_eq!(times.read(b"2015-09-01T11:25:00.250Z"), expected.map(|time| time + SECOND / 4));
        for text in
            ["", "2015-13-01 00:00:00", "2015-09-01 11:25:00 x", "2015-09-0", "yesterday", "2015-", "9999-01-01"]
        {
            assert!(times.read(text.as_bytes()).is_err(), "{text}");
        }
    }

    /// A time at the end of what an i64 holds, behind the zero meridian, once made the sum overflow.
    #[test]
    fn the_last_time_of_all_does_not_panic() {
        let mut times = Times::new(None);
        assert!(times.read(b"2262-04-11T23:47:16-23:59").is_err());
        assert!(times.read(b"1677-09-21T00:12:44+23:59").is_err());
    }

    /// It was acknowledged and never seen.
    #[test]
    fn the_last_nanosecond_is_out_of_range() {
        let unit = Some(Unit::Nanoseconds);
        assert!(whole(b"9223372036854775807", Unit::Nanoseconds).unwrap_err().contains("out of range"));
        assert!(
            decimal(b"9223372036854775807", unit).is_err()
                && decimal(b"9223372036.854775807", Some(Unit::Seconds)).is_err()
        );
        assert!(Times::new(None).read(b"2262-04-11T23:47:16.854775807Z").is_err());
        assert_eq!(whole(b"9223372036854775806", Unit::Nanoseconds), Ok(i64::MAX - 1));
        assert_eq!(decimal(b"9223372036854775806", unit), Ok(i64::MAX - 1));
        assert_eq!(whole(b"-9223372036854775808", Unit::Nanoseconds), Ok(i64::MIN));
    }

    proptest! {
        #[test]
        fn any_time_comes_back(time in i64::MIN..i64::MAX) {
            prop_assert_eq!(whole(time.to_string().as_bytes(), Unit::Nanoseconds), Ok(time));
            let sign = if time < 0 { "-" } else { "" };
            let (seconds, rest) = (time.unsigned_abs() / 1_000_000_000, time.unsigned_abs() % 1_000_000_000);
            let text = format!("{sign}{seconds}.{rest:09}");
            prop_assert_eq!(decimal(text.as_bytes(), Some(Unit::Seconds)), Ok(time));
        }

        #[test]
        fn noise_does_not_panic(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Times::new(None).read(&text);
            let (_, _) = (decimal(&text, Some(Unit::Hours)), whole(&text, Unit::Hours));
        }
    }
}
