//! Writes a few entries, and prints all figures of the log in the text form that Prometheus scrapes.
//! `cargo run -p duramen-raft --example prometheus -- FOLDER`

use std::fmt::Write as _;

use duramen_raft::{Config, Entry, Error, Plain, RaftLog, RaftStats, TermIndex};

/// The figures as Prometheus reads them: times in seconds, counters ending in `_total`.
fn text(stats: &RaftStats) -> String {
    let mut out = String::new();
    let mut tell = |name: &str, kind: &str, help: &str, value: u64| {
        let _ = writeln!(out, "# HELP raft_log_{name} {help}\n# TYPE raft_log_{name} {kind}\nraft_log_{name} {value}");
    };
    let (journal, cache, flush) = (&stats.journal, &stats.cache, &stats.flush);
    tell("groups", "gauge", "Groups that are open.", stats.groups as u64);
    tell("entries", "gauge", "Live entries.", stats.entries);
    tell("index_bytes", "gauge", "Memory of the indexes.", stats.index_bytes as u64);
    tell("cache_items", "gauge", "Entries in memory.", cache.items as u64);
    tell("cache_bytes", "gauge", "Bytes of entries in memory.", cache.bytes as u64);
    tell("cache_hits_total", "counter", "Reads found in memory.", cache.hits);
    tell("cache_misses_total", "counter", "Reads from the journal.", cache.misses);
    tell("cache_prefetched_total", "counter", "Entries read ahead.", cache.prefetched);
    tell("cache_evicted_total", "counter", "Entries that left memory for want of room.", cache.evicted);
    tell("spilled_reads_total", "counter", "Reads from the journal with MemFirst.", cache.spilled_reads);
    tell("flush_prompt_total", "counter", "Steps sent to the disk at once.", flush.prompt);
    tell("flush_delayed_total", "counter", "Steps that waited for others.", flush.delayed);
    tell("queue_bytes", "gauge", "Bytes that wait for the disk.", journal.queue_bytes as u64);
    tell("records_total", "counter", "Records written.", journal.records);
    tell("device_bytes_total", "counter", "Bytes handed to the device.", journal.device_bytes);
    tell("durable_sequence", "gauge", "The highest sequence that survives a power cut.", journal.durable);
    tell("segments", "gauge", "Segments in use.", journal.segments as u64);
    tell("no_space", "gauge", "1: the disk is full.", u64::from(journal.no_space));
    tell("poisoned", "gauge", "1: nothing is written until it is opened again.", u64::from(journal.poisoned));
    let _ = writeln!(out, "# HELP raft_log_sync_seconds How long syncs took.\n# TYPE raft_log_sync_seconds histogram");
    let mut below = 0;
    for (micros, count) in journal.sync_latency.buckets().take(24) {
        below += count;
        let _ = writeln!(out, "raft_log_sync_seconds_bucket{{le=\"{}\"}} {below}", micros as f64 / 1e6);
    }
    let count = journal.sync_latency.count();
    let _ = writeln!(out, "raft_log_sync_seconds_bucket{{le=\"+Inf\"}} {count}\nraft_log_sync_seconds_count {count}");
    out
}

fn main() -> Result<(), Error<Plain>> {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: prometheus FOLDER");
        return Ok(());
    };
    let (log, _) = RaftLog::<Plain>::open(Config::new(folder))?;
    let next = log.reader().next_index().unwrap_or(1);
    for index in next..next + 10 {
        log.writer().append(vec![Entry::new(TermIndex::new(1, index), "x = 1".into())])?.wait()?;
    }
    log.reader().range(next..next + 10, usize::MAX)?;
    print!("{}", text(&log.stats()));
    log.close()
}
