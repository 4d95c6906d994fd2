//! Answers about series: how long a query may take, and which names, values and series are listed.

use std::time::Instant;

use serde_json::{Value, json};

use crate::collector::{Collector, wait_for};
use crate::harness::Folder;
use crate::series::{IDLE, ask, encoded, send, values, write};

/// The first sample's time, in seconds: a multiple of a minute.
const START: u64 = 1_699_999_980;

#[test]
fn a_query_ends_when_its_time_is_over() {
    let folder = Folder::fast();
    let collector = Collector::start(&folder.join("data"), &IDLE);
    for host in 0..20 {
        let lines: String = (0..5_000).map(|at| format!("n,host=h{host} value={at} {}\n", START + at)).collect();
        assert_eq!(write(&collector, "/write?precision=s", &lines).0, 204);
    }
    // Twenty series, each with five thousand samples in nearly each of ten thousand windows.
    let query = encoded("sum(quantile_over_time(0.9, n[5000s]))");
    let place = format!("/api/v1/query_range?query={query}&start={}&end={}&step=1", START, START + 10_000);
    let begun = Instant::now();
    let (status, body) = send(&collector.address, "GET", &format!("{place}&timeout=50ms"), "", b"").expect("an answer");
    let told: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &told["status"], &told["errorType"]), (503, &json!("error"), &json!("timeout")), "{body}");
    assert!(told["error"].as_str().is_some_and(|words| words.contains("0.05 s")), "{told}");
    let took = begun.elapsed();
    assert!(took.as_secs() < 10, "it took {took:?}");
    // A number is of seconds; what is done in time is answered.
    let instant = format!("/api/v1/query?query={}&time={}&timeout=20", encoded("sum(n)"), START + 10);
    assert_eq!(ask(&collector, &instant)["data"]["result"][0]["value"][1], "200");
    collector.stop();
}

#[test]
fn names_values_and_series_are_those_that_are_there() {
    let folder = Folder::fast();
    let collector = Collector::start(&folder.join("data"), &IDLE);
    let lines = format!(
        "cpu,host=a,core=0 load=1 {START}\ncpu,host=a,core=1 load=2 {START}\ncpu,host=b load=3 {later}\nroom,place=hall temp=20.5 {START}\n",
        later = START + 3_600
    );
    assert_eq!(write(&collector, "/write?precision=s", &lines).0, 204);
    let listed = |place: &str| {
        let answer = ask(&collector, &format!("/api/v1/{place}"));
        assert_eq!(answer["status"], "success", "{place}: {answer}");
        answer["data"].clone()
    };
    let all = encoded("{__name__=~'.+'}");
    let (cpu, hall) = (encoded("cpu_load{host='a'}"), encoded("{place='hall'}"));
    for (place, expected) in [
        ("labels".to_string(), json!(["__name__", "core", "host", "place"])),
        (format!("labels?match[]={cpu}"), json!(["__name__", "core", "host"])),
        (format!("labels?match[]={hall}"), json!(["__name__", "place"])),
        ("labels?limit=2".into(), json!(["__name__", "core"])),
        (format!("labels?start={}", START + 60), json!(["__name__", "host"])),
        ("label/__name__/values".into(), json!(["cpu_load", "room_temp"])),
        ("label/host/values".into(), json!(["a", "b"])),
        (format!("label/host/values?end={}", START + 60), json!(["a"])),
        (format!("label/core/values?match[]={cpu}"), json!(["0", "1"])),
        (format!("label/core/values?match[]={hall}"), json!([])),
        ("label/nothing/values".into(), json!([])),
        (format!("series?match[]={hall}"), json!([{ "__name__": "room_temp", "place": "hall" }])),
        (
            format!("series?match[]={cpu}&match[]={hall}"),
            json!([
                { "__name__": "cpu_load", "core": "0", "host": "a" },
                { "__name__": "cpu_load", "core": "1", "host": "a" },
                { "__name__": "room_temp", "place": "hall" },
            ]),
        ),
        (format!("series?match[]={all}&start={}", START + 60), json!([{ "__name__": "cpu_load", "host": "b" }])),
        (format!("series?match[]={cpu}&end={}", START - 60), json!([])),
    ] {
        let mut found = listed(&place);
        // Of series the order is free.
        if let Some(list) = found.as_array_mut() {
            list.sort_by_key(Value::to_string);
        }
        assert_eq!(found, expected, "{place}");
    }
    let refused = ask(&collector, "/api/v1/series");
    assert!(
        refused["errorType"] == "bad_data" && refused["error"].as_str().is_some_and(|words| words.contains("match[]"))
    );
    collector.stop();
}

/// What a rule makes has the name of what it is made of: it must not be counted, listed or drawn beside it unless it is asked for.
#[test]
fn downsampled_series_are_answered_when_they_are_asked_for() {
    let folder = Folder::fast();
    let (data, settings) = (folder.join("data"), folder.join("duramen.toml"));
    let rule = "[store]\ndownsampling = [{ selector = '{__name__=~\".+\"}', step = \"1m\", delay = \"1s\", \
                statistics = [\"mean\", \"min\", \"max\", \"last\", \"count\"] }]\n";
    std::fs::write(&settings, rule).expect("written");
    let words = ["--config".as_ref(), settings.as_os_str(), IDLE[0].as_ref(), IDLE[1].as_ref()];
    let collector = Collector::start(&data, &words);
    let samples: String =
        [2, 8, 5, 1].iter().zip(1..).map(|(value, at)| format!("n value={value} {}\n", START + at * 15)).collect();
    assert_eq!(write(&collector, "/write?precision=s", &samples).0, 204);
    let made = format!("/api/v1/label/downsample/values?match[]={}", encoded("n{downsample!=''}"));
    wait_for("what the rule makes", || {
        let found = ask(&collector, &made)["data"].clone();
        (found == json!(["count", "last", "max", "mean", "min"])).then_some(())
    });
    let value = |query: &str| values(&collector, query, (START + 60) as f64).into_values().next();
    assert_eq!(value("sum(n)").as_deref(), Some("1"));
    assert_eq!(value("count({__name__=~'.+'})").as_deref(), Some("1"));
    for (statistic, expected) in [("mean", "4"), ("min", "1"), ("max", "8"), ("last", "1"), ("count", "4")] {
        assert_eq!(value(&format!("n{{downsample='{statistic}',downsample_step='60'}}")).as_deref(), Some(expected));
    }
    assert_eq!(ask(&collector, "/api/v1/labels")["data"], json!(["__name__"]));
    assert_eq!(ask(&collector, "/api/v1/label/downsample/values")["data"], json!([]));
    assert_eq!(ask(&collector, "/api/v1/series?match[]=n")["data"], json!([{ "__name__": "n" }]));
    collector.stop();
}
