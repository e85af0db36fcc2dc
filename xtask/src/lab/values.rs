//! Values of options that have a range; clap names the option beside the message.

/// A number above zero.
pub(crate) fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err("give a number above zero".to_owned()),
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
    use super::{at_least_one, positive};

    #[test]
    fn only_numbers_that_can_be_meant_are_taken() {
        assert_eq!(positive("4e-3"), Ok(4e-3));
        for text in ["0", "-1", "nan", "inf", "1e999", "x"] {
            assert!(positive(text).is_err(), "{text}");
        }
        assert_eq!(at_least_one("64"), Ok(64));
        for text in ["0", "-1", "1.5", ""] {
            assert!(at_least_one(text).is_err(), "{text}");
        }
    }
}
