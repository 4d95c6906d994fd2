//! Feeds `decoders::footer`.
#![cfg_attr(fuzzing, no_main)]
duramen_fuzz::target!(duramen_fuzz::decoders::footer);
