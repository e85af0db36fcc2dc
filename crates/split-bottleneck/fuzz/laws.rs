//! What must hold for any bytes that are read as a bank. Each law is a plain function: the fuzz target calls it
//! with what the fuzzer finds, the test `laws` with the corpus and seeded mutants of it.

use burn::tensor::Device;
use split_bottleneck::Bank;

/// A bank that is read is written and read again as the same one; its rungs open, or say why not. Gives how many
/// rungs opened.
pub(crate) fn bank(bytes: &[u8]) -> usize {
    let Ok(bank) = Bank::from_bytes(bytes) else {
        return 0;
    };
    let written = bank
        .to_bytes()
        .expect("a bank that was read can be written");
    let again = Bank::from_bytes(&written).expect("what a bank writes is a bank");
    assert_eq!(again.digest(), bank.digest());
    assert_eq!(again.rungs().len(), bank.rungs().len());
    let device = Device::flex();
    let opened = (0..bank.rungs().len()).filter(|&index| bank.open(index, &device).is_ok());
    opened.count()
}
