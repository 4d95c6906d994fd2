//! Feeds `decoders::segment_header`.
#![cfg_attr(fuzzing, no_main)]
duramen_fuzz::target!(duramen_fuzz::decoders::segment_header);
