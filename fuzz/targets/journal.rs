//! See `umbra_fuzz::journal`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: umbra_fuzz::journal::Input| umbra_fuzz::journal::run(input));
