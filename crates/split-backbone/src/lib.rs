//! Backbones that can be cut: ResNets, their split points, weights and data sets.
