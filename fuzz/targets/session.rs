//! See `umbra_fuzz::wire::session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: umbra_fuzz::wire::session::Input<'_>| umbra_fuzz::wire::session::run(
    input
));
