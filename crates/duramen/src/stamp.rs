//! Times and levels in the lines of programs, and times as people write them. Owns the guesses: which beginnings of a line are a
//! time, which words a level. A guess that fails costs nothing: the line is stored as it is, with the time of its arrival.

use duramen_store::{Level, Nanoseconds};
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// What a line's beginning says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head<'a> {
    /// When it was written.
    pub time: Option<Nanoseconds>,
    /// The program, where the line has syslog's form.
    pub program: Option<&'a str>,
    /// The machine, likewise.
    pub host: Option<&'a str>,
}

/// Reads lines of one time zone, near one moment: the year is often left out.
#[derive(Clone, Debug)]
pub struct Stamps {
    zone: TimeZone,
    /// The offset from UTC of the day that was asked for last: finding it anew for each line would cost more than the line.
    known: Option<(Date, i64)>,
    /// The second that was read last, and its time.
    last: Option<([u8; 19], Nanoseconds)>,
}

const SECOND: Nanoseconds = 1_000_000_000;
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

impl Default for Stamps {
    /// Of the system's time zone.
    fn default() -> Stamps {
        Stamps::new(TimeZone::system())
    }
}

impl Stamps {
    /// Of a zone.
    pub fn new(zone: TimeZone) -> Stamps {
        Stamps { zone, known: None, last: None }
    }

    /// What a line begins with. `now` decides the year where the line names none.
    pub fn head<'a>(&mut self, line: &'a [u8], now: Nanoseconds) -> Head<'a> {
        let (time, length) = match self.time(line, now) {
            Some((time, length)) => (Some(time), length),
            None => return Head::default(),
        };
        let (host, program) = match line.get(length) {
            Some(b' ') => tag(&line[length + 1..]).map_or((None, None), |(host, program)| (Some(host), Some(program))),
            _ => (None, None),
        };
        Head { time, program, host }
    }

    /// The time at a line's beginning, and its length there.
    pub fn time(&mut self, line: &[u8], now: Nanoseconds) -> Option<(Nanoseconds, usize)> {
        match line.first()? {
            b'0'..=b'9' => self.date_and_time(line).or_else(|| epoch(line)),
            b'[' => {
                let (time, length) = self.date_and_time(&line[1..])?;
                (line.get(1 + length) == Some(&b']')).then_some((time, length + 2))
            }
            b'A'..=b'S' => self.month_and_time(line, now),
            _ => None,
        }
    }

    /// `2026-11-26 20:01:02[.123][Z|+01:00]`, also with `T` or `/`.
    fn date_and_time(&mut self, line: &[u8]) -> Option<(Nanoseconds, usize)> {
        let head: [u8; 19] = line.get(..19)?.try_into().ok()?;
        let whole = match self.last {
            Some((last, time)) if last == head => time,
            _ => {
                let time = civil_time(&head)?;
                self.last = Some((head, time));
                time
            }
        };
        let mut length = 19;
        let mut fraction = 0;
        if matches!(line.get(length), Some(b'.' | b',')) {
            let digits = line[length + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits > 0 {
                let kept = &line[length + 1..length + 1 + digits.min(9)];
                fraction = kept.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
                fraction *= 10i64.pow(9 - kept.len() as u32);
                length += 1 + digits;
            }
        }
        let (offset, zone_length) = match zone(&line[length..]) {
            Some(found) => found,
            None => (self.local_offset(whole), 0),
        };
        let time = whole.checked_sub(offset * SECOND)?.checked_add(fraction)?;
        Some((time, length + zone_length))
    }

    /// `Nov 26 20:01:02`, syslog's old form.
    fn month_and_time(&mut self, line: &[u8], now: Nanoseconds) -> Option<(Nanoseconds, usize)> {
        let head = line.get(..15)?;
        let month = MONTHS.iter().position(|month| **month == head[..3])? as i8 + 1;
        if head[3] != b' ' || head[6] != b' ' || head[9] != b':' || head[12] != b':' {
            return None;
        }
        let day = if head[4] == b' ' { digits(&head[5..6])? } else { digits(&head[4..6])? };
        let time = Time::new(digits(&head[7..9])?, digits(&head[10..12])?, digits(&head[13..15])?, 0).ok()?;
        let today = Timestamp::from_nanosecond(i128::from(now)).ok()?.to_zoned(self.zone.clone()).date();
        // The year in which it lies nearest to now, at most a day ahead.
        let in_year = |year| Some(DateTime::from_parts(Date::new(year, month, day).ok()?, time));
        let tomorrow = today.checked_add(SignedDuration::from_hours(24)).ok()?;
        let found = in_year(today.year()).filter(|found| found.date() <= tomorrow);
        let found = found.or_else(|| in_year(today.year() - 1))?;
        let whole = civil_nanoseconds(found)?;
        Some((whole - self.local_offset(whole) * SECOND, 15))
    }

    /// Seconds that the zone is ahead of UTC at a local time.
    fn local_offset(&mut self, local: Nanoseconds) -> i64 {
        let Some(civil) =
            Timestamp::from_nanosecond(i128::from(local)).ok().map(|at| at.to_zoned(TimeZone::UTC).datetime())
        else {
            return 0;
        };
        match self.known {
            Some((date, offset)) if date == civil.date() => offset,
            _ => {
                let zoned = civil.to_zoned(self.zone.clone());
                let offset = zoned.map_or(0, |zoned| i64::from(zoned.offset().seconds()));
                self.known = Some((civil.date(), offset));
                offset
            }
        }
    }
}

