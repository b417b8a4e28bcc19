//! See `umbra_fuzz::wire::login`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: umbra_fuzz::wire::login::Input<'_>| umbra_fuzz::wire::login::run(input));
