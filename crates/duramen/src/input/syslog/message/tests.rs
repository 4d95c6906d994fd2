//! What syslog's messages become: those of the RFCs, those of real senders, and broken ones.

use super::*;
use jiff::tz::TimeZone;

const SECOND: i64 = 1_000_000_000;
/// 2026-11-26 20:00:00 UTC.
const NOW: Nanoseconds = 1_795_723_200 * SECOND;

fn parsed(bytes: &[u8]) -> Message<'_> {
    parse(bytes, &mut Stamps::new(TimeZone::UTC), NOW)
}

/// Host, program, process, text.
fn parts(line: &str) -> (Option<&str>, Option<&str>, Option<&str>, &str) {
    let found = parsed(line.as_bytes());
    assert!(!found.odd, "{line}");
    (found.host, found.app, found.pid, std::str::from_utf8(found.text).unwrap())
}

#[test]
fn the_old_form_is_read_as_programs_send_it() {
    let all = (Some("web1"), Some("sshd"), Some("12"), "no: a[1]");
    assert_eq!(parts("<38>Nov 26 20:00:01 web1 sshd[12]: no: a[1]"), all);
    assert_eq!(parts("<38>Nov  6 20:00:01 web1 sshd[12]: no: a[1]\n"), all);
    assert_eq!(parts("<38>2026-11-26T20:00:01.5+01:00 web1 sshd[12]: no: a[1]\0"), all);
    assert_eq!(parts("<13>Nov 26 20:00:01 root: hello"), (None, Some("root"), None, "hello"));
    assert_eq!(parts("<13>root: hello"), (None, Some("root"), None, "hello"));
    assert_eq!(parts("<13>app[7]:"), (None, Some("app"), Some("7"), ""));
    assert_eq!(parts("<6>postfix/smtpd[9]: x"), (None, Some("postfix/smtpd"), Some("9"), "x"));
    assert_eq!(parts("<189>*Nov 26 20:00:01: %SYS-5-CONFIG_I: done"), (None, Some("%SYS-5-CONFIG_I"), None, "done"));
    assert_eq!(parts("<13>Nov 26 20:00:01 fe80::1 app: x"), (Some("fe80::1"), Some("app"), None, "x"));
    // Without a tag, nothing is taken from the text.
    assert_eq!(parts("<13>Nov 26 20:00:01 link is down"), (None, None, None, "link is down"));
    assert_eq!(parts("<13>std::io failed"), (None, None, None, "std::io failed"));
    assert_eq!(parts("<13>"), (None, None, None, ""));
    // A host without a time is a guess.
    assert_eq!(parts("<13>web1 sshd[12]: x"), (None, None, None, "web1 sshd[12]: x"));
}

#[test]
fn priority_and_time_are_read() {
    let found = parsed(b"<165>Nov 26 20:00:01 web1 app: x");
    assert_eq!((found.facility, found.level), (Some("local4"), Level::Notice));
    assert_eq!(found.time, Some(NOW + SECOND));
    assert_eq!(parsed(b"<0>x").level, Level::Emergency);
    assert_eq!(parsed(b"<191>x").facility, Some("local7"));
    // December, told in November, is last year's.
    assert_eq!(parsed(b"<13>Dec 26 20:00:00 a: x").time, Some(NOW - 335 * 86_400 * SECOND));
    assert_eq!(parsed(b"<13>a: x").time, None);
}

