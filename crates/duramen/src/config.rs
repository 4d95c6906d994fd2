//! The daemon's configuration: a TOML file, overridden by the environment. Owns its names, its defaults and its check. The file
//! `samples/duramen.toml` documents each setting with its default; a test compares the two.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use duramen_journal::SyncPolicy;
use duramen_store::{DiskFull, Downsampling, Options, Query, Statistic};
use serde::{Deserialize, Serialize};

use crate::quantity::{parse_bytes, parse_time};
use crate::samples::{NAME, names};

/// The documented defaults, as a file.
pub const EXAMPLE: &str = include_str!("../samples/duramen.toml");

/// What names in the environment begin with that override a setting: `DURAMEN__STORE__COMMIT=200ms`.
const ENVIRONMENT: &str = "DURAMEN__";

/// All settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The data folder.
    pub data: PathBuf,
    /// The address for HTTP.
    pub listen: String,
    /// Labels of all rows.
    pub labels: BTreeMap<String, String>,
    /// How rows are kept.
    pub store: StoreConfig,
    /// The HTTP side.
    pub http: HttpConfig,
    /// Where it learns of the power, and how fast it believes.
    pub power: PowerConfig,
    /// Follow systemd's journal.
    pub journald: bool,
    /// Where syslog is taken.
    pub syslog: SyslogConfig,
    /// Files to follow.
    pub files: Vec<FileConfig>,
    /// Programs whose metrics are asked for.
    pub scrapes: Vec<ScrapeConfig>,
}

/// A program whose metrics are asked for, as Prometheus does it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScrapeConfig {
    /// Where, without TLS: `http://127.0.0.1:9100/metrics`.
    pub url: String,
    /// How often.
    #[serde(default = "ScrapeConfig::interval")]
    pub interval: Span,
    /// Labels of its samples, beside `instance`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl ScrapeConfig {
    /// Nobody is asked more often.
    const INTERVAL_MIN: Duration = Duration::from_millis(100);

    fn interval() -> Span {
        Span(Duration::from_secs(15))
    }

    /// The host, and the port if there is one: `127.0.0.1:9100`.
    ///
    /// # Errors
    /// There is none, or it is asked otherwise than by `http`.
    pub fn instance(&self) -> anyhow::Result<String> {
        let address: ureq::http::Uri =
            self.url.parse().context("this is no address such as http://HOST:PORT/metrics")?;
        anyhow::ensure!(address.scheme_str() == Some("http"), "only http:// is asked");
        let authority = address.authority().filter(|authority| !authority.host().is_empty());
        Ok(authority.context("there is no host in it")?.to_string())
    }

    fn check(&self) -> anyhow::Result<()> {
        self.instance()?;
        let min = ScrapeConfig::INTERVAL_MIN;
        anyhow::ensure!(self.interval.0 >= min, "interval = \"{}\" is shorter than {}", self.interval, Span(min));
        let bad = self.labels.keys().find(|name| name.as_str() == NAME || !names::is_label(name.as_bytes()));
        anyhow::ensure!(bad.is_none(), "{:?} is no label name", bad.map_or("", String::as_str));
        Ok(())
    }
}

/// How rows are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// The settings to start from.
    pub preset: Preset,
    /// How long rows of sources that cannot wait stay unsynced, or `always`.
    pub commit: Commit,
    /// How far the flash budget may stretch that.
    pub commit_max: Span,
    /// The flash budget: bytes for the device in a day.
    pub device_bytes_per_day: Option<Size>,
    /// Bytes of rows in memory.
    pub memory: Option<Size>,
    /// Streams known at the same time.
    pub streams_max: Option<usize>,
    /// Bytes of one row; longer lines come in parts.
    pub row_bytes_max: Size,
    /// zstd's level for tables.
    pub compression: i32,
    /// Samples in memory at which series with many are sealed.
    pub buffer_samples: usize,
    /// Bytes of samples in memory.
    pub buffer: Size,
    /// How long samples stay in memory at most.
    pub buffer_age: Span,
    /// Segments of the journal with what no table has.
    pub segments_max: Option<usize>,
    /// Rules for series of longer steps.
    pub downsampling: Vec<DownsamplingConfig>,
    /// Days of downsampled series that are older are dropped.
    pub downsampled_age: Option<Span>,
    /// Days that are older are dropped.
    pub retention_age: Option<Span>,
    /// Bytes of tables beyond which the oldest are dropped.
    pub retention_bytes: Option<Size>,
    /// Bytes of the file system that are kept free.
    pub free_bytes_min: Size,
    /// What is done when the disk is full.
    pub disk_full: OnFull,
}

