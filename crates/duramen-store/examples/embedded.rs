//! A program that keeps its own log: durable lines in, a question, its answer. `cargo run -p duramen-store --example embedded`
use duramen_store::{Batch, Durability, Labels, Level, Query, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("duramen-embedded-{}", std::process::id()));
    let (store, report) = Store::open(&folder)?;
    print!("{report}");
    let stream = store.stream(&Labels::new([("app", "pump"), ("room", "3")])?)?;
    let mut batch = Batch::new();
    batch.push(&stream, 1_790_000_000_000_000_000, Level::Info, b"started", &[("user", "ana")]);
    batch.push(&stream, 1_790_000_001_000_000_000, Level::Error, b"pressure too low", &[]);
    store.append(batch, Durability::Now)?.wait()?; // both lines survive a power cut, or neither
    for row in store.query(r#"{app="pump"} pressure level>=warning"#.parse::<Query>()?)? {
        let row = row?;
        println!("{} {} {}", row.labels, row.level, String::from_utf8_lossy(&row.text));
    }
    store.close()?;
    drop(store);
    std::process::Command::new("rm").arg("-r").arg(&folder).status()?; // it was an example
    Ok(())
}
