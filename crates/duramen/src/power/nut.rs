//! NUT, the UPS daemon `upsd`, over TCP. Owns the protocol's lines (pure) and the connection, which is made anew as long as the daemon
//! runs. Status words: OL is mains, OB battery, OB with LB low, FSD going.
//!
//! What `upsd` does not know (a stale driver, no driver) is no word: the UPS is silent then, which on a battery counts as low after
//! fifteen seconds.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::Context as _;
use duramen_store::{Power, Signal};

use crate::power::sources::Word;
use crate::power::{ASK_EVERY, SILENT_AFTER, Watch};
use crate::stop::Stop;

/// The port that is registered for it.
const PORT: &str = "3493";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of one line at most.
const LINE_BYTES_MAX: u64 = 4 << 10;

/// A UPS, as `upsd` knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ups {
    name: String,
    address: String,
}

impl Ups {
    /// Reads `NAME@HOST[:PORT]`, or `NAME` for this machine.
    ///
    /// # Errors
    /// The name is none.
    pub fn parse(text: &str) -> anyhow::Result<Ups> {
        let (name, host) = text.split_once('@').unwrap_or((text, "127.0.0.1"));
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        anyhow::ensure!(!name.is_empty() && name.bytes().all(good), "{text}: expected UPS@HOST or UPS@HOST:PORT");
        let with_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if with_port { host.to_string() } else { format!("{host}:{PORT}") };
        Ok(Ups { name: name.to_string(), address })
    }

    fn source(&self) -> String {
        format!("ups {}", self.name)
    }

    /// Asks again and again until the daemon stops.
    pub fn run(&self, watch: &Watch, stop: &Stop) {
        while stop.signal().is_none() {
            if let Err(error) = self.talk(watch, stop) {
                watch.trouble(&self.source(), &format!("{error:#}"));
            }
            let _ = stop.pause(ASK_EVERY);
        }
    }

    fn talk(&self, watch: &Watch, stop: &Stop) -> anyhow::Result<()> {
        let what = || format!("cannot reach upsd at {}", self.address);
        let address = self.address.to_socket_addrs().with_context(what)?.next().with_context(what)?;
        let stream = TcpStream::connect_timeout(&address, PATIENCE).with_context(what)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        while stop.signal().is_none() {
            let status = ask(&stream, &mut reader, &self.name, "ups.status")?;
            let power = power_of(&status).with_context(|| format!("ups.status says {status:?}"))?;
            let mut word = Word::new(&self.source(), Signal::Is(power), &status);
            word.silent_after = Some(SILENT_AFTER);
            for (variable, field) in [("battery.charge", "charge"), ("battery.runtime", "runtime")] {
                // Not every UPS knows them.
                if let Ok(value) = ask(&stream, &mut reader, &self.name, variable) {
                    word.fields.push((field, value));
                }
            }
            watch.hear(word);
            let _ = stop.pause(ASK_EVERY);
        }
        Ok(())
    }
}

/// Asks for one variable.
fn ask(mut stream: &TcpStream, reader: &mut BufReader<TcpStream>, ups: &str, variable: &str) -> anyhow::Result<String> {
    stream.write_all(format!("GET VAR {ups} {variable}\n").as_bytes()).context("upsd takes nothing")?;
    let mut line = Vec::new();
    reader.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).context("upsd says nothing")?;
    anyhow::ensure!(line.last() == Some(&b'\n'), "upsd broke off within a line");
    answer(&String::from_utf8_lossy(&line), ups, variable)
}

/// The value in an answer: `VAR <ups> <variable> "<value>"`, or `ERR <words>`.
fn answer(line: &str, ups: &str, variable: &str) -> anyhow::Result<String> {
    let line = line.trim_end();
    if let Some(refusal) = line.strip_prefix("ERR ") {
        anyhow::bail!("upsd: {refusal}");
    }
    let value = line.strip_prefix(&format!("VAR {ups} {variable} \"")).and_then(|rest| rest.strip_suffix('"'));
    let value = value.with_context(|| format!("upsd says {line:?}"))?;
    let mut out = String::new();
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => out.extend(characters.next()),
            '"' => anyhow::bail!("upsd says {line:?}"),
            other => out.push(other),
        }
    }
    Ok(out)
}

/// What `ups.status` comes to; `None`: it says nothing of the power.
fn power_of(status: &str) -> Option<Power> {
    let has = |wanted: &str| status.split_ascii_whitespace().any(|word| word == wanted);
    match () {
        () if has("FSD") => Some(Power::Going),
        () if has("OB") && has("LB") => Some(Power::Low),
        () if has("OB") => Some(Power::Battery),
        () if has("OL") => Some(Power::Mains),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_words_are_states() {
        assert_eq!(power_of("OL CHRG"), Some(Power::Mains));
        assert_eq!(power_of("OB DISCHRG"), Some(Power::Battery));
        assert_eq!(power_of("OB LB"), Some(Power::Low));
        assert_eq!(power_of("OL LB"), Some(Power::Mains), "a flat battery on mains is being charged");
        assert_eq!(power_of("FSD OB LB"), Some(Power::Going));
        assert_eq!((power_of(""), power_of("WAIT"), power_of("OLD")), (None, None, None));
    }

    #[test]
    fn answers_are_read_and_nonsense_is_not() {
        let read = |line: &str| answer(line, "ups", "ups.status").ok();
        assert_eq!(read("VAR ups ups.status \"OB LB\"\n").as_deref(), Some("OB LB"));
        assert_eq!(read("VAR ups ups.status \"a \\\"b\\\" \\\\\"\n").as_deref(), Some("a \"b\" \\"));
        for wrong in [
            "",
            "VAR",
            "VAR other ups.status \"OL\"",
            "VAR ups ups.status OL",
            "VAR ups ups.status \"O\"L\"",
            "\u{fffd}",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(answer("ERR DATA-STALE\n", "ups", "ups.status").unwrap_err().to_string(), "upsd: DATA-STALE");
    }

    #[test]
    fn names_have_hosts_and_ports() {
        let ups = |text: &str| Ups::parse(text).map(|ups| (ups.name, ups.address)).ok();
        let of = |name: &str, address: &str| Some((name.to_string(), address.to_string()));
        assert_eq!(ups("apc"), of("apc", "127.0.0.1:3493"));
        assert_eq!(ups("apc@nas"), of("apc", "nas:3493"));
        assert_eq!(ups("apc@nas:99"), of("apc", "nas:99"));
        assert_eq!((ups(""), ups("a b@c"), ups("a\nLOGOUT@c")), (None, None, None));
    }
}
