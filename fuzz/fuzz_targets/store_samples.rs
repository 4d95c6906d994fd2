//! Feeds `duramen_store::decoders::samples`.
#![cfg_attr(fuzzing, no_main)]
duramen_fuzz::target!(duramen_store::decoders::samples);
