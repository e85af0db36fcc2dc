//! Bottleneck units for frozen networks: encoder, decoder, rate models, training, banks.
