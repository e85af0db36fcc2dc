//! Digests of the parts of a bank, for two ends that must agree before the first frame.

use sha2::{Digest, Sha256};

use super::Bank;

/// Digests of what decides the meaning of a bank's frames, apart from each other: two ends that
/// differ can say in which part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BankDigests {
    /// Name and weights of the backbone.
    pub backbone: u64,
    /// Layouts and weights of the units, of all rungs in their order.
    pub unit: u64,
    /// Tables of all rungs in their order.
    pub tables: u64,
}

impl Bank {
    /// Digests of backbone, units and tables.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "plain fields serialize")]
    pub fn digests(&self) -> BankDigests {
        let note = self.backbone();
        let backbone = [note.name.as_bytes(), note.weights_sha256.as_bytes()];
        let mut unit = Sha256::new();
        let mut tables = Sha256::new();
        for rung in self.rungs() {
            let config = serde_json::to_vec(&rung.config).expect("plain fields serialize");
            part(&mut unit, &config);
            for (path, tensor) in &rung.weights {
                part(&mut unit, path.as_bytes());
                let values = tensor.values.iter().flat_map(|value| value.to_le_bytes());
                part(&mut unit, &values.collect::<Vec<u8>>());
            }
            part(&mut tables, &rung.tables.to_bytes());
        }
        let mut hash = Sha256::new();
        backbone.iter().for_each(|piece| part(&mut hash, piece));
        BankDigests {
            backbone: first_eight(hash),
            unit: first_eight(unit),
            tables: first_eight(tables),
        }
    }
}

/// With its length before it, so that no two lists of parts give the same bytes.
fn part(hash: &mut Sha256, bytes: &[u8]) {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    hash.update(length.to_le_bytes());
    hash.update(bytes);
}

fn first_eight(hash: Sha256) -> u64 {
    let digest = hash.finalize();
    let bytes = digest.iter().take(8).rev();
    bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
}