/// A rule for series of longer steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DownsamplingConfig {
    /// Which series.
    pub selector: String,
    /// How long a window is.
    pub step: Span,
    /// How long after its end it is made.
    #[serde(default = "DownsamplingConfig::delay")]
    pub delay: Span,
    /// What is made of it: mean, min, max, last, count.
    pub statistics: Vec<String>,
}

impl DownsamplingConfig {
    fn delay() -> Span {
        Span(Duration::from_secs(60))
    }

    /// As the store takes it.
    ///
    /// # Errors
    /// The selector is none, or a statistic unknown.
    pub fn rule(&self) -> anyhow::Result<Downsampling> {
        let query: Query = self.selector.parse().with_context(|| format!("downsampling: {}", self.selector))?;
        let plain = query.filters.is_empty() && query.fields.is_empty() && query.level.is_none();
        anyhow::ensure!(plain, "downsampling: {} is no selector of series", self.selector);
        let statistic = |word: &String| {
            Statistic::parse(word)
                .with_context(|| format!("downsampling: {word} is no statistic: mean, min, max, last, count"))
        };
        let statistics = self.statistics.iter().map(statistic).collect::<anyhow::Result<_>>()?;
        Ok(Downsampling { selector: query.selector, step: self.step.0, delay: self.delay.0, statistics })
    }
}

/// The settings to start from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// For a device: [`Options::default`].
    #[default]
    Device,
    /// For a machine with memory to spare: [`Options::big`].
    Big,
    /// For samples rather than lines: [`Options::series`].
    Series,
}

/// What is done when the disk is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFull {
    /// Inputs wait.
    #[default]
    Stop,
    /// The oldest tables go, with a gap.
    DropOldest,
}

/// The HTTP side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// An address that other machines reach, with TLS and a token.
    pub tls_listen: Option<String>,
    /// The certificate chain, PEM.
    pub tls_certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub tls_key: Option<PathBuf>,
    /// A file whose first line is the token that clients must show.
    pub token_file: Option<PathBuf>,
    /// Bytes of one request's body.
    pub body_bytes_max: Size,
    /// Connections at the same time.
    pub connections_max: usize,
    /// A client that sends or takes nothing for so long is left.
    pub patience: Span,
}

/// Where it learns of the power.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PowerConfig {
    /// A power that is better than the one before counts when it has lasted so long.
    pub settle: Span,
    /// The UPS that NUT is asked about: `NAME`, `NAME@HOST`, `NAME@HOST:PORT`.
    pub nut: Option<String>,
    /// Ask the kernel's power supplies and undervoltage alarms, if there are any.
    pub kernel: bool,
    /// Where the kernel tells of them.
    pub kernel_class: PathBuf,
    /// Where systemd notes a shutdown that is scheduled.
    pub shutdown_note: PathBuf,
}

/// Where syslog is taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyslogConfig {
    /// Addresses for datagrams.
    pub udp: Vec<String>,
    /// Addresses for connections.
    pub tcp: Vec<String>,
    /// Unix sockets.
    pub unix: Vec<String>,
    /// Labels of their rows.
    pub labels: BTreeMap<String, String>,
}

