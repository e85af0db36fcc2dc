//! Device and edge for split computing: a sans-IO protocol core.
