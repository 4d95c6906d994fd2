//! Feeds `decoders::block`.
#![cfg_attr(fuzzing, no_main)]
duramen_fuzz::target!(duramen_fuzz::decoders::block);
