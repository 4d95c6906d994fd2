//! Samples in a store of your own, without runtime, HTTP or PromQL: `cargo run -p duramen-store --example samples`.

use duramen_store::{Batch, Durability, Labels, Options, Selector, Store};

#[allow(clippy::disallowed_methods, reason = "a program of one's own has threads")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join("duramen-samples");
    let (store, _) = Store::open_with(&folder, &Options::series(), duramen_journal::World::real())?;
    let load = store.stream(&Labels::new([("__name__", "load"), ("host", "pharmacy")])?)?;
    let (_, now) = store.now();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, load) = (&store, &load);
            // Durable within a second, seen at once.
            scope.spawn(move || (0..250).try_for_each(|n| store.write(load, now + n * 4 + thread, n as f64)));
        }
    });
    let mut alarm = Batch::new();
    alarm.push_sample(&store.stream(&Labels::new([("__name__", "door_open")])?)?, now, 1.0);
    store.append(alarm, Durability::Now)?.wait()?;
    store.flush()?;
    for series in store.samples(&Selector::default(), now, i64::MAX)? {
        let series = series?;
        println!("{}: {} samples", series.labels, series.samples.len());
    }
    Ok(store.close()?)
}
