//! One run of the benchmark: chooses works and systems, lets them take turns, gathers the values, writes the report.

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::engine::{Outcome, System};
use crate::host::{self, Scratch};
use crate::raw::RawSystem;
use crate::raw::probe::{SyncMethod, probe};
use crate::results::{Circumstances, Participant, Results, Row};
use crate::works::{self, Context, Scale, Values, Work};
use crate::{goals, report};

/// Every system that this build knows, the raw bound first.
pub fn systems(method: SyncMethod) -> Vec<Box<dyn System>> {
    #[cfg_attr(not(any(feature = "peers", feature = "duramen")), allow(unused_mut, reason = "only features add"))]
    let mut systems: Vec<Box<dyn System>> = vec![Box::new(RawSystem::new(method))];
    #[cfg(feature = "duramen")]
    {
        systems.push(Box::new(crate::duramen::DuramenSystem));
        systems.extend(crate::raft::all());
    }
    #[cfg(feature = "peers")]
    systems.extend(crate::peers::all());
    systems
}

/// Prints the names that `--works` and `--systems` take.
pub fn list() {
    println!("works:");
    for work in works::all() {
        for (place, metric) in work.metrics.iter().enumerate() {
            println!("  {:<12} {}", if place == 0 { work.id } else { "" }, metric.title);
        }
    }
    println!("systems:");
    for system in systems(SyncMethod::DataSync) {
        println!("  {}", system.name());
    }
}