#[test]
fn the_new_form_is_read_whole() {
    let line = "<165>1 2026-11-26T20:00:01.003Z web1.example evntslog 8710 ID47 \
                [ex@32473 iut=\"3\" src=\"a \\\"b\\\" \\\\ \\] \\n\"][flag] \u{feff}text ü";
    let found = parsed(line.as_bytes());
    assert!(!found.odd);
    assert_eq!((found.facility, found.level), (Some("local4"), Level::Notice));
    assert_eq!(found.time, Some(NOW + SECOND + 3_000_000));
    assert_eq!((found.host, found.app), (Some("web1.example"), Some("evntslog")));
    assert_eq!((found.pid, found.msgid), (Some("8710"), Some("ID47")));
    let data: Vec<(&str, &str)> = found.data.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(data, [("ex@32473.iut", "3"), ("ex@32473.src", "a \"b\" \\ ] \\n"), ("flag", "")]);
    assert_eq!(found.text, "text ü".as_bytes());
}

#[test]
fn nil_values_are_nothing() {
    let found = parsed(b"<14>1 - - - - - -");
    assert_eq!(found, Message { facility: Some("user"), level: Level::Info, ..Message::default() });
    let found = parsed(b"<14>1 - - app - - - a  b ");
    assert_eq!((found.app, found.text, found.odd), (Some("app"), &b"a  b "[..], false));
    // The structured data may be the end, and the message may be missing.
    let found = parsed(b"<14>1 - h - - - [a b=\"\"]");
    assert_eq!((found.data.len(), found.text, found.odd), (1, &b""[..], false));
}

#[test]
fn what_is_broken_is_kept_as_text() {
    let whole = [
        &b"no priority at all"[..],
        b"<>x",
        b"<192>x",
        b"<1x>y",
        b"<1234>x",
        b"<+1>x",
        b"<13",
        b"\xff\xfe\0binary",
        b"<14>1 yesterday h a p m - x",
        b"<14>1 2026-11-26T20:00:01Zjunk h a p m - x",
        b"<14>1 - h\xff a p m - x",
        b"<14>1 -",
        b"<14>1  - - - - - -",
    ];
    for bytes in whole {
        let found = parsed(bytes);
        assert!(found.odd && found.text == bytes, "{:?}: {found:?}", String::from_utf8_lossy(bytes));
    }
    // A head that is right counts, and everything behind it is text.
    for data in [
        &b"[a"[..],
        b"[a b]",
        b"[a b=c] x",
        b"[a b=\"c] x",
        b"[a b=\"c\"x] y",
        b"[a b=\"c\"]x",
        b"[] x",
        b"text",
        b"-x",
    ] {
        let line = [b"<14>1 - h app - - ", data].concat();
        let found = parsed(&line);
        assert!(found.odd, "{:?}", String::from_utf8_lossy(data));
        assert_eq!((found.app, found.text, found.data.len()), (Some("app"), data, 0));
    }
}

#[test]
fn data_is_bounded() {
    let long = "n".repeat(DATA_NAME_BYTES_MAX);
    let element = format!("[{long}{}]", format!(" {long}=\"\"").repeat(4_000));
    let line = format!("<14>1 - h app - - {element} x");
    let found = parsed(line.as_bytes());
    assert!(found.odd && found.data.is_empty() && found.text == format!("{element} x").as_bytes());
    assert!(parsed(format!("<14>1 - h app - - [{long}x] y").as_bytes()).odd);
    assert!(parsed(format!("<14>1 - {} app - - - y", "h".repeat(256)).as_bytes()).odd);
}

#[test]
fn no_bytes_make_it_panic() {
    let line = b"<165>1 2026-11-26T20:00:01.003Z web1 ev 8710 ID47 [e@3 i=\"3\" s=\"\\\"\"] \xef\xbb\xbftext";
    let old = b"<38>Nov 26 20:00:01 web1 sshd[12]: text";
    for line in [&line[..], old] {
        for end in 0..=line.len() {
            let _ = parsed(&line[..end]);
            for byte in [0, b' ', b'[', b']', b'"', b'\\', b':', b'<', b'9', 0xff] {
                let mut changed = line.to_vec();
                if let Some(place) = changed.get_mut(end) {
                    *place = byte;
                }
                let found = parsed(&changed);
                assert!(found.text.len() <= changed.len());
            }
        }
    }
}
