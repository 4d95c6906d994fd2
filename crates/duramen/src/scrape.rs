//! Scraping: asks a program for its metrics now and then, as Prometheus does. Owns the rhythm, the answer's bounds, and how it is
//! told that a series has ended or that nobody answers.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use duramen_store::{Batch, Durability, Labels, STALE, Stream};

use crate::config::ScrapeConfig;
use crate::daemon::Shared;
use crate::input::{Counters, Now};
use crate::samples::exposition::{self, Format};
use crate::server::samples::note;
use crate::stop::Woken;

/// Bytes of one answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// One program, and the series that it gave last time.
struct Target {
    config: ScrapeConfig,
    instance: String,
    agent: ureq::Agent,
    more: Vec<(String, String)>,
    before: BTreeMap<Labels, Stream>,
}

/// Asks a program again and again until the daemon stops.
///
/// # Errors
/// The address is none.
pub fn run(config: ScrapeConfig, shared: &Arc<Shared>) -> anyhow::Result<()> {
    let address =
        config.url.strip_prefix("http://").with_context(|| format!("{}: only http:// is asked", config.url))?;
    let instance = address.split('/').next().unwrap_or(address).to_string();
    let mut more: Vec<(String, String)> = config.labels.clone().into_iter().collect();
    more.push(("instance".to_string(), instance.clone()));
    let patience = config.interval.0.min(Duration::from_secs(10)).max(Duration::from_millis(100));
    let agent = ureq::Agent::config_builder().timeout_global(Some(patience)).build().new_agent();
    let mut target = Target { config, instance, agent, more, before: BTreeMap::new() };
    while shared.stop.signal().is_none() {
        let told = target.scrape(shared);
        if let Err(error) = told {
            eprintln!("duramen: scrape of {}: {error:#}", target.instance);
        }
        if shared.stop.pause(target.config.interval.0).is_ok_and(|woken| woken == Woken::Stopped) {
            break;
        }
    }
    Ok(())
}

impl Target {
    /// Asks once. Whatever comes of it is told by `up`.
    fn scrape(&mut self, shared: &Shared) -> anyhow::Result<()> {
        let now = Now::of(&shared.store);
        let answer = self.ask();
        let mut found = BTreeMap::new();
        let mut samples = 0;
        if let Ok((format, body)) = &answer {
            let mut intake = shared.intake("scrape", &self.more, Durability::Policy);
            let outcome = exposition::read(
                body,
                *format,
                |sample| {
                    intake.take(sample)?;
                    if sample.time.is_none() {
                        intake
                            .last()
                            .into_iter()
                            .for_each(|stream| _ = found.insert(stream.labels().clone(), stream.clone()));
                    }
                    Ok(())
                },
                |about| note(shared, about),
            );
            samples = outcome.samples;
            drop(intake.finish()?);
            Counters::add(&shared.counters("scrape").rows, samples - intake.too_old());
        }
        let mut batch = Batch::new();
        // Series that are not there any more have ended; those of a program that does not answer too.
        for (_, stream) in self.before.iter().filter(|(labels, _)| !found.contains_key(*labels)) {
            batch.push_sample_at(now.base, stream, now.time, STALE);
        }
        for (name, value) in [("up", f64::from(u8::from(answer.is_ok()))), ("scrape_samples_scraped", samples as f64)] {
            let more = self.more.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let stream = shared.store.stream(&Labels::new(more.chain([("__name__", name)]))?)?;
            batch.push_sample_at(now.base, &stream, now.time, value);
        }
        drop(shared.store.append(batch, shared.pace.durability(shared.store.power()))?);
        self.before = found;
        answer.map(|_| ())
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
