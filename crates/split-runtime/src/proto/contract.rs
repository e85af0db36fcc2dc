use std::fmt;

use super::error::{ConfigError, check_range};
use super::limits::{MAX_CONTRACTS, MAX_NAME_BYTES};

/// What both ends have to hold so that a frame decodes to what was meant.
///
/// A frame that is decoded with other tables gives noise without any error, so two
/// contracts match only if all fields are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contract {
    /// Digest of the backbone's weights.
    pub backbone: u64,
    /// Name of the split point, at most [`MAX_NAME_BYTES`](crate::MAX_NAME_BYTES).
    pub split: String,
    /// Digest of the bottleneck units' weights.
    pub unit: u64,
    /// Digest of the coder's tables.
    pub tables: u64,
    /// Number of the bank, as the header of each frame has it.
    pub bank: u32,
    /// How many rungs the bank has; frames name rungs from 0 to one less.
    pub rungs: u16,
}

impl Contract {
    /// Names of the fields in which two contracts differ.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let fields = [
            ("backbone", self.backbone == other.backbone),
            ("split", self.split == other.split),
            ("unit", self.unit == other.unit),
            ("tables", self.tables == other.tables),
            ("bank", self.bank == other.bank),
            ("rungs", self.rungs == other.rungs),
        ];
        fields
            .into_iter()
            .filter(|(_, equal)| !equal)
            .map(|(name, _)| name)
            .collect()
    }
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` (backbone {:016x}, unit {:016x}, tables {:016x}, bank {:08x}, {} rungs)",
            self.split, self.backbone, self.unit, self.tables, self.bank, self.rungs
        )
    }
}

pub(crate) fn check_contracts(contracts: &[Contract]) -> Result<(), ConfigError> {
    let count = contracts.len() as u64;
    check_range("contracts", count, 1, MAX_CONTRACTS as u64)?;
    for contract in contracts {
        let name_bytes = contract.split.len() as u64;
        check_range("contract.split bytes", name_bytes, 1, MAX_NAME_BYTES as u64)?;
        check_range(
            "contract.rungs",
            u64::from(contract.rungs),
            1,
            u64::from(u16::MAX),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_each_field_that_is_unlike() {
        let one = Contract {
            backbone: 1,
            split: "layer1".to_owned(),
            unit: 2,
            tables: 3,
            bank: 4,
            rungs: 5,
        };
        assert!(one.differences(&one).is_empty());
        let other = Contract {
            unit: 9,
            tables: 9,
            ..one.clone()
        };
        assert_eq!(one.differences(&other), ["unit", "tables"]);
    }
}
