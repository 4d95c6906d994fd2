//! Scraping: asks a program for its metrics now and then, as Prometheus does. Owns the rhythm, the answer's bounds, and how it is
//! told that a series has ended, that nobody answers, or that an answer is no metrics.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use duramen_journal::disk::World;
use duramen_store::{Batch, Durability, Labels, STALE, Stream};

use crate::config::ScrapeConfig;
use crate::daemon::Shared;
use crate::input::{Counters, Now};
use crate::samples::Sample;
use crate::samples::exposition::{self, Format};
use crate::server::samples::{bad_rows, note};
use crate::stop::Woken;

/// Bytes of one answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// The same of a target is said again after so long.
const SAY_AGAIN: Duration = Duration::from_secs(3_600);
/// Something else of it is said after so long.
const SAY_OTHER: Duration = Duration::from_secs(60);

/// One program, and the series that it gave last time.
struct Target {
    config: ScrapeConfig,
    instance: String,
    agent: ureq::Agent,
    more: Vec<(String, String)>,
    before: BTreeMap<Labels, Stream>,
    said: Said,
}

/// What was said of a target, so that it is not said at each scrape.
#[derive(Debug, Default)]
struct Said {
    words: String,
    at: Option<Duration>,
}

impl Said {
    /// Whether this is to be said now; nothing is not.
    fn is_news(&mut self, words: &str, now: Duration) -> bool {
        if words.is_empty() {
            self.words.clear();
            return false;
        }
        let wait = if words == self.words { SAY_AGAIN } else { SAY_OTHER };
        if self.at.is_some_and(|at| now.saturating_sub(at) < wait) {
            return false;
        }
        *self = Said { words: words.to_string(), at: Some(now) };
        true
    }
}

/// What came of a scrape.
#[derive(Default)]
struct Found {
    /// The series without times of their own.
    series: BTreeMap<Labels, Stream>,
    samples: u64,
    /// It was metrics, to its end.
    whole: bool,
    /// What was wrong.
    words: String,
}

/// Asks a program again and again until the daemon stops.
///
/// # Errors
/// The address is none.
pub fn run(config: ScrapeConfig, shared: &Arc<Shared>) -> anyhow::Result<()> {
    let instance = config.instance().with_context(|| config.url.clone())?;
    let mut more: Vec<(String, String)> = config.labels.clone().into_iter().collect();
    if !config.labels.contains_key("instance") {
        more.push(("instance".to_string(), instance.clone()));
    }
    let patience = config.interval.0.min(Duration::from_secs(10)).max(Duration::from_millis(100));
    let agent = ureq::Agent::config_builder().timeout_global(Some(patience)).build().new_agent();
    let mut target = Target { config, instance, agent, more, before: BTreeMap::new(), said: Said::default() };
    let environment = World::real().environment;
    while shared.stop.signal().is_none() {
        let words = target.scrape(shared).unwrap_or_else(|error| format!("{error:#}"));
        if target.said.is_news(&words, environment.now()) {
            eprintln!("duramen: scrape of {}: {words}", target.instance);
        }
        if shared.stop.pause(target.config.interval.0).is_ok_and(|woken| woken == Woken::Stopped) {
            break;
        }
    }
    Ok(())
}

impl Target {
    /// Asks once. Whether metrics came is told by `up`, and what was wrong returned.
    fn scrape(&mut self, shared: &Shared) -> anyhow::Result<String> {
        let now = Now::of(&shared.store);
        let answer = self.ask();
        let found = match &answer {
            Ok((format, body)) => self.read(shared, *format, body)?,
            Err(error) => Found { words: format!("{error:#}"), ..Found::default() },
        };
        let mut batch = Batch::new();
        // Series that are not there any more have ended; those of a program that does not answer too. Of an answer that is none,
        // or only a part of one, nobody knows.
        if found.whole || answer.is_err() {
            for (_, stream) in self.before.iter().filter(|(labels, _)| !found.series.contains_key(*labels)) {
                batch.push_sample_at(now.base, stream, now.time, STALE);
            }
            self.before.clear();
        }
        let told = [("up", f64::from(u8::from(found.whole))), ("scrape_samples_scraped", found.samples as f64)];
        for (name, value) in told {
            let more = self.more.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let stream = shared.store.stream(&Labels::new(more.chain([("__name__", name)]))?)?;
            batch.push_sample_at(now.base, &stream, now.time, value);
        }
        drop(shared.store.append(batch, shared.pace.durability(shared.store.power()))?);
        self.before.extend(found.series);
        Ok(found.words)
    }

    /// Takes what came.
    fn read(&self, shared: &Shared, format: Format, body: &[u8]) -> anyhow::Result<Found> {
        let mut series = BTreeMap::new();
        let mut intake = shared.intake("scrape", &self.more, Durability::Policy).exporting();
        let take = |sample: &Sample<'_>| {
            intake.take(sample)?;
            if sample.time.is_none() {
                intake.last().into_iter().for_each(|stream| _ = series.insert(stream.labels().clone(), stream.clone()));
            }
            Ok(())
        };
        let outcome = exposition::read(body, format, take, |about| note(shared, about));
        let counters = shared.counters("scrape");
        drop(intake.finish()?);
        Counters::add(&counters.rows, outcome.samples - intake.too_old());
        Counters::add(&counters.odd, outcome.bad_count);
        // A target that has nothing to tell is up, as it is to Prometheus; one that tells only nonsense is not.
        let whole = !outcome.cut && (outcome.samples > 0 || outcome.bad_count == 0);
        let words = if outcome.bad_count > 0 { bad_rows("line", &outcome) } else { String::new() };
        Ok(Found { series, samples: outcome.samples, whole, words })
    }

    fn ask(&self) -> anyhow::Result<(Format, Vec<u8>)> {
        let accept = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let answer = self.agent.get(&self.config.url).header("Accept", accept).call()?;
        let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or("").to_string();
        let mut body = Vec::new();
        answer.into_body().into_reader().take(ANSWER_BYTES_MAX + 1).read_to_end(&mut body)?;
        anyhow::ensure!(body.len() as u64 <= ANSWER_BYTES_MAX, "the answer is larger than {ANSWER_BYTES_MAX} bytes");
        Ok((Format::of(&kind), body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_an_hour_and_anything_once_a_minute() {
        let mut said = Said::default();
        let mut at = |second, words| said.is_news(words, Duration::from_secs(second));
        assert!(at(0, "a") && !at(15, "a") && !at(120, "a") && at(3_600, "a"));
        assert!(!at(3_615, "b") && at(3_660, "b") && !at(3_661, "a"));
        // What was mended and is wrong again is said again.
        assert!(!at(3_700, "") && !at(3_701, "b") && at(3_800, "b"));
    }
}
