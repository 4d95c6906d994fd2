//! Numbers in texts. Owns a fast road for the short decimals that sensors send; the standard library takes the others. Pure.

/// The NaN that Prometheus stores for a NaN in a text. Its mark of a stale series has other bits.
pub const NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// Integers up to here are exact in an f64, and so is the division of two exact ones rounded once.
const EXACT_MAX: u64 = 1 << 53;

/// The powers of ten that are exact in an f64.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// A finite decimal: `-1`, `.5`, `5.`, `1.5e-3`. The nearest f64; `None` for anything else, also beyond the range of f64.
pub fn decimal(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text.first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let mut mantissa = 0u64;
    let mut point = None;
    // 19 digits are always below 2^64.
    if digits.len() <= 20 {
        for (at, byte) in digits.iter().enumerate() {
            match byte {
                b'0'..=b'9' => mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(byte - b'0')),
                b'.' if point.is_none() => point = Some(at),
                _ => return any_decimal(text),
            }
        }
        let count = digits.len() - usize::from(point.is_some());
        if (1..=19).contains(&count) && mantissa <= EXACT_MAX {
            let value = mantissa as f64 / POWERS[point.map_or(0, |at| count - at)];
            return Some(if negative { -value } else { value });
        }
    }
    any_decimal(text)
}

/// The slow road.
fn any_decimal(text: &[u8]) -> Option<f64> {
    let known = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
    if !text.iter().all(known) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok().filter(|value: &f64| value.is_finite())
}

/// What Prometheus takes as a value in a text: a decimal, or `NaN`, `Inf`, `+infinity` in letters of any case. No hexadecimal
/// numbers and no `_`, as there.
pub fn prometheus(text: &[u8]) -> Option<f64> {
    if let Some(value) = decimal(text) {
        return Some(value);
    }
    if text.eq_ignore_ascii_case(b"nan") {
        return Some(NAN);
    }
    let (value, name) = match text.first()? {
        b'-' => (f64::NEG_INFINITY, &text[1..]),
        b'+' => (f64::INFINITY, &text[1..]),
        _ => (f64::INFINITY, text),
    };
    (name.eq_ignore_ascii_case(b"inf") || name.eq_ignore_ascii_case(b"infinity")).then_some(value)
}

/// A whole number without a sign.
pub fn unsigned(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |sum, byte| match byte {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// A whole number, with a sign or without.
pub fn signed(text: &[u8]) -> Option<i64> {
    match text.first()? {
        b'-' => 0i64.checked_sub_unsigned(unsigned(&text[1..])?),
        b'+' => i64::try_from(unsigned(&text[1..])?).ok(),
        _ => i64::try_from(unsigned(text)?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_are_read_as_the_standard_library_reads_them() {
        for text in [
            "0",
            "-0",
            "+0",
            "1",
            "-1",
            "0.1",
            ".5",
            "5.",
            "-.5",
            "9007199254740992",
            "9007199254740993",
            "1e5",
            "1E-5",
            "1.5e+3",
            "0.30000000000000004",
            "1.7976931348623157e308",
            "5e-324",
            "1e-400",
            "0.0000000000000000001",
            "12345678901234567890",
            "99999999999999999999",
            "0.1234567890123456789",
            "18446744073709551616.5",
            "00000000000000000001",
            "3.141592653589793",
        ] {
            let expected: f64 = text.parse().unwrap();
            assert_eq!(decimal(text.as_bytes()).map(f64::to_bits), Some(expected.to_bits()), "{text}");
        }
    }

    #[test]
    fn what_is_no_decimal_is_none() {
        for text in [
            "", "-", ".", "-.", "+", "1.2.3", "1e", "e5", "1_000", "0x1p4", "0x10", "nan", "inf", "-inf", "1e400",
            "--1", "1 ", " 1", "1f", "\u{0}", "ä",
        ] {
            assert_eq!(decimal(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn prometheus_has_infinities_and_a_nan_of_its_own() {
        for text in ["Inf", "+Inf", "inf", "INFINITY", "+infinity"] {
            assert_eq!(prometheus(text.as_bytes()), Some(f64::INFINITY), "{text}");
        }
        assert_eq!(prometheus(b"-Inf"), Some(f64::NEG_INFINITY));
        assert_eq!(prometheus(b"NaN").map(f64::to_bits), Some(0x7ff8_0000_0000_0001));
        for text in ["+NaN", "-nan", "infinit", "", "-", "0x1p-2", "1_0"] {
            assert!(prometheus(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn whole_numbers_end_where_their_types_end() {
        assert_eq!(signed(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(signed(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(signed(b"+5"), Some(5));
        assert_eq!(unsigned(b"18446744073709551615"), Some(u64::MAX));
        for text in ["9223372036854775808", "-9223372036854775809", "", "-", "1.0", "--1"] {
            assert_eq!(signed(text.as_bytes()), None, "{text}");
        }
        assert_eq!(unsigned(b"18446744073709551616"), None);
    }

    proptest! {
        #[test]
        fn any_float_comes_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            for text in [value.to_string(), format!("{value:e}")] {
                prop_assert_eq!(decimal(text.as_bytes()).map(f64::to_bits), Some(bits), "{}", text);
            }
        }

        #[test]
        fn short_decimals_are_rounded_as_elsewhere(whole in any::<u32>(), fraction in "[0-9]{0,9}") {
            let text = format!("{whole}.{fraction}");
            prop_assert_eq!(decimal(text.as_bytes()), text.parse().ok());
        }

        #[test]
        fn noise_does_not_panic(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let (_, _, _) = (prometheus(&text), signed(&text), unsigned(&text));
        }
    }
}