/// Files to follow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileConfig {
    /// Names or patterns.
    pub patterns: Vec<String>,
    /// Labels of their rows, beside `file`.
    pub labels: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data: "./duramen-data".into(),
            listen: "127.0.0.1:7420".into(),
            labels: BTreeMap::new(),
            store: StoreConfig::default(),
            http: HttpConfig::default(),
            power: PowerConfig::default(),
            journald: false,
            syslog: SyslogConfig::default(),
            files: Vec::new(),
            scrapes: Vec::new(),
        }
    }
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        let options = Options::default();
        StoreConfig {
            preset: Preset::Device,
            commit: Commit(options.journal.policy),
            commit_max: Span(Duration::from_secs(10)),
            device_bytes_per_day: None,
            memory: None,
            streams_max: None,
            row_bytes_max: Size(options.row_bytes_max as u64),
            compression: options.compression,
            buffer_samples: options.buffer_samples,
            buffer: Size(options.buffer_bytes as u64),
            buffer_age: Span(options.buffer_age),
            segments_max: None,
            downsampling: Vec::new(),
            downsampled_age: None,
            retention_age: None,
            retention_bytes: None,
            free_bytes_min: Size(options.free_bytes_min),
            disk_full: OnFull::Stop,
        }
    }
}

impl Default for HttpConfig {
    fn default() -> HttpConfig {
        HttpConfig {
            tls_listen: None,
            tls_certificate: None,
            tls_key: None,
            token_file: None,
            body_bytes_max: Size(16 << 20),
            connections_max: 64,
            patience: Span(Duration::from_secs(30)),
        }
    }
}

impl Default for PowerConfig {
    fn default() -> PowerConfig {
        PowerConfig {
            settle: Span(Duration::from_secs(10)),
            nut: None,
            kernel: true,
            kernel_class: "/sys/class".into(),
            shutdown_note: "/run/systemd/shutdown/scheduled".into(),
        }
    }
}

impl StoreConfig {
    /// As the store takes it.
    pub fn options(&self) -> Options {
        let base = match self.preset {
            Preset::Device => Options::default(),
            Preset::Big => Options::big(),
            Preset::Series => Options::series(),
        };
        Options {
            journal: duramen_journal::Options { policy: self.commit.0, ..base.journal.clone() },
            memtable_bytes: self.memory.map_or(base.memtable_bytes, |size| size.0 as usize),
            streams_max: self.streams_max.unwrap_or(base.streams_max),
            row_bytes_max: self.row_bytes_max.0 as usize,
            compression: self.compression,
            buffer_samples: self.buffer_samples,
            buffer_bytes: self.buffer.0 as usize,
            buffer_age: self.buffer_age.0,
            segments_max: self.segments_max.unwrap_or(base.segments_max),
            // Loading has seen that all of them are rules.
            downsampling: self.downsampling.iter().filter_map(|rule| rule.rule().ok()).collect(),
            downsampled_age: self.downsampled_age.map(|span| span.0),
            retention_age: self.retention_age.map(|span| span.0),
            retention_bytes: self.retention_bytes.map(|size| size.0),
            free_bytes_min: self.free_bytes_min.0,
            disk_full: match self.disk_full {
                OnFull::Stop => DiskFull::Stop,
                OnFull::DropOldest => DiskFull::DropOldest,
            },
            ..base
        }
    }
}

