//! See `umbra_fuzz::wire::cdb`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: umbra_fuzz::wire::cdb::Input<'_>| umbra_fuzz::wire::cdb::run(input));
