//! Feeds `decoders::index_block`.
#![cfg_attr(fuzzing, no_main)]
duramen_fuzz::target!(duramen_fuzz::decoders::index_block);
