//! Exact conversion.

use std::cmp::Ordering;

use rust_decimal::Decimal;

/// The most digits of an amount before its point.
pub const AMOUNT_MAX_INTEGER_DIGITS: usize = 18;
/// The most digits of an amount behind its point: as many as any currency of ISO 4217 has.
pub const AMOUNT_MAX_DECIMALS: usize = 4;

/// Amounts have fewer digits than this number.
const AMOUNT_BOUND: u128 = 10_u128.pow(22);
/// Rates have fewer digits: nine before the point and eighteen behind it, as the database checks.
const RATE_BOUND: u128 = 10_u128.pow(27);
/// Where a product is split: the amount times what is below it, and times what is above it, both fit.
const SPLIT: u128 = 10_u128.pow(SPLIT_DIGITS);
const SPLIT_DIGITS: u32 = 14;

/// What an amount is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversion {
    /// The product, to its last digit. It may have more digits than a [`Decimal`].
    pub unrounded: String,
    /// The product in whole minor units: the nearest, and of two that are as near the even one.
    pub rounded: String,
}

/// Multiplies an amount by a rate. None if either is larger than the limits that its source keeps to.
#[must_use]
pub fn convert(amount: Decimal, rate: Decimal, minor_units: u8) -> Option<Conversion> {
    let digits = multiply(
        amount.mantissa().unsigned_abs(),
        rate.mantissa().unsigned_abs(),
    )?;
    let scale = usize::try_from(amount.scale() + rate.scale()).ok()?;
    let minor_units = usize::from(minor_units);
    let rounded = round_half_even(&digits, scale, minor_units)?;
    let is_negative = amount.is_sign_negative() != rate.is_sign_negative();
    Some(Conversion {
        unrounded: written(&digits, scale, is_negative)?,
        rounded: written(&rounded, minor_units, is_negative)?,
    })
}

/// The digits of a product that may be larger than 128 bits.
fn multiply(amount: u128, rate: u128) -> Option<String> {
    if amount >= AMOUNT_BOUND || rate >= RATE_BOUND {
        return None;
    }
    let low = amount * (rate % SPLIT);
    let high = amount * (rate / SPLIT) + low / SPLIT;
    let low = low % SPLIT;
    Some(if high == 0 {
        low.to_string()
    } else {
        format!("{high}{low:0width$}", width = SPLIT_DIGITS as usize)
    })
}

/// `digits` are of a number with `scale` decimals; gives those of the nearest with `decimals`.
fn round_half_even(digits: &str, scale: usize, decimals: usize) -> Option<String> {
    let Some(dropped_count) = scale.checked_sub(decimals) else {
        return Some(format!("{digits}{}", "0".repeat(decimals - scale)));
    };
    // With a digit to keep, be it a zero.
    let padded = format!("{digits:0>width$}", width = dropped_count + 1);
    let (kept, dropped) = padded.split_at_checked(padded.len() - dropped_count)?;
    let half = format!(
        "{:0<dropped_count$}",
        if dropped_count > 0 { "5" } else { "" }
    );
    let kept: u128 = kept.parse().ok()?;
    let rounds_up = match dropped.cmp(&half) {
        Ordering::Less => false,
        Ordering::Equal => dropped_count > 0 && kept % 2 == 1,
        Ordering::Greater => true,
    };
    Some((kept + u128::from(rounds_up)).to_string())
}

/// Sets the point and the sign. Zero has no sign.
fn written(digits: &str, scale: usize, is_negative: bool) -> Option<String> {
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at_checked(padded.len() - scale)?;
    let is_zero = digits.bytes().all(|digit| digit == b'0');
    let sign = if is_negative && !is_zero { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rust_decimal::RoundingStrategy;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::from_str_exact(text).unwrap()
    }

    /// Computed by hand (and with bc for the long ones).
    #[test]
    fn conversions_are_exact_and_rounded_half_even() {
        for (amount, rate, minor_units, unrounded, rounded) in [
            ("12.34", "26270", 0, "324171.80", "324172"),
            ("0", "26270", 0, "0", "0"),
            ("-0.00", "26270", 2, "0.00", "0.00"),
            (
                "1000000",
                "0.000038066235249334",
                2,
                "38.066235249334000000",
                "38.07",
            ),
            (
                "-1000000",
                "0.000038066235249334",
                2,
                "-38.066235249334000000",
                "-38.07",
            ),
            // Halves: to the even one, on either side of zero.
            ("0.5", "1", 0, "0.5", "0"),
            ("1.5", "1", 0, "1.5", "2"),
            ("2.5", "1", 0, "2.5", "2"),
            ("-1.5", "1", 0, "-1.5", "-2"),
            ("-2.5", "1", 0, "-2.5", "-2"),
            ("-0.5", "1", 0, "-0.5", "0"),
            ("2.5001", "1", 0, "2.5001", "3"),
            ("1.005", "1", 2, "1.005", "1.00"),
            ("1.015", "1", 2, "1.015", "1.02"),
            ("9.995", "1", 2, "9.995", "10.00"),
            // Fewer decimals than the currency has are filled up.
            ("7", "2", 3, "14", "14.000"),
            ("1", "0.5", 4, "0.5", "0.5000"),
            // Below half a minor unit nothing is left, not even a sign.
            (
                "-1",
                "0.000038066235249334",
                2,
                "-0.000038066235249334",
                "0.00",
            ),
            // The largest of both: 49 digits.
            (
                "999999999999999999.9999",
                "999999999.999999999999999999",
                4,
                "999999999999999999999899999.0000000000000000000001",
                "999999999999999999999899999.0000",
            ),
        ] {
            let found = convert(decimal(amount), decimal(rate), minor_units);
            let expected = Conversion {
                unrounded: unrounded.to_owned(),
                rounded: rounded.to_owned(),
            };
            assert_eq!(found, Some(expected), "{amount} × {rate}");
        }
    }

    #[test]
    fn what_is_above_the_limits_is_no_conversion() {
        let largest = Decimal::MAX;
        assert_eq!(convert(largest, decimal("1"), 2), None);
        assert_eq!(convert(decimal("1"), largest, 2), None);
    }

    proptest! {
        /// Where a product fits a decimal, it is what the decimal says.
        #[test]
        fn it_agrees_with_the_decimals_own_arithmetic(
            amount in -1_000_000_000_000_i64..1_000_000_000_000,
            amount_scale in 0_u32..=4,
            rate in 1_i64..1_000_000_000_000,
            rate_scale in 0_u32..=12,
            minor_units in 0_u8..=4,
        ) {
            let amount = Decimal::new(amount, amount_scale);
            let rate = Decimal::new(rate, rate_scale);
            let found = convert(amount, rate, minor_units).unwrap();
            let product = amount * rate;
            prop_assert_eq!(decimal(&found.unrounded), product);
            let rounded = product.round_dp_with_strategy(
                minor_units.into(),
                RoundingStrategy::MidpointNearestEven,
            );
            prop_assert_eq!(decimal(&found.rounded), rounded);
        }
    }
}
