//! What a configuration must be beside well-formed: what the daemon would refuse at its start, or end of at the first row, is found here.
//! Owns these checks and their words; takes no address, opens nothing but the files that it needs to have.

#![allow(clippy::disallowed_types, reason = "certificate, key and token are ordinary files")]

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;

use anyhow::Context as _;
use duramen_store::Labels;

use crate::config::{Config, HttpConfig, SyslogConfig};
use crate::power::nut::Ups;

/// Checks all of it.
///
/// # Errors
/// What is wrong, with the setting's name.
pub fn check(config: &Config) -> anyhow::Result<()> {
    check_labels(config)?;
    check_listen(&config.listen)?;
    check_tls(&config.http)?;
    check_syslog(&config.syslog)?;
    if let Some(ups) = &config.power.nut {
        Ups::parse(ups).context("power.nut")?;
    }
    Ok(())
}

/// Labels of each input, with what the input adds to them.
fn check_labels(config: &Config) -> anyhow::Result<()> {
    let none = BTreeMap::new();
    for (number, group) in config.files.iter().enumerate() {
        together(config, &group.labels, "file").with_context(|| format!("the labels of [[files]] {}", number + 1))?;
    }
    let SyslogConfig { udp, tcp, unix, labels } = &config.syslog;
    let is_syslog = !(udp.is_empty() && tcp.is_empty() && unix.is_empty());
    if is_syslog || !labels.is_empty() {
        together(config, labels, "input").context("syslog.labels")?;
    }
    if config.journald {
        together(config, &none, "input").context("the labels of journald's rows")?;
    }
    if config.files.is_empty() && !is_syslog && !config.journald {
        // Standard input or the system's logs.
        together(config, &none, "input").and_then(|()| together(config, &none, "file")).context("labels")?;
    }
    Ok(())
}

/// The labels of all rows, those of an input, and the one that it sets itself.
fn together(config: &Config, own: &BTreeMap<String, String>, set: &str) -> anyhow::Result<()> {
    let set_twice = own.contains_key(set) || config.labels.contains_key(set);
    anyhow::ensure!(!set_twice, "the label {set} is set by the input itself: give yours another name");
    let all = config.labels.iter().filter(|(name, _)| !own.contains_key(*name)).chain(own);
    let all = all.map(|(name, value)| (name.as_str(), value.as_str()));
    Labels::new(all.chain([(set, "")]))?;
    Ok(())
}

fn check_listen(address: &str) -> anyhow::Result<()> {
    let found = resolve(address).context("listen")?;
    anyhow::ensure!(
        found.ip().is_loopback(),
        "listen: {address} can be reached from other machines: that needs TLS and a token; see tls_listen in [http]"
    );
    Ok(())
}

fn check_tls(config: &HttpConfig) -> anyhow::Result<()> {
    let files = [
        ("tls_certificate", &config.tls_certificate),
        ("tls_key", &config.tls_key),
        ("token_file", &config.token_file),
    ];
    let Some(address) = &config.tls_listen else { return Ok(()) };
    resolve(address).context("http.tls_listen")?;
    let missing = files.iter().any(|(_, file)| file.is_none());
    anyhow::ensure!(!missing, "http.tls_listen needs tls_certificate, tls_key and token_file");
    for (name, file) in files.into_iter().filter_map(|(name, file)| Some((name, file.as_deref()?))) {
        can_be_read(file).with_context(|| format!("http.{name}: cannot read {}", file.display()))?;
    }
    Ok(())
}

fn can_be_read(file: &Path) -> std::io::Result<()> {
    match File::open(file)?.metadata()?.is_dir() {
        true => Err(std::io::ErrorKind::IsADirectory.into()),
        false => Ok(()),
    }
}

fn check_syslog(config: &SyslogConfig) -> anyhow::Result<()> {
    for (name, addresses) in [("udp", &config.udp), ("tcp", &config.tcp)] {
        for address in addresses {
            resolve(address).with_context(|| format!("syslog.{name}"))?;
        }
    }
    for path in &config.unix {
        let path = path.strip_prefix("stream:").unwrap_or(path);
        anyhow::ensure!(!path.is_empty(), "syslog.unix: a socket's path is missing");
    }
    Ok(())
}

fn resolve(address: &str) -> anyhow::Result<SocketAddr> {
    let mut found = address.to_socket_addrs().with_context(|| format!("{address} is no ADDRESS:PORT"))?;
    found.next().with_context(|| format!("{address} has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a configuration; empty: nothing.
    fn said(text: &str) -> String {
        let config = Config::parse(text, std::iter::empty()).unwrap();
        check(&config).err().map_or(String::new(), |error| format!("{error:#}"))
    }

    #[test]
    fn what_run_refuses_or_dies_of_is_found() {
        let wrong = [
            ("labels = { \"my-room\" = \"x\" }", "no label name"),
            ("labels = { file = \"x\" }\n[[files]]\npatterns = [\"a\"]", "file is set by the input itself"),
            ("labels = { file = \"x\" }", "file is set by the input itself"),
            ("journald = true\nlabels = { input = \"x\" }", "input is set by the input itself"),
            ("[[files]]\npatterns = [\"a\"]\nlabels = { file = \"x\" }", "[[files]] 1: the label file"),
            ("[[files]]\npatterns = [\"a\"]\nlabels = { \"a b\" = \"x\" }", "no label name"),
            ("[syslog]\nlabels = { input = \"x\" }", "syslog.labels: the label input"),
            ("listen = \"0.0.0.0:80\"", "needs TLS and a token"),
            ("listen = \"nonsense\"", "listen: nonsense is no ADDRESS:PORT"),
            ("[http]\ntls_listen = \"0.0.0.0:17471\"", "needs tls_certificate, tls_key and token_file"),
            ("[http]\ntls_listen = \"x\"", "http.tls_listen: x is no"),
            ("[syslog]\nudp = [\"nonsense\"]", "syslog.udp: nonsense is no"),
            ("[syslog]\ntcp = [\"127.0.0.1:0\", \"127.0.0.1\"]", "syslog.tcp: 127.0.0.1 is no"),
            ("[syslog]\nunix = [\"stream:\"]", "syslog.unix"),
            ("[power]\nnut = \"a b\"", "power.nut: a b: expected"),
        ];
        for (text, words) in wrong {
            assert!(said(text).contains(words), "{text}: {:?}", said(text));
        }
    }

    #[test]
    fn what_run_takes_is_taken() {
        let fine = [
            "",
            "labels = { room = \"x\" }\n[[files]]\npatterns = [\"a\"]\nlabels = { room = \"y\", input = \"z\" }",
            "labels = { file = \"x\" }\n[syslog]\nudp = [\"127.0.0.1:0\"]\nunix = [\"/dev/log\", \"stream:/x\"]",
            "labels = { input = \"x\" }\n[[files]]\npatterns = [\"a\"]",
            "listen = \"localhost:7420\"\n[power]\nnut = \"ups@127.0.0.1:3493\"",
        ];
        for text in fine {
            assert_eq!(said(text), "", "{text}");
        }
    }

    #[test]
    fn tls_has_its_files() {
        let there = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let folder = env!("CARGO_MANIFEST_DIR");
        let config = |key: &str| {
            format!(
                "[http]\ntls_listen = \"127.0.0.1:0\"\ntls_certificate = \"{there}\"\ntls_key = \"{key}\"\ntoken_file = \"{there}\""
            )
        };
        assert_eq!(said(&config(there)), "");
        for key in [&format!("{there}.none"), folder] {
            assert!(said(&config(key)).contains("http.tls_key: cannot read"), "{}", said(&config(key)));
        }
    }
}
