//! Entropy coders. They all read the same integer tables.

pub(crate) mod huffman;
pub(crate) mod rans;