fn digits<N: TryFrom<i64>>(text: &[u8]) -> Option<N> {
    if !text.iter().all(u8::is_ascii_digit) || text.is_empty() || text.len() > 18 {
        return None;
    }
    N::try_from(text.iter().fold(0i64, |sum, digit| sum * 10 + i64::from(digit - b'0'))).ok()
}

/// `2026-11-26T20:01:02` as if it were UTC.
fn civil_time(head: &[u8; 19]) -> Option<Nanoseconds> {
    let separators = matches!((head[4], head[7]), (b'-', b'-') | (b'/', b'/'));
    if !separators || !matches!(head[10], b'T' | b' ' | b't') || head[13] != b':' || head[16] != b':' {
        return None;
    }
    let date = Date::new(digits(&head[..4])?, digits(&head[5..7])?, digits(&head[8..10])?).ok()?;
    // A leap second is the one before it.
    let second: i8 = digits(&head[17..19])?;
    let time = Time::new(digits(&head[11..13])?, digits(&head[14..16])?, second.min(59), 0).ok()?;
    civil_nanoseconds(DateTime::from_parts(date, time))
}

fn civil_nanoseconds(civil: DateTime) -> Option<Nanoseconds> {
    let utc = civil.to_zoned(TimeZone::UTC).ok()?;
    i64::try_from(utc.timestamp().as_nanosecond()).ok()
}

/// `Z`, `+01:00`, ` +0100`: seconds ahead of UTC, and the length.
fn zone(rest: &[u8]) -> Option<(i64, usize)> {
    let space = usize::from(rest.first() == Some(&b' '));
    let text = &rest[space..];
    match text.first()? {
        b'Z' | b'z' if space == 0 => Some((0, 1)),
        sign @ (b'+' | b'-') => {
            let hours: i64 = digits(text.get(1..3)?)?;
            let colon = usize::from(text.get(3) == Some(&b':'));
            let minutes: i64 = digits(text.get(3 + colon..5 + colon)?)?;
            let seconds = hours * 3_600 + minutes * 60;
            Some((if *sign == b'-' { -seconds } else { seconds }, space + 5 + colon))
        }
        _ => None,
    }
}

/// Seconds since 1970, with a fraction or not.
fn epoch(line: &[u8]) -> Option<(Nanoseconds, usize)> {
    let whole = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if whole != 10 {
        return None;
    }
    let seconds: i64 = digits(&line[..10])?;
    let mut length = 10;
    let mut nanoseconds = 0;
    if line.get(10) == Some(&b'.') {
        let count = line[11..].iter().take_while(|byte| byte.is_ascii_digit()).count().min(9);
        nanoseconds = digits::<i64>(&line[11..11 + count]).unwrap_or(0) * 10i64.pow(9 - count as u32);
        length = 11 + count;
    }
    matches!(line.get(length), None | Some(b' ' | b':' | b']')).then_some((seconds * SECOND + nanoseconds, length))
}

/// `host program[123]: `, as syslog's files have it behind the time.
fn tag(rest: &[u8]) -> Option<(&str, &str)> {
    let host_end = rest.iter().take(64).position(|&byte| byte == b' ')?;
    let host = std::str::from_utf8(&rest[..host_end]).ok()?;
    let tag = &rest[host_end + 1..];
    let end = tag.iter().take(64).position(|&byte| matches!(byte, b':' | b'[' | b' '))?;
    let program = std::str::from_utf8(&tag[..end]).ok()?;
    let is_name = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/' | b'@'))
    };
    let ends = match tag[end] {
        // `package:architecture` is no program.
        b':' => matches!(tag.get(end + 1), None | Some(b' ')),
        b'[' => tag[end..].iter().take(16).any(|&byte| byte == b']'),
        _ => false,
    };
    (ends && is_name(host) && is_name(program) && !program.bytes().all(|b| b.is_ascii_digit()))
        .then_some((host, program))
}

