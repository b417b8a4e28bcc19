//! See `umbra_fuzz::blocks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: umbra_fuzz::blocks::Input| umbra_fuzz::blocks::run(input));
