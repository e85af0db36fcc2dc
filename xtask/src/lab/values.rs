//! Values of options that have a range; clap names the option beside the message.

/// A number above zero.
pub(crate) fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err("give a number above zero".to_owned()),
    }
}

/// A number from zero.
pub(crate) fn not_negative(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("give a number from 0".to_owned()),
    }
}

/// A number from zero to below one.
pub(crate) fn share(text: &str) -> Result<f32, String> {
    match not_negative(text) {
        Ok(value) if value < 1.0 => Ok(value),
        _ => Err("give a number from 0 to below 1".to_owned()),
    }
}

/// A whole number from one.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(value) if value > 0 => Ok(value),
        _ => Err("give a whole number from 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{at_least_one, not_negative, positive, share};

    #[test]
    fn only_numbers_that_can_be_meant_are_taken() {
        assert_eq!(positive("4e-3"), Ok(4e-3));
        for text in ["0", "-1", "nan", "inf", "1e999", "x"] {
            assert!(positive(text).is_err(), "{text}");
        }
        assert_eq!([share("0"), share("0.99")], [Ok(0.0), Ok(0.99)]);
        assert_eq!(not_negative("1e-4"), Ok(1e-4));
        for text in ["-0.1", "nan", "inf", "1e99", "x"] {
            assert!(share(text).is_err(), "{text}");
            assert!(not_negative(text).is_err(), "{text}");
        }
        assert!(share("1").is_err());
        assert_eq!(at_least_one("64"), Ok(64));
        for text in ["0", "-1", "1.5", ""] {
            assert!(at_least_one(text).is_err(), "{text}");
        }
    }
}
