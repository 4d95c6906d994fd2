//! What the fuzz targets share. The decoders' checks themselves belong to the journal's tests, which run them on every
//! `cargo test`; here they only meet a fuzzer.
//!
//! ```text
//! cargo +nightly fuzz run footer                        # from the repository, with cargo-fuzz
//! cargo run --manifest-path fuzz/Cargo.toml --bin footer -- fuzz/artifacts/footer/crash-…
//! ```

#[cfg(fuzzing)]
pub use libfuzzer_sys;

#[path = "../../crates/duramen-journal/tests/it/decoders.rs"]
pub mod decoders;

/// The program of one target: the fuzzer's loop under cargo-fuzz, else a replay of the files that it is given.
#[macro_export]
macro_rules! target {
    ($decoder:path) => {
        #[cfg(fuzzing)]
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| $decoder(data));

        #[cfg(not(fuzzing))]
        fn main() -> std::process::ExitCode {
            $crate::replay($decoder)
        }
    };
}

/// Runs a decoder on each file that the command line names.
#[allow(clippy::disallowed_methods, reason = "a tool that reads the files it is given")]
pub fn replay(decoder: fn(&[u8])) -> std::process::ExitCode {
    for path in std::env::args_os().skip(1) {
        match std::fs::read(&path) {
            Ok(input) => decoder(&input),
            Err(error) => {
                eprintln!("{}: {error}", path.display());
                return std::process::ExitCode::FAILURE;
            }
        }
    }
    std::process::ExitCode::SUCCESS
}
