//! Sizes, times and policies between the command line, the code and the screen. Pure.

use std::time::Duration;

use duramen_journal::{Codec, SyncPolicy};

/// Parses `65536`, `64K`, `64KiB`, `16M`, `1G`: powers of 1024.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| format!("{text}: expected a size such as 65536, 64K or 16M"))?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "K" | "k" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return Err(format!("{text}: the unit is none of K, M, G")),
    };
    number.checked_mul(factor).ok_or_else(|| format!("{text}: more than 2^64 bytes"))
}

/// Parses a segment's size: `parse_bytes` within what the format's 32-bit offsets can address.
pub fn parse_segment_bytes(text: &str) -> Result<u32, String> {
    let bytes = parse_bytes(text)?;
    u32::try_from(bytes).map_err(|_| format!("{text}: a segment stays below 4G"))
}

/// Parses `500us`, `200ms`, `2s`, `1m`, `2h`, `30d`.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let expected = || format!("{text}: expected a time such as 200ms, 2s, 1m or 1h");
    let number: u32 = number.parse().map_err(|_| expected())?;
    let unit = match unit {
        "us" => Duration::from_micros(1),
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(60 * 60),
        "d" => Duration::from_secs(24 * 60 * 60),
        _ => return Err(expected()),
    };
    unit.checked_mul(number).ok_or_else(expected)
}

/// Parses `always`, `never`, `interval:200ms`, `batch:1000,200ms`.
pub fn parse_policy(text: &str) -> Result<SyncPolicy, String> {
    match text.split_once(':') {
        None if text == "always" => Ok(SyncPolicy::Always),
        None if text == "never" => Ok(SyncPolicy::Never),
        Some(("interval", time)) => Ok(SyncPolicy::Interval(parse_time(time)?)),
        Some(("batch", bounds)) => {
            let (records, interval) =
                bounds.split_once(',').ok_or_else(|| format!("{text}: expected batch:RECORDS,TIME"))?;
            let records = records.parse().map_err(|_| format!("{text}: {records} is no count of records"))?;
            Ok(SyncPolicy::Batch { records, interval: parse_time(interval)? })
        }
        _ => Err(format!("{text}: expected always, never, interval:TIME or batch:RECORDS,TIME")),
    }
}

/// Parses `none`, `lz4`, `zstd`, `zstd:LEVEL`.
pub fn parse_codec(text: &str) -> Result<Codec, String> {
    match text {
        "none" => Ok(Codec::None),
        "lz4" => Ok(Codec::Lz4),
        "zstd" => Ok(Codec::Zstd(3)),
        _ => {
            let level = text.strip_prefix("zstd:").and_then(|level| level.parse().ok());
            level.map(Codec::Zstd).ok_or_else(|| format!("{text}: expected none, lz4, zstd or zstd:LEVEL"))
        }
    }
}

/// A count with its thousands set apart: `12,345`.
pub fn show_count(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A count and its noun: `1 line`, `2,000 lines`.
pub fn show_counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", show_count(count), if count == 1 { "" } else { "s" })
}

/// A size in the largest unit that keeps it above 1: `3.2 MiB`.
pub fn show_bytes(bytes: u64) -> String {
    if bytes < 1 << 10 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    for unit in ["KiB", "MiB"] {
        if value < 1024.0 {
            return format!("{value:.1} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} GiB")
}

/// A time in the unit that suits it: `138 us`, `12.1 ms`, `3.4 s`.
pub fn show_time(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 1e3 {
        format!("{micros:.0} us")
    } else if micros < 1e6 {
        format!("{:.1} ms", micros / 1e3)
    } else {
        format!("{:.1} s", micros / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_bytes("64K"), Ok(65536));
        assert_eq!(parse_bytes("7"), Ok(7));
        assert_eq!(parse_segment_bytes("1GiB"), Ok(1 << 30));
        for wrong in ["", "K", "-1", "1T", "99999999999G", "1.5M"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
        assert!(parse_segment_bytes("4G").is_err());
        assert_eq!(show_bytes(1023), "1023 B");
        assert_eq!(show_bytes(3 << 20), "3.0 MiB");
        assert_eq!(show_bytes(5 << 40), "5120.0 GiB");
    }

    #[test]
    fn times_and_policies() {
        assert_eq!(parse_time("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(parse_policy("interval:1m"), Ok(SyncPolicy::Interval(Duration::from_secs(60))));
        let batch = SyncPolicy::Batch { records: 10, interval: Duration::from_secs(2) };
        assert_eq!(parse_policy("batch:10,2s"), Ok(batch));
        for wrong in ["", "sometimes", "interval", "interval:5", "batch:1s", "batch:x,1s", "always:1s"] {
            assert!(parse_policy(wrong).is_err(), "{wrong}");
        }
        assert_eq!(show_time(Duration::from_micros(138)), "138 us");
        assert_eq!(show_time(Duration::from_micros(12_100)), "12.1 ms");
    }

    #[test]
    fn codecs() {
        assert_eq!(parse_codec("zstd:7"), Ok(Codec::Zstd(7)));
        assert_eq!(parse_codec("none"), Ok(Codec::None));
        assert!(parse_codec("gzip").is_err() && parse_codec("zstd:").is_err());
    }

    #[test]
    fn counts() {
        assert_eq!(show_count(0), "0");
        assert_eq!(show_count(999), "999");
        assert_eq!(show_count(1_234_567), "1,234,567");
        assert_eq!(show_counted(1, "line"), "1 line");
    }
}
