/// A point in time in microseconds since a start that the caller picks.
///
/// The core never reads a clock: every call that depends on time takes it as an argument.
/// Points of two machines are never compared; messages carry durations only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The start of the caller's clock.
    pub const ZERO: Self = Self(0);

    /// The last point that can be named; stands for "never".
    pub const MAX: Self = Self(u64::MAX);

    /// The point `us` microseconds after the start.
    #[must_use]
    pub const fn from_us(us: u64) -> Self {
        Self(us)
    }

    /// Microseconds since the start.
    #[must_use]
    pub const fn as_us(self) -> u64 {
        self.0
    }

    /// The point `us` microseconds later; stays at [`Time::MAX`] when it would overflow.
    #[must_use]
    pub const fn after(self, us: u64) -> Self {
        Self(self.0.saturating_add(us))
    }

    /// The point `us` microseconds earlier; stays at [`Time::ZERO`] when it would underflow.
    #[must_use]
    pub const fn before(self, us: u64) -> Self {
        Self(self.0.saturating_sub(us))
    }

    /// Microseconds from `earlier` to this point; 0 when `earlier` lies later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A duration as a 32-bit field of a message: longer ones are reported as the longest.
pub(crate) fn clamp_us(us: u64) -> u32 {
    u32::try_from(us).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Time::MAX.after(1), Time::MAX);
        assert_eq!(Time::ZERO.before(1), Time::ZERO);
        assert_eq!(Time::from_us(3).since(Time::from_us(5)), 0);
        assert_eq!(Time::from_us(5).since(Time::from_us(3)), 2);
        assert_eq!(clamp_us(u64::MAX), u32::MAX);
    }
}
