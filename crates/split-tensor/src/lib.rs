//! Quantizers, entropy coders and frames for small activation tensors.
