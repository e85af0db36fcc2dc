//! Inputs, device list and synchronisation shared by the benches.
