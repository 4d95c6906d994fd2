//! The way from a command to a daemon on this machine. Owns how the daemon of a data folder is found, and what is asked of it over
//! HTTP.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use duramen_journal::disk::{Access, World, read_full_at, write_all_at};

use crate::commands::store::ask::Question;
use crate::import::{ImportOptions, Imported};
use crate::server::counts::Counted;
use crate::server::power::PowerStatus;

/// The file in a data folder in which its daemon leaves its address. It says something only while the folder is locked.
pub const ADDRESS: &str = "ADDRESS";

/// The file in a data folder whose contents show that whoever asks for a backup may write there.
pub const BACKUP_TOKEN: &str = "BACKUP.token";
/// The header in which these contents are sent.
pub const TOKEN_HEADER: &str = "x-duramen-token";

/// The header of what is answered while the daemon still reads its journal.
pub const OPENING_HEADER: &str = "x-duramen-opening";

/// Says so on standard error if an answer may lack what is not read yet.
fn warn_of_opening(answer: &ureq::http::Response<ureq::Body>) {
    if answer.headers().contains_key(OPENING_HEADER) {
        eprintln!("duramen: the daemon still reads its journal: what is not read yet is missing here");
    }
}

/// A daemon that can be asked.
#[derive(Clone, Debug)]
pub struct Daemon {
    url: String,
    agent: ureq::Agent,
}

/// Whoever asks for something short waits for so long at most.
const PATIENCE: Duration = Duration::from_secs(60);

impl Daemon {
    /// The daemon at an address.
    pub fn at(url: &str) -> Daemon {
        let config = ureq::Agent::config_builder().timeout_connect(Some(Duration::from_secs(5)));
        let agent = config.http_status_as_error(false).build().into();
        Daemon { url: url.trim_end_matches('/').to_string(), agent }
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The daemon that runs on a data folder; `None`: none does.
    pub fn of(folder: &Path) -> Option<Daemon> {
        let World { disk, .. } = World::real();
        if !disk.is_locked(&folder.join("LOCK")).unwrap_or(false) {
            return None;
        }
        let file = disk.open(&folder.join(ADDRESS), Access::Read).ok()?;
        let mut buffer = [0; 256];
        let count = read_full_at(&*file, &mut buffer, 0).ok()?;
        let address = std::str::from_utf8(&buffer[..count]).ok()?.trim();
        Some(Daemon::at(&format!("http://{address}")))
    }

    /// Hands it a piece of samples; returns what it made of them.
    ///
    /// # Errors
    /// The daemon does not answer, or refuses, with its words.
    pub fn import(&self, options: &ImportOptions, piece: &[u8]) -> anyhow::Result<Imported> {
        let mut request = self.agent.post(format!("{}/import", self.url));
        for (name, value) in options.pairs() {
            request = request.query(name, value);
        }
        let answer = request.send(piece).with_context(|| format!("the daemon at {} does not answer", self.url))?;
        let status = answer.status();
        let words = answer.into_body().read_to_string().unwrap_or_default();
        anyhow::ensure!(status.is_success(), "the daemon took no samples: {}", words.trim());
        serde_json::from_str(&words).context("the daemon's answer makes no sense")
    }

    /// Asks a path for JSON, with parameters.
    ///
    /// # Errors
    /// The daemon does not answer, or not with JSON.
    pub fn json(&self, path: &str, parameters: &[(&str, String)]) -> anyhow::Result<serde_json::Value> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        for (name, value) in parameters {
            request = request.query(*name, value);
        }
        let answer = request.call().with_context(|| format!("the daemon at {} does not answer", self.url))?;
        warn_of_opening(&answer);
        let words = answer.into_body().read_to_string().context("the daemon's answer breaks off")?;
        serde_json::from_str(&words).with_context(|| format!("the daemon's answer makes no sense: {}", words.trim()))
    }

    /// Has it make a backup of its store; returns the figures when the backup was read back.
    ///
    /// # Errors
    /// The data folder cannot be written, or the daemon does not answer, or refuses, with its words.
    pub fn backup(&self, data: &Path, to: &Path) -> anyhow::Result<serde_json::Value> {
        let World { disk, environment } = World::real();
        let mut random = [0; 16];
        environment.entropy(&mut random).context("cannot draw a token")?;
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let place = data.join(BACKUP_TOKEN);
        let _ = disk.remove(&place);
        let file = disk.open(&place, Access::Create);
        let file = file.with_context(|| format!("cannot write {}, which the daemon wants to see", place.display()))?;
        write_all_at(&*file, token.as_bytes(), 0).context("cannot write the token")?;
        let to = to.to_str().context("a daemon takes only names that are UTF-8")?;
        let request = self.agent.post(format!("{}/backup", self.url)).query("to", to);
        let answer = request.header(TOKEN_HEADER, token).send_empty();
        let _ = disk.remove(&place);
        let answer = answer.with_context(|| format!("the daemon at {} does not answer", self.url))?;
        let status = answer.status();
        let words = answer.into_body().read_to_string().unwrap_or_default();
        anyhow::ensure!(status.is_success(), "the daemon made no backup: {}", words.trim());
        serde_json::from_str(&words).context("the daemon's answer makes no sense")
    }

