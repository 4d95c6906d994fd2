//! Feeds `duramen_decisions::decoders::values`.
#![cfg_attr(fuzzing, no_main)]
duramen_fuzz::target!(duramen_decisions::decoders::values);
