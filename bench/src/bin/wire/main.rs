//! Samples over HTTP: the daemon beside the servers of this field that this machine has, fed by the same clients with the same
//! bodies. Owns the corpus, the clients and the table; servers are started, on loopback, by [`servers`].
//!
//! ```text
//! cargo run --release --manifest-path bench/Cargo.toml --bin wire -- --duramen target/release/duramen
//! ```
//! `--series`, `--samples`, `--clients`, `--body` (samples a body) and `--only NAME` change what is sent; `--quick` sends little.

mod client;
mod corpus;
mod servers;

use std::path::PathBuf;
use std::time::Instant;

use crate::corpus::{Corpus, Form};
use crate::servers::Server;

/// What is asked for.
struct Arguments {
    duramen: PathBuf,
    series: Vec<usize>,
    samples: usize,
    clients: usize,
    body: usize,
    only: Option<String>,
}

fn arguments() -> Result<Arguments, String> {
    let mut all = Arguments {
        duramen: PathBuf::from("target/release/duramen"),
        series: vec![1, 1_000, 100_000],
        samples: 2_000_000,
        clients: 4,
        body: 5_000,
        only: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--quick" {
            (all.series, all.samples) = (vec![100], 20_000);
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{word} wants a value"))?;
        let number = || value.parse::<usize>().map_err(|_| format!("{word} {value} is no number"));
        match word.as_str() {
            "--duramen" => all.duramen = PathBuf::from(&value),
            "--series" => all.series = vec![number()?.max(1)],
            "--samples" => all.samples = number()?.max(1),
            "--clients" => all.clients = number()?.clamp(1, 64),
            "--body" => all.body = number()?.max(1),
            "--only" => all.only = Some(value.clone()),
            _ => return Err(format!("{word} is unknown")),
        }
    }
    Ok(all)
}

/// One server's figures.
struct Figures {
    per_second: f64,
    median_ms: f64,
    slow_ms: f64,
    query_ms: Option<f64>,
    stored: usize,
}

fn measure(server: &Server, form: Form, corpus: &Corpus, clients: usize) -> Result<Figures, String> {
    let begin = Instant::now();
    let results: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..clients)
            .map(|client| {
                let bodies = &corpus.bodies[client];
                scope.spawn(move || client::send_all(server.address, server.path(form), form, bodies))
            })
            .collect();
        running.into_iter().map(|one| one.join().map_err(|_| "a client panicked".to_string())?).collect()
    });
    let seconds = begin.elapsed().as_secs_f64();
    let mut times = Vec::new();
    for result in results {
        times.extend(result?);
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize] * 1e3;
    let stored = server.series_stored(corpus)?;
    let mut asked = Vec::new();
    for _ in 0..20 {
        let begin = Instant::now();
        if !server.ask_one_series(corpus)? {
            break;
        }
        asked.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    asked.sort_by(f64::total_cmp);
    Ok(Figures {
        per_second: corpus.samples as f64 / seconds,
        median_ms: at(0.5),
        slow_ms: at(0.99),
        query_ms: asked.get(asked.len() / 2).copied(),
        stored,
    })
}

fn run() -> Result<(), String> {
    let arguments = arguments()?;
    println!(
        "{} clients, {} samples a body, {} samples; an answer means: duramen, influxd: synced to the disk; the others: taken",
        arguments.clients, arguments.body, arguments.samples
    );
    for &series in &arguments.series {
        for form in [Form::Lines, Form::Remote] {
            println!("\n{series} series, {form}\n");
            println!(
                "| server | samples a second, thousands | body p50, ms | body p99, ms | one series, ms | all series there |"
            );
            println!("|---|---:|---:|---:|---:|---|");
            for name in servers::NAMES {
                if arguments.only.as_ref().is_some_and(|only| only != name) {
                    continue;
                }
                let corpus = Corpus::new(form, series, arguments.samples, arguments.clients, arguments.body);
                let Some(server) = servers::start(name, &arguments.duramen)? else {
                    println!("| {name} | not installed | | | | |");
                    continue;
                };
                if !server.takes(form) {
                    continue;
                }
                match measure(&server, form, &corpus, arguments.clients) {
                    Ok(found) => println!(
                        "| {name} | {:.0} | {:.2} | {:.2} | {} | {} |",
                        found.per_second / 1e3,
                        found.median_ms,
                        found.slow_ms,
                        found.query_ms.map_or("-".to_string(), |ms| format!("{ms:.2}")),
                        if found.stored == corpus.series { "yes".to_string() } else { format!("NO: {}", found.stored) }
                    ),
                    Err(words) => println!("| {name} | failed: {words} | | | | |"),
                }
            }
        }
    }
    Ok(())
}

fn main() {
    if let Err(words) = run() {
        eprintln!("wire: {words}");
        std::process::exit(1);
    }
}
