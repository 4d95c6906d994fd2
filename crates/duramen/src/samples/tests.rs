//! What all readers share: labels of a series are whole, or refused.

use super::*;

#[test]
fn reasons_quote_what_was_sent_and_not_too_much() {
    assert_eq!(quoted(b"a\"b"), "\"a\\\"b\"");
    assert!(quoted(&[b'x'; 500]).len() < 100);
    assert!(utf8(b"\xff", "label").is_err_and(|words| words.contains("label")));
}

#[test]
fn a_reader_stops_when_nobody_wants_more() {
    let mut taken = 0;
    let outcome = influx::read(b"m v=1 1\nm v=2 2\nm v=3 3\n", influx::Options::default(), |_| {
        taken += 1;
        if taken == 2 { Err(Refused::Stop) } else { Ok(()) }
    });
    assert_eq!((outcome.samples, outcome.stopped, taken), (1, true, 2));
}
