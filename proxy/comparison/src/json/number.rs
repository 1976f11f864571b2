//! Numbers, compared as what they mean and exactly.

use std::hash::{Hash, Hasher};

/// The value of a JSON number: `0.d₁d₂… × 10^exponent`, with neither leading nor trailing zeros among
/// its digits. Two numbers are equal when these are: `1`, `1.0` and `10e-1` are, and so is no pair of
/// integers that only a 64-bit float cannot tell apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decimal<'a> {
    negative: bool,
    /// Digits before and after the point.
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
    text: &'a str,
}

impl<'a> Decimal<'a> {
    /// Reads a number that the parser has accepted.
    pub(crate) fn new(text: &'a str) -> Self {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        // An exponent beyond 64 bits stays as it is: clamped ones are told apart by their texts.
        let exponent = exponent.parse::<i64>().ok().filter(|exponent| exponent.unsigned_abs() < 1 << 60);
        let Some(exponent) = exponent else {
            return Self { negative, whole, fraction, exponent: i64::MAX, text };
        };
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        if whole.is_empty() {
            let trimmed = fraction.trim_start_matches('0');
            if trimmed.is_empty() {
                return Self { negative: false, whole: "", fraction: "", exponent: 0, text: "0" };
            }
            let zeros = length(fraction) - length(trimmed);
            return Self { negative, whole: "", fraction: trimmed, exponent: exponent - zeros, text };
        }
        let shifted = exponent + length(whole);
        let whole = if fraction.is_empty() { whole.trim_end_matches('0') } else { whole };
        Self { negative, whole, fraction, exponent: shifted, text }
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.whole.bytes().chain(self.fraction.bytes())
    }

    fn is_clamped(&self) -> bool {
        self.exponent == i64::MAX
    }

    /// How far two numbers are apart: exact where both are integers of at most 128 bits, otherwise
    /// as 64-bit floats have it.
    pub(crate) fn distance(&self, other: &Self) -> f64 {
        match (self.text.parse::<i128>(), other.text.parse::<i128>()) {
            #[expect(clippy::cast_precision_loss, reason = "the distance is exact; only its last digits are lost")]
            (Ok(one), Ok(two)) if one.checked_sub(two).is_some() => one.abs_diff(two) as f64,
            _ => (self.to_f64() - other.to_f64()).abs(),
        }
    }

    /// The nearest 64-bit float, which may be infinite.
    pub(crate) fn to_f64(self) -> f64 {
        self.text.parse().unwrap_or(f64::NAN)
    }
}

fn length(digits: &str) -> i64 {
    i64::try_from(digits.len()).expect("a text in memory is shorter than 2^63 bytes")
}

impl PartialEq for Decimal<'_> {
    fn eq(&self, other: &Self) -> bool {
        if self.is_clamped() || other.is_clamped() {
            return self.text == other.text;
        }
        self.negative == other.negative && self.exponent == other.exponent && self.digits().eq(other.digits())
    }
}

impl Hash for Decimal<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if self.is_clamped() {
            return self.text.hash(state);
        }
        self.negative.hash(state);
        self.exponent.hash(state);
        for digit in self.digits() {
            state.write_u8(digit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_what_they_mean() {
        for (one, two) in [
            ("1", "1.0"),
            ("1", "10e-1"),
            ("1", "0.1E+1"),
            ("-0", "0"),
            ("0.0e5", "0"),
            ("100", "1e2"),
            ("120.50", "1205e-1"),
            ("0.00012", "1.2e-4"),
            ("123456789012345678901234567890", "1.2345678901234567890123456789e29"),
        ] {
            assert_eq!(Decimal::new(one), Decimal::new(two), "{one} {two}");
        }
    }

    #[test]
    fn numbers_that_floats_cannot_tell_apart_differ() {
        for (one, two) in [
            ("9007199254740993", "9007199254740992"),
            ("0.1", "0.1000000000000000055511151231257827"),
            ("1", "-1"),
            ("10", "1"),
            ("1e999", "1e998"),
            ("1e99999999999999999999", "1e99999999999999999998"),
            ("0.12", "0.102"),
        ] {
            assert_ne!(Decimal::new(one), Decimal::new(two), "{one} {two}");
        }
    }

    #[test]
    fn distances_of_large_integers_are_exact() {
        let (one, two) = (Decimal::new("9007199254740993"), Decimal::new("9007199254740992"));
        assert!((one.distance(&two) - 1.0).abs() < f64::EPSILON);
        assert!((Decimal::new("1.5").distance(&Decimal::new("-1")) - 2.5).abs() < f64::EPSILON);
    }
}