/// Runs what was asked for. The exit code tells whether every work of every system went through.
pub fn run(arguments: &Arguments) -> Outcome<ExitCode> {
    let scale = scale(arguments);
    let context = Context::new(arguments.folder.clone(), scale)?;
    let works = chosen_works(&arguments.works)?;
    let probed = probe(Scratch::create(&arguments.folder)?.path(), if arguments.quick { 16 } else { 400 })?;
    let systems = chosen_systems(&arguments.systems, probed[0].0)?;
    let mut results = Results {
        circumstances: circumstances(arguments, &context, &probed),
        participants: systems
            .iter()
            .map(|system| Participant { name: system.name().to_owned(), role: system.role() })
            .collect(),
        ..Results::default()
    };
    for work in &works {
        run_work(work, arguments.runs, &context, &systems, &mut results);
    }
    let verdicts = if arguments.quick { Vec::new() } else { goals::verdicts(&results) };
    println!("{}", report::terminal(&results, &verdicts));
    if let Some(folder) = &arguments.out {
        fs::create_dir_all(folder)?;
        let chart_file = format!("benchmark-{}.svg", results.circumstances.slug);
        let table_file = format!("benchmark-{}.md", results.circumstances.slug);
        fs::write(folder.join(&chart_file), report::chart(&results))?;
        fs::write(folder.join(&table_file), report::markdown(&results, &verdicts, &chart_file))?;
        println!("written: {table_file}, {chart_file}");
    }
    Ok(if results.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn scale(arguments: &Arguments) -> Scale {
    let mut scale = if arguments.quick { Scale::quick() } else { Scale::full() };
    if let Some(records) = arguments.records {
        scale.records = records;
        scale.many_records = scale.many_records.min(10 * records);
    }
    scale
}

fn chosen_works(wanted: &[String]) -> Outcome<Vec<Work>> {
    let mut works = works::all();
    if let Some(unknown) = wanted.iter().find(|name| !works.iter().any(|work| work.id == **name)) {
        return Err(format!("there is no work named {unknown}; see --list").into());
    }
    works.retain(|work| wanted.is_empty() || wanted.iter().any(|name| name == work.id));
    Ok(works)
}

fn chosen_systems(wanted: &[String], method: SyncMethod) -> Outcome<Vec<Box<dyn System>>> {
    let mut systems = systems(method);
    let names: Vec<String> = systems.iter().map(|system| system.name().to_lowercase()).collect();
    // A whole name means itself: "duramen" is not "duramen raft".
    let means = |name: &String, word: &String| if names.contains(word) { name == word } else { name.contains(word) };
    if let Some(unknown) = wanted.iter().find(|word| !names.iter().any(|name| means(name, word))) {
        return Err(format!("there is no system named {unknown} in this build; see --list").into());
    }
    let is_chosen = |name: &String| wanted.is_empty() || wanted.iter().any(|word| means(name, word));
    let mut chosen = names.iter().map(is_chosen).collect::<Vec<bool>>().into_iter();
    systems.retain(|_| chosen.next().unwrap_or(false));
    Ok(systems)
}

fn circumstances(arguments: &Arguments, context: &Context, probed: &[(SyncMethod, Duration)]) -> Circumstances {
    let host = &context.host;
    let methods: Vec<String> =
        probed.iter().map(|(method, time)| format!("{} {} us", method.name(), time.as_micros())).collect();
    let runs = match arguments.quick {
        true => format!("{} (quick: the figures mean nothing)", arguments.runs),
        false => format!("{}, interleaved, median", arguments.runs),
    };
    let fact = |name: &str, value: String| (name.to_owned(), value);
    let load = host::load_average().map_or_else(|| "unknown".to_owned(), |load| format!("{load:.1}"));
    let facts = vec![
        fact("file system", host.file_system.clone()),
        fact("machine", format!("{} processors, Linux {}", host.processors, host.kernel)),
        fact("load average before the run", load),
        fact("runs", runs),
        fact(
            "records",
            format!("{} B, random; {} where they are counted", context.scale.record_bytes, context.scale.records),
        ),
        fact(
            "not timed",
            "waiting before each run until the file system has written what earlier ones left; preallocating the raw \
             bound's file; preparing Duramen's spare segments after opening"
                .to_owned(),
        ),
        fact("one durable page, probed; the first is the raw bound's method", methods.join(", ")),
    ];
    let words = host.file_system.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    Circumstances { facts, slug: words.collect::<Vec<_>>().join("-").to_lowercase() }
}

/// Runs one work with all systems, in turns where it may; a system that fails once is left out of the rest of the work.
fn run_work(work: &Work, runs: usize, context: &Context, systems: &[Box<dyn System>], results: &mut Results) {
    let start = Instant::now();
    let mut rows: Vec<Row> =
        work.metrics.iter().map(|metric| Row { metric, values: vec![Vec::new(); systems.len()] }).collect();
    let mut able: Vec<bool> =
        systems.iter().map(|system| work.needs.iter().all(|ability| system.can(*ability))).collect();
    let mut once = |column: usize, able: &mut bool| {
        let system = &*systems[column];
        match host::settle(&context.folder).and_then(|()| (work.run)(context, system)) {
            Ok(values) => record(&mut rows, column, values),
            Err(error) => {
                *able = false;
                results.failures.push(format!("{} with {}: {error}", work.id, system.name()));
            }
        }
    };
    let turns: Vec<usize> = match work.interleaved {
        true => (0..runs).flat_map(|run| rotated(systems.len(), run)).collect(),
        false => (0..systems.len()).flat_map(|column| std::iter::repeat_n(column, runs)).collect(),
    };
    let mut last = None;
    for column in turns {
        if !work.interleaved && last != Some(column) {
            context.forget_kept();
        }
        last = Some(column);
        if able[column] {
            once(column, &mut able[column]);
        }
    }
    context.forget_kept();
    eprintln!("{:<12} {:>6.1} s", work.id, start.elapsed().as_secs_f64());
    results.rows.extend(rows.into_iter().filter(|row| row.values.iter().any(|values| !values.is_empty())));
}

/// All columns, each run starting with the next one, so that nobody always follows the same neighbour's leftovers.
fn rotated(columns: usize, run: usize) -> impl Iterator<Item = usize> {
    (0..columns).map(move |place| (place + run) % columns)
}

fn record(rows: &mut [Row], column: usize, values: Values) {
    for (row, value) in rows.iter_mut().zip(values) {
        row.values[column].extend(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_has_its_turn_in_each_run() {
        let order: Vec<usize> = (0..3).flat_map(|run| rotated(3, run)).collect();
        assert_eq!(order, [0, 1, 2, 1, 2, 0, 2, 0, 1]);
    }

    #[test]
    fn unknown_names_are_refused() {
        assert!(chosen_works(&["nonsense".to_owned()]).is_err());
        assert!(chosen_systems(&["nonsense".to_owned()], SyncMethod::DataSync).is_err());
        let raw = chosen_systems(&["raw".to_owned()], SyncMethod::DataSync).unwrap();
        assert_eq!(raw.len(), 1);
    }
}