/// The level that a line's first words name.
pub fn level(line: &[u8]) -> Level {
    let mut words = 0;
    let begin = &line[..line.len().min(160)];
    for word in begin.split(|byte| !byte.is_ascii_alphabetic()) {
        if word.len() < 3 {
            continue;
        }
        let known = match word {
            b"FATAL" | b"fatal" | b"Fatal" | b"CRITICAL" | b"CRIT" | b"crit" | b"critical" | b"PANIC" | b"panic" => {
                Level::Critical
            }
            b"ALERT" | b"alert" => Level::Alert,
            b"EMERG" | b"emerg" => Level::Emergency,
            b"ERROR" | b"error" | b"Error" | b"ERR" | b"err" | b"SEVERE" => Level::Error,
            b"WARNING" | b"warning" | b"Warning" | b"WARN" | b"warn" => Level::Warning,
            b"NOTICE" | b"notice" => Level::Notice,
            b"INFO" | b"info" => Level::Info,
            b"DEBUG" | b"debug" | b"TRACE" | b"trace" => Level::Debug,
            _ => Level::None,
        };
        if known != Level::None {
            return known;
        }
        words += 1;
        if words == 12 {
            break;
        }
    }
    Level::None
}

/// Reads a time as a person types it: `-2h`, `-3d`, `now`, `today`, `yesterday`, `10:30`, `2026-11-26`, `2026-11-26 10:30[:00]`,
/// with `T` and a zone or without, or seconds since 1970.
///
/// # Errors
/// It is none of these.
pub fn parse_time(text: &str, now: Nanoseconds) -> Result<Nanoseconds, String> {
    let wrong = || format!("{text}: expected a time such as -2h, today, 10:30, or 2026-11-26 10:30:00");
    let text = text.trim();
    let ago = text.strip_prefix('-').or_else(|| text.strip_suffix(" ago"));
    if let Some(span) = ago {
        return span_nanoseconds(span.trim()).map(|span| now.saturating_sub(span)).ok_or_else(wrong);
    }
    if let Some(span) = text.strip_prefix('+') {
        return span_nanoseconds(span).map(|span| now.saturating_add(span)).ok_or_else(wrong);
    }
    let zone = TimeZone::system();
    let today = Timestamp::from_nanosecond(i128::from(now)).map_err(|_| wrong())?.to_zoned(zone.clone()).date();
    let date = match text {
        "now" => return Ok(now),
        "today" => Some(today),
        "yesterday" => today.yesterday().ok(),
        _ => None,
    };
    let at = |civil: DateTime| {
        let zoned = civil.to_zoned(zone.clone()).ok()?;
        i64::try_from(zoned.timestamp().as_nanosecond()).ok()
    };
    if let Some(date) = date {
        return at(date.at(0, 0, 0, 0)).ok_or_else(wrong);
    }
    let padded = match text.len() {
        5 | 8 if text.as_bytes().get(2) == Some(&b':') => format!("{today} {text}"),
        _ => text.to_string(),
    };
    let padded = match padded.len() {
        10 if padded.as_bytes()[4] == b'-' => format!("{padded} 00:00:00"),
        16 => format!("{padded}:00"),
        _ => padded,
    };
    let found = Stamps::default().time(padded.as_bytes(), now);
    found.filter(|(_, length)| *length == padded.len()).map(|(time, _)| time).ok_or_else(wrong)
}

/// `90s`, `15m`, `2h`, `3d`, `1w`, also several behind each other.
pub fn span_nanoseconds(text: &str) -> Option<Nanoseconds> {
    let mut rest = text;
    let mut sum: i64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits_end = rest.find(|c: char| !c.is_ascii_digit())?;
        let unit_end =
            rest[digits_end..].find(|c: char| !c.is_ascii_alphabetic()).map_or(rest.len(), |at| digits_end + at);
        let number: i64 = rest[..digits_end].parse().ok()?;
        let unit = match &rest[digits_end..unit_end] {
            "ms" => SECOND / 1_000,
            "s" | "sec" => SECOND,
            "m" | "min" => 60 * SECOND,
            "h" => 3_600 * SECOND,
            "d" | "day" | "days" => 86_400 * SECOND,
            "w" => 7 * 86_400 * SECOND,
            _ => return None,
        };
        sum = sum.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[unit_end..];
    }
    Some(sum)
}

