//! The way from a command to a daemon on this machine. Owns how the daemon of a data folder is found, and what is asked of it over
//! HTTP.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use duramen_journal::disk::{Access, World, read_full_at};

use crate::commands::store::ask::Question;

/// The file in a data folder in which its daemon leaves its address. It says something only while the folder is locked.
pub const ADDRESS: &str = "ADDRESS";

/// A daemon that can be asked.
#[derive(Clone, Debug)]
pub struct Daemon {
    url: String,
}

impl Daemon {
    /// The daemon at an address.
    pub fn at(url: &str) -> Daemon {
        Daemon { url: url.trim_end_matches('/').to_string() }
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

    fn agent(&self, answer_within: Option<Duration>) -> ureq::Agent {
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_global(answer_within)
            .http_status_as_error(false);
        config.build().into()
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
        let mut request = self.agent(None).get(format!("{}/{place}", self.url)).query("query", &question.text);
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
        let status = answer.status();
        let mut body = answer.into_body();
        if !status.is_success() {
            let words = body.read_to_string().unwrap_or_default();
            anyhow::bail!("{}", words.trim());
        }
        Ok(BufReader::new(body.into_reader()))
    }

    /// Hands rows over; they are durable when this returns.
    ///
    /// # Errors
    /// It does not answer, or not now, or refuses for good, with its words.
    pub fn ingest(&self, parameters: &[(&str, &str)], kind: &str, body: &[u8]) -> Result<(), Refusal> {
        let mut request = self.agent(Some(Duration::from_secs(30))).post(format!("{}/ingest", self.url));
        for (name, value) in parameters {
            request = request.query(name, value);
        }
        let later =
            |error: ureq::Error| Refusal { words: format!("the daemon at {}: {error}", self.url), for_good: false };
        let answer = request.content_type(kind).send(body).map_err(later)?;
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
        self.agent(Some(Duration::from_secs(5))).get(format!("{}/healthz", self.url)).call().is_ok()
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
