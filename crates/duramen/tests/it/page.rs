//! The page and what it asks: one file, nothing from elsewhere, counts that agree with the rows.

use std::process::Command;

use crate::collector::{Collector, installed};
use crate::harness::{Folder, assert_code, command, run_command};

#[test]
fn the_page_is_one_file_and_its_counts_agree_with_the_rows() {
    let folder = Folder::new();
    let log = folder.join("a.log");
    let lines: String = (0..300)
        .map(|at| format!("2026-11-27T0{}:00:00Z host app[1]: {} line {at}\n", at / 100, ["INFO", "ERROR"][at % 2]))
        .collect();
    std::fs::write(&log, lines).expect("written");
    let daemon = Collector::start(&folder.join("data"), &[&log]);
    daemon.wait_rows(r#"{app="app"}"#, 300);
    let words = ["query", r#"{app="app"}"#, "--count", "--by", "level", "--step", "1h", "-o", "json", "--data"];
    let mut asked = command(&words);
    let output = run_command(asked.arg(&daemon.data), b"");
    assert_code(&output, 0);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((told["total"].as_u64(), told["starts_ms"].as_array().map(Vec::len)), (Some(300), Some(3)));
    assert_eq!(told["series"][0]["counts"], serde_json::json!([50, 50, 50]));
    let Some(curl) = installed("curl") else {
        println!("skipped: curl is not installed");
        return;
    };
    let ask = |path: &str| {
        let output = Command::new(&curl).args(["-sSi", &format!("http://{}{path}", daemon.address)]).output();
        String::from_utf8(output.expect("curl runs").stdout).expect("text")
    };
    let page = ask("/");
    let (head, body) = page.split_once("\r\n\r\n").expect("a head and a body");
    let head = head.to_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains("content-type: text/html; charset=utf-8"), "{head}");
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    assert!(!body.contains("innerHTML") && !body.contains("src=\"http") && !body.contains("@import"), "from elsewhere");
    assert!(body.contains("id=\"series-view\"") && body.contains("/api/v1/query_range"), "no series");
    assert!(body.matches("<script>").count() == 2 && body.trim_end().ends_with("</html>"), "put together wrongly");
    let refused = ask("/counts?query=%7Bapp%3D%22x");
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains('^'), "{refused}");
    assert!(ask("/counts?query=x&step=soon").contains("soon is no step"));
    daemon.stop();
}
