//! Dates of times in UTC. Owns the proleptic Gregorian calendar; knows no clock and no time zone.

/// A date and a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Date {
    pub year: i64,
    /// From 1.
    pub month: u8,
    /// From 1.
    pub day: u8,
    /// From 0, on Sunday.
    pub weekday: u8,
    /// From 1.
    pub day_of_year: u16,
    pub days_in_month: u8,
    pub hour: u8,
    pub minute: u8,
}

/// Seconds on either side of 1970 at most: some 30 million years, beyond which no date is asked for in earnest.
const SECONDS_MAX: f64 = 1e15;

const MONTH_DAYS: [u8; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// The date of a time in seconds since 1970; `None` for what is no time.
pub(super) fn date(seconds: f64) -> Option<Date> {
    if seconds.is_nan() || seconds.abs() > SECONDS_MAX {
        return None;
    }
    let whole = seconds.trunc() as i64;
    let (days, second_of_day) = (whole.div_euclid(86_400), whole.rem_euclid(86_400));
    // Years in cycles of 400, which are 146,097 days, counted from 2000-01-01.
    let since = days - 10_957;
    let (cycle, mut left) = (since.div_euclid(146_097), since.rem_euclid(146_097));
    let mut year = 2000 + cycle * 400;
    while left >= days_of(year) {
        left -= days_of(year);
        year += 1;
    }
    let day_of_year = left + 1;
    let (mut month, mut days_in_month) = (0, 0);
    for (index, &length) in MONTH_DAYS.iter().enumerate() {
        (month, days_in_month) = (index + 1, i64::from(length) + i64::from(index == 1 && is_leap(year)));
        if left < days_in_month {
            break;
        }
        left -= days_in_month;
    }
    Some(Date {
        year,
        month: month as u8,
        day: left as u8 + 1,
        weekday: (days + 4).rem_euclid(7) as u8,
        day_of_year: day_of_year as u16,
        days_in_month: days_in_month as u8,
        hour: (second_of_day / 3600) as u8,
        minute: (second_of_day / 60 % 60) as u8,
    })
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64) -> i64 {
    365 + i64::from(is_leap(year))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        for (seconds, expected) in [
            (0.0, (1970, 1, 1, 4, 1, 31, 0, 0)),
            (-1.0, (1969, 12, 31, 3, 365, 31, 23, 59)),
            (951_782_400.0, (2000, 2, 29, 2, 60, 29, 0, 0)),
            (1_700_000_000.9, (2023, 11, 14, 2, 318, 30, 22, 13)),
            (4_102_444_799.0, (2099, 12, 31, 4, 365, 31, 23, 59)),
            (-62_135_596_800.0, (1, 1, 1, 1, 1, 31, 0, 0)),
        ] {
            let date = date(seconds).unwrap();
            let found = (
                date.year,
                date.month,
                date.day,
                date.weekday,
                date.day_of_year,
                date.days_in_month,
                date.hour,
                date.minute,
            );
            assert_eq!(found, expected, "{seconds}");
        }
    }

    #[test]
    fn what_is_no_time_has_no_date() {
        for seconds in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            assert_eq!(date(seconds), None);
        }
    }
}
