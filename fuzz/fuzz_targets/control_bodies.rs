//! Feeds `decoders::control_bodies`.
#![cfg_attr(fuzzing, no_main)]
duramen_fuzz::target!(duramen_fuzz::decoders::control_bodies);
