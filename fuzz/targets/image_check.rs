//! See `umbra_fuzz::image_check`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: umbra_fuzz::image_check::Image| umbra_fuzz::image_check::run(input));