impl Config {
    /// Reads a file, or takes the defaults without one, then what the environment says.
    ///
    /// # Errors
    /// The file cannot be read, or a setting is unknown or wrong: with the line, or the name in the environment.
    pub fn load(file: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> anyhow::Result<Config> {
        let text = match file {
            Some(file) => read(file).with_context(|| format!("cannot read the configuration {}", file.display()))?,
            None => String::new(),
        };
        let name = file.map_or_else(|| "the configuration".to_string(), |file| file.display().to_string());
        let config = Config::parse(&text, environment).with_context(|| format!("{name} is wrong"))?;
        for rule in &config.store.downsampling {
            rule.rule().with_context(|| format!("{name} is wrong"))?;
        }
        config.store.options().check()?;
        for scrape in &config.scrapes {
            scrape.check().with_context(|| format!("{name}: scrape of {}", scrape.url))?;
        }
        for group in &config.files {
            for pattern in &group.patterns {
                glob::Pattern::new(pattern).with_context(|| format!("{name}: {pattern} is no pattern"))?;
            }
        }
        let tls = (&config.http.tls_certificate, &config.http.tls_key);
        anyhow::ensure!(
            tls.0.is_some() == tls.1.is_some(),
            "{name}: http.tls_certificate and http.tls_key come together"
        );
        Ok(config)
    }

    fn parse(text: &str, environment: impl Iterator<Item = (String, String)>) -> anyhow::Result<Config> {
        // First as it is, so that an error names its line.
        let config: Config = toml::from_str(text)?;
        let overrides: Vec<(String, String)> = environment
            .filter_map(|(name, value)| Some((name.strip_prefix(ENVIRONMENT)?.to_string(), value)))
            .collect();
        if overrides.is_empty() {
            return Ok(config);
        }
        let mut table: toml::Table = toml::from_str(text)?;
        for (name, value) in overrides {
            set(&mut table, &name.to_lowercase(), &value).with_context(|| format!("{ENVIRONMENT}{name}"))?;
            let checked: Result<Config, _> = toml::Value::Table(table.clone()).try_into();
            checked.with_context(|| format!("{ENVIRONMENT}{name}={value}"))?;
        }
        Ok(toml::Value::Table(table).try_into()?)
    }
}

/// Sets `a__b` to a value: TOML if it is, else a text.
fn set(table: &mut toml::Table, name: &str, value: &str) -> anyhow::Result<()> {
    let parsed = toml::from_str::<toml::Table>(&format!("value = {value}")).ok();
    let value = parsed.and_then(|mut table| table.remove("value")).unwrap_or_else(|| value.into());
    match name.split_once("__") {
        None => {
            table.insert(name.to_string(), value);
        }
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| toml::Table::new().into());
            let inner = inner.as_table_mut().with_context(|| format!("{section} is no section"))?;
            set(inner, rest, &value_text(&value))?;
        }
    }
    Ok(())
}

fn value_text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[allow(clippy::disallowed_methods, reason = "the configuration is an ordinary file")]
fn read(file: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(file)
}

/// What stands in the file for a size, a time or a policy: a number or words.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    Number(u64),
    Text(String),
}

impl Words {
    fn text(self) -> String {
        match self {
            Words::Number(number) => number.to_string(),
            Words::Text(text) => text,
        }
    }
}

/// Bytes: `16M`, or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Words", into = "String")]
pub struct Size(pub u64);

impl TryFrom<Words> for Size {
    type Error = String;

    fn try_from(words: Words) -> Result<Size, String> {
        parse_bytes(&words.text()).map(Size)
    }
}

impl From<Size> for String {
    fn from(size: Size) -> String {
        let units = [("G", 30), ("M", 20), ("K", 10)];
        let unit = units.iter().find(|(_, bits)| size.0 > 0 && size.0.trailing_zeros() >= *bits);
        unit.map_or_else(|| size.0.to_string(), |(unit, bits)| format!("{}{unit}", size.0 >> bits))
    }
}

/// A time: `200ms`, `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Words", into = "String")]
pub struct Span(pub Duration);

impl TryFrom<Words> for Span {
    type Error = String;

    fn try_from(words: Words) -> Result<Span, String> {
        parse_time(&words.text()).map(Span)
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
        match units.iter().find(|(_, unit)| millis > 0 && millis.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", millis / unit),
            None => write!(f, "{millis}ms"),
        }
    }
}

/// When rows of sources that cannot wait are synced: `always`, or after a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Words", into = "String")]
pub struct Commit(pub SyncPolicy);

impl TryFrom<Words> for Commit {
    type Error = String;

    fn try_from(words: Words) -> Result<Commit, String> {
        let text = words.text();
        if text == "always" {
            return Ok(Commit(SyncPolicy::Always));
        }
        let time = parse_time(&text).map_err(|_| format!("{text}: expected always, or a time such as 200ms or 1s"))?;
        Ok(Commit(SyncPolicy::Interval(time)))
    }
}

