//! See `umbra_fuzz::image_engine`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: umbra_fuzz::image_engine::Input| umbra_fuzz::image_engine::run(input));
