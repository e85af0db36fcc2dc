//! Entropy coders. They all read the same integer tables.

pub(crate) mod binary;
pub(crate) mod buckets;
pub(crate) mod compact;
pub(crate) mod contexts;
pub(crate) mod huffman;
pub(crate) mod mix;
pub(crate) mod payload;
pub(crate) mod rans;
pub(crate) mod raw;
pub(crate) mod slots;
