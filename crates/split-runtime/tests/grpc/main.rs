//! Device and edge over real loopback sockets. Ports are the system's choice; every wait is bounded.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails it where it stands"
)]

mod drain;
mod fuzz;
mod hostile;

mod inference;
mod reload;
mod rig;
mod stream;
mod tls;
mod triton;
