//! The law `settings` under the fuzzer.
#![no_main]

#[path = "../settings.rs"]
mod law;
#[path = "../../src/bin/program"]
mod program {
    pub(crate) mod allowed;
    pub(crate) mod settings;
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| law::settings(bytes));
