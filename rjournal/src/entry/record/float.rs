//! Room `entry`: one bit pattern for each floating point number. Zero has no sign and there is one NaN, so that equal
//! numbers are equal bytes; flipped, the bits sort like the numbers, NaN last. Must not know fields or rows.

const NAN_32: u32 = 0x7fc0_0000;
const NAN_64: u64 = 0x7ff8_0000_0000_0000;
const SIGN_32: u32 = 1 << 31;
const SIGN_64: u64 = 1 << 63;

/// The one bit pattern of this number.
pub(super) fn real_bits(value: f32) -> u32 {
    if value.is_nan() {
        NAN_32
    } else if value == 0.0 {
        0
    } else {
        value.to_bits()
    }
}

/// The one bit pattern of this number.
pub(super) fn double_bits(value: f64) -> u64 {
    if value.is_nan() {
        NAN_64
    } else if value == 0.0 {
        0
    } else {
        value.to_bits()
    }
}

/// The number of these bits, when they are its one pattern.
pub(super) fn real_from_bits(bits: u32) -> Option<f32> {
    let value = f32::from_bits(bits);
    (real_bits(value) == bits).then_some(value)
}

/// The number of these bits, when they are its one pattern.
pub(super) fn double_from_bits(bits: u64) -> Option<f64> {
    let value = f64::from_bits(bits);
    (double_bits(value) == bits).then_some(value)
}

/// Bits that sort, as unsigned numbers, like the values.
pub(super) fn real_order(value: f32) -> u32 {
    let bits = real_bits(value);
    if bits & SIGN_32 == 0 {
        bits | SIGN_32
    } else {
        !bits
    }
}

/// Bits that sort, as unsigned numbers, like the values.
pub(super) fn double_order(value: f64) -> u64 {
    let bits = double_bits(value);
    if bits & SIGN_64 == 0 {
        bits | SIGN_64
    } else {
        !bits
    }
}

/// Reads what [`real_order`] gave; nothing when it cannot have given that.
pub(super) fn real_from_order(order: u32) -> Option<f32> {
    real_from_bits(if order & SIGN_32 == 0 {
        !order
    } else {
        order ^ SIGN_32
    })
}

/// Reads what [`double_order`] gave; nothing when it cannot have given that.
pub(super) fn double_from_order(order: u64) -> Option<f64> {
    double_from_bits(if order & SIGN_64 == 0 {
        !order
    } else {
        order ^ SIGN_64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_has_no_sign_and_there_is_one_nan() {
        assert_eq!((real_bits(-0.0), double_bits(-0.0)), (0, 0));
        assert_eq!(
            (real_bits(-f32::NAN), double_bits(-f64::NAN)),
            (NAN_32, NAN_64)
        );
        assert!(real_from_bits(SIGN_32).is_none() && double_from_bits(SIGN_64).is_none());
        assert!(
            real_from_bits(NAN_32 | 1).is_none() && double_from_bits(NAN_64 | SIGN_64).is_none()
        );
    }

    #[test]
    fn the_order_runs_from_minus_infinity_to_nan() {
        let rising = [
            f64::NEG_INFINITY,
            f64::MIN,
            -1.5,
            -5e-324,
            0.0,
            5e-324,
            1.0,
            f64::MAX,
            f64::INFINITY,
            f64::NAN,
        ];
        let orders: Vec<u64> = rising.into_iter().map(double_order).collect();
        assert!(orders.is_sorted_by(|low, high| low < high));
        let rising = [
            f32::NEG_INFINITY,
            f32::MIN,
            -1.5,
            -1e-45,
            0.0,
            1e-45,
            1.0,
            f32::MAX,
            f32::INFINITY,
            f32::NAN,
        ];
        let orders: Vec<u32> = rising.into_iter().map(real_order).collect();
        assert!(orders.is_sorted_by(|low, high| low < high));
    }

    #[test]
    fn no_two_orders_read_as_one_number() {
        assert!(
            double_from_order(double_order(-1.5))
                .is_some_and(|value| value.to_bits() == (-1.5_f64).to_bits())
        );
        assert!(
            real_from_order(real_order(-1.5))
                .is_some_and(|value| value.to_bits() == (-1.5_f32).to_bits())
        );
        // The pattern of -0.0, flipped.
        assert!(double_from_order(!SIGN_64).is_none() && real_from_order(!SIGN_32).is_none());
    }
}
