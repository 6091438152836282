//! Exact conversion.

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, RoundingMode};
use rust_decimal::Decimal;

/// The most digits of an amount before its point.
pub const AMOUNT_MAX_INTEGER_DIGITS: usize = 18;
/// The most digits of an amount behind its point: as many as any currency of ISO 4217 has.
pub const AMOUNT_MAX_DECIMALS: usize = 4;

/// What an amount is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversion {
    /// The product, to its last digit. It may have more digits than a [`Decimal`].
    pub unrounded: String,
    /// The product in whole minor units: the nearest, and of two that are as near the even one.
    pub rounded: String,
}

/// Multiplies an amount by a rate.
#[must_use]
pub fn convert(amount: Decimal, rate: Decimal, minor_units: u8) -> Conversion {
    // Amounts have up to 22 digits and rates up to 27: their product fits no 96 bits.
    let product = big(amount) * big(rate);
    let rounded = product.with_scale_round(minor_units.into(), RoundingMode::HalfEven);
    Conversion {
        unrounded: product.to_plain_string(),
        rounded: rounded.to_plain_string(),
    }
}

fn big(decimal: Decimal) -> BigDecimal {
    BigDecimal::new(BigInt::from(decimal.mantissa()), decimal.scale().into())
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
            assert_eq!(found, expected, "{amount} × {rate}");
        }
    }

    #[test]
    fn a_product_that_no_decimal_holds_is_exact_all_the_same() {
        let found = convert(Decimal::MAX, Decimal::MAX, 2);
        let square = "6277101735386680763835789423049210091073826769276946612225";
        assert_eq!(found.unrounded, square);
        assert_eq!(found.rounded, format!("{square}.00"));
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
            let found = convert(amount, rate, minor_units);
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
