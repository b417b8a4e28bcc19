//! See `umbra_fuzz::wire::pdu`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: umbra_fuzz::wire::pdu::Input<'_>| umbra_fuzz::wire::pdu::run(input));
