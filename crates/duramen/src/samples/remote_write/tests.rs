//! remote_write: a message as Prometheus makes it, bounds on what it unpacks to, and damage.

use super::*;
use crate::samples::gather::{damaged, gather};

fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.extend([number << 3 | 2, bytes.len() as u8]);
    out.extend_from_slice(bytes);
}

/// A message with one series of one sample, and metadata.
fn message(labels: &[(&[u8], &[u8])], value: f64) -> Vec<u8> {
    let mut series = Vec::new();
    for (name, text) in labels {
        let mut label = Vec::new();
        field(&mut label, 1, name);
        field(&mut label, 2, text);
        field(&mut series, 1, &label);
    }
    // value: field 1, 64 bits; timestamp: field 2, 1,700,000,000,000 as a varint.
    let mut sample = vec![0x09];
    sample.extend_from_slice(&value.to_bits().to_le_bytes());
    sample.extend_from_slice(&[0x10, 0x80, 0xd0, 0x95, 0xff, 0xbc, 0x31]);
    field(&mut series, 2, &sample);
    let mut about = vec![0x08, 1];
    field(&mut about, 2, b"load");
    field(&mut about, 4, b"how busy");
    let mut message = Vec::new();
    field(&mut message, 1, &series);
    field(&mut message, 3, &about);
    message
}

fn told(message: &[u8]) -> (Vec<String>, u64, bool) {
    let mut whole = true;
    let read = gather(|each, said| match read(message, each, said) {
        Ok(outcome) => outcome,
        Err(_) => {
            whole = false;
            Outcome::default()
        }
    });
    (read.lines, read.outcome.bad_count, whole)
}

#[test]
fn a_message_gives_its_samples_bit_by_bit() {
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let message = message(&[(b"__name__", b"load"), (b"job", b"x")], 2.5);
    let told = told(&message);
    assert_eq!(told.0.len(), 1, "{told:?}");
    assert!(told.0[0].starts_with("{__name__=\"load\", job=\"x\"} 2.5 @ 17"), "{told:?}");
    let mut bits = 0;
    let marker = self::message(&[(b"__name__", b"load")], stale);
    let outcome = read(
        &marker,
        |sample| {
            bits = sample.value.to_bits();
            Ok(())
        },
        |_| (),
    )
    .unwrap();
    assert_eq!((outcome.samples, bits), (1, stale.to_bits()));
    let mut names = Vec::new();
    read(&marker, |_| Ok(()), |about| names.push((about.name.to_string(), about.kind))).unwrap();
    assert_eq!(names, [("load".to_string(), Some(Kind::Counter))]);
}

/// The good samples behind one that was out of range were once dropped without a word.
#[test]
fn a_sample_out_of_range_takes_no_other_with_it() {
    let mut label = Vec::new();
    field(&mut label, 1, b"__name__");
    field(&mut label, 2, b"load");
    let mut series = Vec::new();
    field(&mut series, 1, &label);
    let far = i64::MAX / 1_000_000 + 1;
    for (value, milliseconds) in [(1.0_f64, 1_000), (2.0, far), (3.0, 3_000)] {
        let mut sample = [&[0x09][..], &value.to_bits().to_le_bytes(), &[0x10]].concat();
        let mut rest = milliseconds as u64;
        while rest >= 0x80 {
            sample.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        sample.push(rest as u8);
        field(&mut series, 2, &sample);
    }
    let mut message = Vec::new();
    field(&mut message, 1, &series);
    let told = gather(|each, said| read(&message, each, said).unwrap());
    assert_eq!((told.outcome.samples, told.bad()), (2, vec![format!("1:1: timestamp \"{far}\" is out of range")]));
    assert!(told.lines[1].contains('3'), "{:?}", told.lines);
}

#[test]
fn labels_that_are_none_are_refused_by_series() {
    for labels in
        [&[(&b"__name__"[..], &b"\xff"[..])][..], &[(b"job", b"x")], &[(b"__name__", b"a"), (b"j", b"x"), (b"j", b"y")]]
    {
        let (lines, bad, whole) = told(&message(labels, 1.0));
        assert!(lines.is_empty() && bad == 1 && whole, "{labels:?}");
    }
}

#[test]
fn what_a_block_unpacks_to_is_known_before_it_is_allocated() {
    let message = message(&[(b"__name__", b"load")], 1.0);
    let packed = snap::raw::Encoder::new().compress_vec(&message).unwrap();
    let mut out = Vec::new();
    assert_eq!(decompressed_bytes(&packed), Ok(message.len()));
    decompress(&packed, &mut out).unwrap();
    assert_eq!(out, message);
    assert!(decompress(b"\xff\xff\xff\xff\x0f\x00", &mut out).is_err(), "4 GiB in six bytes");
    assert!(decompress(b"", &mut out).is_err() && decompress(&packed[..packed.len() - 3], &mut out).is_err());
}

#[test]
fn damaged_messages_make_no_panic() {
    let message = message(&[(b"__name__", b"load"), (b"job", b"x")], 2.5);
    for seed in 0..6_000usize {
        let damaged = damaged(&message, &[(seed * 7, seed as u8), (seed * 31, (seed / 3) as u8)], seed * 13);
        let _ = read(&damaged, |sample| sample.series.labels().map(|_| ()).map_err(Refused::Row), |_| ());
        let _ = decompress(&damaged, &mut Vec::new());
    }
}
