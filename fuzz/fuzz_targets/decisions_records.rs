//! Feeds `duramen_decisions::decoders::records`.
#![cfg_attr(fuzzing, no_main)]
duramen_fuzz::target!(duramen_decisions::decoders::records);