/// The machine's wall clock.
pub fn wall_clock() -> Nanoseconds {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// A time for people, in the system's zone: `2026-11-26 20:01:02.123`.
pub fn show(time: Nanoseconds) -> String {
    match Timestamp::from_nanosecond(i128::from(time)) {
        Ok(at) => at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        Err(_) => time.to_string(),
    }
}

/// A time for programs: RFC 3339 in UTC, with all its digits.
pub fn show_utc(time: Nanoseconds) -> String {
    match Timestamp::from_nanosecond(i128::from(time)) {
        Ok(at) => at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S%.9fZ").to_string(),
        Err(_) => time.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-26 20:00:00 UTC.
    const NOW: Nanoseconds = 1_795_723_200 * SECOND;

    fn utc(line: &str) -> Option<Nanoseconds> {
        Stamps::new(TimeZone::UTC).head(line.as_bytes(), NOW).time
    }

    #[test]
    fn the_times_of_common_logs_are_read() {
        let at = |seconds: i64| Some(NOW + seconds * SECOND);
        assert_eq!(utc("2026-11-26 20:00:01 startup archives unpack"), at(1));
        assert_eq!(utc("2026-11-26T20:00:01Z x"), at(1));
        assert_eq!(utc("2026-11-26T21:00:01+01:00 x"), at(1));
        assert_eq!(utc("2026/11/26 20:00:01 [error] 7#7"), at(1));
        assert_eq!(utc("2026-11-26 20:00:01,500 INFO x"), at(1).map(|time| time + SECOND / 2));
        assert_eq!(utc("2026-11-26T20:00:01.123456+00:00 host app: x"), at(1).map(|time| time + 123_456_000));
        assert_eq!(utc("[2026-11-26 20:00:01] x"), at(1));
        assert_eq!(utc("Nov 26 20:00:01 host app[1]: x"), at(1));
        assert_eq!(utc("Nov  6 20:00:01 host app[1]: x"), at(1 - 20 * 86_400));
        assert_eq!(utc("1795723201 x"), at(1));
        assert_eq!(utc("1795723201.25 x"), at(1).map(|time| time + SECOND / 4));
    }

    #[test]
    fn a_line_without_a_year_is_of_the_last_one_that_fits() {
        let december = utc("Dec 31 23:59:59 host app: x").unwrap();
        assert!(december < NOW && NOW - december < 366 * 86_400 * SECOND);
        assert!(utc("Nov 27 01:00:00 host app: x").unwrap() > NOW, "a clock may be ahead a little");
    }

    #[test]
    fn what_is_no_time_is_none() {
        for line in [
            "",
            "x",
            "2026-13-26 20:00:01",
            "2026-11-26",
            "Nov 31 20:00:01",
            "12345 x",
            "17957232011 x",
            "[x]",
            "\u{fc}",
        ] {
            assert_eq!(utc(line), None, "{line}");
        }
    }

    #[test]
    fn syslog_files_name_host_and_program() {
        let mut stamps = Stamps::new(TimeZone::UTC);
        let mut head = |line: &'static str| {
            let head = stamps.head(line.as_bytes(), NOW);
            (head.host, head.program)
        };
        assert_eq!(head("Nov 26 20:00:01 web1 sshd[42]: x"), (Some("web1"), Some("sshd")));
        assert_eq!(head("2026-11-26T20:00:01+00:00 web1 kernel: x"), (Some("web1"), Some("kernel")));
        assert_eq!(head("2026-11-26 20:00:01 status installed x"), (None, None));
        assert_eq!(head("2026-11-26 20:00:01 install libc6:amd64 <none> 2.36"), (None, None));
        assert_eq!(head("2026-11-26 20:00:01 a b: c"), (Some("a"), Some("b")));
    }

    #[test]
    fn zones_without_a_name_are_the_systems() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let mut stamps = Stamps::new(zone);
        assert_eq!(stamps.head(b"2026-11-26 22:00:01 x", NOW).time, Some(NOW + SECOND));
        assert_eq!(stamps.head(b"Nov 26 22:00:01 x", NOW).time, Some(NOW + SECOND));
    }

    #[test]
    fn levels_are_found_near_the_beginning() {
        assert_eq!(level(b"2026-11-26 20:00:01 ERROR no"), Level::Error);
        assert_eq!(level(b"[warn] x"), Level::Warning);
        assert_eq!(level(b"nothing of that kind"), Level::None);
        assert_eq!(level(b"errors are not error-free"), Level::Error);
    }

    #[test]
    fn people_write_times_in_many_ways() {
        let read = |text: &str| parse_time(text, NOW);
        assert_eq!(read("now"), Ok(NOW));
        assert_eq!(read("-2h"), Ok(NOW - 7_200 * SECOND));
        assert_eq!(read("-1d12h"), Ok(NOW - 36 * 3_600 * SECOND));
        assert_eq!(read("2026-11-26T20:00:00Z"), Ok(NOW));
        assert!(read("today").is_ok_and(|time| time <= NOW));
        assert!(read("2026-11-26").is_ok() && read("2026-11-26 10:30").is_ok() && read("10:30").is_ok());
        for wrong in ["", "-", "-2x", "tomorrowish", "2026-11-26 10:30 and more"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(show_utc(NOW + 1), "2026-11-26T20:00:00.000000001Z");
    }
}