    /// Asks for rows: one JSON object a line.
    ///
    /// # Errors
    /// It does not answer, or refuses, with its words.
    pub fn ask(
        &self,
        question: &Question,
        reverse: bool,
        follow: bool,
        explain: bool,
    ) -> anyhow::Result<impl BufRead + use<>> {
        let place = if follow { "tail" } else { "query" };
        let mut request = self.agent.get(format!("{}/{place}", self.url)).query("query", &question.text);
        let numbers =
            [("since", question.from), ("until", question.to), ("lines", question.lines.map(|lines| lines as i64))];
        for (name, number) in numbers {
            if let Some(number) = number {
                request = request.query(name, number.to_string());
            }
        }
        for (name, wanted) in [("reverse", reverse), ("explain", explain)] {
            if wanted {
                request = request.query(name, "true");
            }
        }
        let answer = request.call().with_context(|| format!("the daemon at {} does not answer", self.url))?;
        warn_of_opening(&answer);
        let status = answer.status();
        let mut body = answer.into_body();
        if !status.is_success() {
            let words = body.read_to_string().unwrap_or_default();
            anyhow::bail!("{}", words.trim());
        }
        Ok(BufReader::new(body.into_reader()))
    }

    /// Asks how many rows there are, and when.
    ///
    /// # Errors
    /// As [`Daemon::ask`].
    pub fn counts(&self, question: &Question, step: Option<&str>, by: Option<&str>) -> anyhow::Result<Counted> {
        let mut request = self.agent.get(format!("{}/counts", self.url)).query("query", &question.text);
        let times = [("since", question.from), ("until", question.to)];
        for (name, time) in times.into_iter().filter_map(|(name, time)| Some((name, time?))) {
            request = request.query(name, time.to_string());
        }
        for (name, value) in [("step", step), ("by", by)].into_iter().filter_map(|(name, value)| Some((name, value?))) {
            request = request.query(name, value);
        }
        serde_json::from_str(&self.words(request.call())?).context("the daemon answers in another form")
    }

    /// Tells it of the power; with an end, after so many seconds it is as if nothing had been told.
    ///
    /// # Errors
    /// As [`Daemon::ask`].
    pub fn tell_power(&self, power: &str, source: &str, lasts: Option<u64>) -> anyhow::Result<PowerStatus> {
        let mut request = self.agent.post(format!("{}/power", self.url)).query("state", power).query("source", source);
        if let Some(lasts) = lasts {
            request = request.query("lasts", lasts.to_string());
        }
        let words = self.words(request.config().timeout_global(Some(PATIENCE)).build().send_empty())?;
        serde_json::from_str(&words).context("the daemon answers in another form")
    }

    /// Gets a place of the daemon as text.
    ///
    /// # Errors
    /// As [`Daemon::ask`].
    pub fn get(&self, place: &str) -> anyhow::Result<String> {
        let request = self.agent.get(format!("{}{place}", self.url)).config().timeout_global(Some(PATIENCE)).build();
        self.words(request.call())
    }

    /// Gets a place of the daemon that answers in JSON.
    ///
    /// # Errors
    /// As [`Daemon::ask`]; or the answer is of another form.
    pub fn get_json<T: serde::de::DeserializeOwned>(&self, place: &str) -> anyhow::Result<T> {
        let words = self.get(place)?;
        serde_json::from_str(&words).with_context(|| format!("{}{place} answers in another form", self.url))
    }

    /// Sends lines as the body `sequence` of a client. When it returns they are durable, and stored once, however often the same
    /// body is sent.
    ///
    /// # Errors
    /// As [`Daemon::ask`]: then nobody knows whether they are stored, and they are to be sent again.
    pub fn send(&self, lines: &[u8], client: &str, sequence: u64, labels: &[(String, String)]) -> anyhow::Result<()> {
        let mut request = self.agent.post(format!("{}/ingest", self.url)).content_type("text/plain");
        request = request.query("client", client).query("sequence", sequence.to_string());
        for (name, value) in labels {
            request = request.query(name, value);
        }
        self.words(request.config().timeout_global(Some(PATIENCE)).build().send(lines)).map(|_| ())
    }

    fn words(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> anyhow::Result<String> {
        let answer = answer.with_context(|| format!("the daemon at {} does not answer", self.url))?;
        let status = answer.status();
        if status.is_success() {
            warn_of_opening(&answer);
        }
        let words = answer.into_body().read_to_string()?;
        anyhow::ensure!(status.is_success(), "{}", words.trim());
        Ok(words)
    }

    /// Hands rows over; they are durable when this returns.
    ///
    /// # Errors
    /// It does not answer, or not now, or refuses for good, with its words.
    pub fn ingest(&self, parameters: &[(&str, &str)], kind: &str, body: &[u8]) -> Result<(), Refusal> {
        let mut request = self.agent.post(format!("{}/ingest", self.url));
        for (name, value) in parameters {
            request = request.query(name, value);
        }
        let later =
            |error: ureq::Error| Refusal { words: format!("the daemon at {}: {error}", self.url), for_good: false };
        let answer =
            request.config().timeout_global(Some(PATIENCE)).build().content_type(kind).send(body).map_err(later)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let words = answer.into_body().read_to_string().unwrap_or_default().trim().to_string();
        // 429 is a bound on streams, which waiting does not raise.
        Err(Refusal { words, for_good: status.is_client_error() })
    }

    /// Whether it answers at all.
    pub fn is_there(&self) -> bool {
        self.agent
            .get(format!("{}/healthz", self.url))
            .config()
            .timeout_global(Some(Duration::from_secs(5)))
            .build()
            .call()
            .is_ok()
    }
}

/// Why rows were not taken.
#[derive(Debug)]
pub struct Refusal {
    /// In words.
    pub words: String,
    /// Sending them again will not help.
    pub for_good: bool,
}