impl From<Commit> for String {
    fn from(commit: Commit) -> String {
        match commit.0 {
            SyncPolicy::Interval(time) => Span(time).to_string(),
            _ => "always".to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, environment: &[(&str, &str)]) -> anyhow::Result<Config> {
        Config::parse(text, environment.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string())))
    }

    #[test]
    fn the_example_documents_each_default() {
        assert_eq!(parse(EXAMPLE, &[]).unwrap(), Config::default());
        // What is commented out has no default; uncommented, it must be known.
        let uncommented: String = EXAMPLE
            .lines()
            .map(|line| match line.strip_prefix("#") {
                Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let all = parse(&uncommented, &[]).unwrap();
        assert!(all.store.retention_age.is_some() && all.http.token_file.is_some() && all.files.len() == 1);
        let shown: toml::Table = toml::from_str(&toml::to_string(&all).unwrap()).unwrap();
        let names = |table: &toml::Table| -> Vec<String> { table.keys().cloned().collect() };
        for section in ["store", "http", "power", "syslog"] {
            for name in names(shown[section].as_table().unwrap()) {
                assert!(EXAMPLE.contains(&format!("{name} =")), "{section}.{name} is not documented");
            }
        }
        for name in names(&shown) {
            assert!(EXAMPLE.contains(&name), "{name} is not documented");
        }
    }

    #[test]
    fn what_is_shown_is_read_again() {
        let config = parse("[store]\ncommit = 'always'\nmemory = '3M'\nretention_age = '36h'\n", &[]).unwrap();
        assert_eq!(parse(&toml::to_string(&config).unwrap(), &[]).unwrap(), config);
        assert_eq!(config.store.options().journal.policy, SyncPolicy::Always);
        assert_eq!(config.store.options().retention_age, Some(Duration::from_secs(36 * 3_600)));
    }

    #[test]
    fn the_environment_has_the_last_word() {
        let config = parse(
            "[store]\ncommit = '5s'\n",
            &[
                ("DURAMEN__STORE__COMMIT", "200ms"),
                ("DURAMEN__LISTEN", "127.0.0.1:1"),
                ("DURAMEN__HTTP__CONNECTIONS_MAX", "7"),
                ("OTHER__STORE__COMMIT", "9s"),
            ],
        );
        let config = config.unwrap();
        assert_eq!(config.store.commit, Commit(SyncPolicy::Interval(Duration::from_millis(200))));
        assert_eq!((config.listen.as_str(), config.http.connections_max), ("127.0.0.1:1", 7));
    }

    /// A busy loop, an end of the daemon soon after its start, an error at each scrape: all of that once passed.
    #[test]
    fn scrapes_are_checked() {
        let checked = |settings: &str| {
            let config = parse(&format!("[[scrapes]]\n{settings}\n"), &[]).unwrap();
            config.scrapes[0].check().map_err(|error| error.to_string())
        };
        for good in [
            "url = 'http://127.0.0.1:9100/metrics'\ninterval = '100ms'\nlabels = { job = 'x', instance = 'y' }",
            "url = 'http://localhost'",
            "url = 'http://[::1]:9100/metrics?all=1'",
        ] {
            assert_eq!(checked(good), Ok(()), "{good}");
        }
        for (bad, words) in [
            ("url = 'http://a/'\ninterval = '0s'", "shorter than 100ms"),
            ("url = 'http://a/'\ninterval = '99ms'", "shorter than 100ms"),
            ("url = 'https://a/metrics'", "only http://"),
            ("url = 'nonsense'", "only http://"),
            ("url = 'a b'", "no address"),
            ("url = 'http://'", "no address"),
            ("url = 'http://:9100/'", "no host"),
            ("url = ''", "no address"),
            ("url = 'http://a/'\nlabels = { 'bad-name' = 'x' }", "\"bad-name\" is no label name"),
            ("url = 'http://a/'\nlabels = { __name__ = 'x' }", "no label name"),
        ] {
            let told = checked(bad).unwrap_err();
            assert!(told.contains(words), "{bad}: {told}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |text: &str, environment: &[(&str, &str)]| format!("{:#}", parse(text, environment).unwrap_err());
        assert!(wrong("[store]\ncomit = '1s'\n", &[]).contains("comit"));
        assert!(wrong("[store]\ncommit = 'soon'\n", &[]).contains("soon: expected always, or a time"));
        assert!(wrong("[store]\nmemory = '3X'\n", &[]).contains("line 2"));
        assert!(wrong("", &[("DURAMEN__STORE__COMIT", "1s")]).contains("DURAMEN__STORE__COMIT=1s"));
        assert!(wrong("", &[("DURAMEN__LISTEN__X", "1s")]).contains("DURAMEN__LISTEN__X"));
    }
}
