//! What both are asked.
//!
//! Left out is what 2.42 answers otherwise than Prometheus 3 does, on purpose or by mistake:
//! - windows and lookback are closed on the left: no sample lies there;
//! - `rate` and `increase` compare a counter's zero with the whole distance to the window's start, before that is shortened: no
//!   counter begins anew right behind a gap;
//! - `predict_linear` over a selector with `@` moves the window: asked at one time only;
//! - `atan2` keeps the metric's name: asked inside of `abs`;
//! - `topk` takes the last NaN of several, and leaves out others of equal values: there are no such.

/// Expressions with the same answer in both.
pub fn answered() -> Vec<String> {
    let mut questions: Vec<String> = PLAIN.iter().map(ToString::to_string).collect();
    ask_windows(&mut questions);
    ask_aggregations(&mut questions);
    ask_functions(&mut questions);
    ask_operators(&mut questions);
    ask_quantiles(&mut questions);
    questions
}

fn ask_windows(questions: &mut Vec<String>) {
    let over = [
        "rate",
        "irate",
        "increase",
        "delta",
        "idelta",
        "deriv",
        "changes",
        "resets",
        "avg_over_time",
        "min_over_time",
        "max_over_time",
        "sum_over_time",
        "count_over_time",
        "stddev_over_time",
        "stdvar_over_time",
        "last_over_time",
        "present_over_time",
        "absent_over_time",
    ];
    for function in over {
        for (selector, range) in [
            ("requests_total", "2m"),
            ("temperature", "7m"),
            ("gappy", "12m"),
            ("sparse", "10m"),
            ("requests_total{code=\"200\"}", "1h"),
        ] {
            questions.push(format!("{function}({selector}[{range}])"));
        }
        questions.push(format!("{function}(temperature[5m] offset 3m)"));
        questions.push(format!("{function}(temperature[9m:50s])"));
    }
    for function in [
        "min_over_time",
        "max_over_time",
        "count_over_time",
        "sum_over_time",
        "changes",
        "last_over_time",
        "quantile_over_time",
    ] {
        let parameter = if function == "quantile_over_time" { "0.3, " } else { "" };
        questions.push(format!("{function}({parameter}strange[2m])"));
    }
}

fn ask_aggregations(questions: &mut Vec<String>) {
    for aggregation in ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"] {
        for grouping in
            ["", "by (job)", "by (instance, code)", "without (instance)", "by (__name__)", "by ()", "without ()"]
        {
            questions.push(format!("{aggregation} {grouping} (rate(requests_total[4m]))"));
        }
        questions.push(format!("{aggregation}({{__name__=~\"requests_total|temperature\"}}) by (__name__, job)"));
        questions.push(format!("{aggregation}(nothing)"));
    }
    for function in ["min", "max", "count", "group"] {
        questions.push(format!("{function}(strange)"));
    }
}

fn ask_functions(questions: &mut Vec<String>) {
    for function in [
        "abs", "ceil", "floor", "exp", "ln", "log2", "log10", "sqrt", "sgn", "round", "deg", "rad", "sin", "cos",
        "tan", "sinh", "cosh", "tanh", "asin", "acos", "atan", "asinh", "acosh", "atanh",
    ] {
        questions.push(format!("{function}(temperature / 10)"));
        questions.push(format!("{function}(strange)"));
    }
    for function in ["minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year"] {
        questions.push(format!("{function}()"));
        questions.push(format!("{function}(epoch)"));
    }
}

fn ask_operators(questions: &mut Vec<String>) {
    for operator in ["+", "-", "*", "/", "%", "^", "==", "!=", "<", "<=", ">", ">="] {
        questions.push(format!("temperature {operator} 20"));
        questions.push(format!("20 {operator} temperature"));
        questions.push(format!("strange {operator} 1.5"));
        questions.push(format!("state{{host=\"h1\"}} {operator} ignoring(host) state{{host=\"h2\"}}"));
        questions.push(format!("state {operator} on(host) state"));
        questions.push(format!("requests_total {operator} on(job) group_left limit"));
        questions.push(format!("limit {operator} on(job) group_right requests_total"));
        questions.push(format!("gappy{{n=\"1\"}} {operator} on() gappy{{n=\"2\"}}"));
    }
    for operator in ["==", "!=", "<", "<=", ">", ">="] {
        questions.push(format!("temperature {operator} bool 20"));
        questions.push(format!("20 {operator} bool temperature"));
        questions.push(format!("1 {operator} bool 2"));
        questions.push(format!("requests_total {operator} bool on(job) group_left limit"));
        questions.push(format!("state {operator} bool state"));
    }
    for operator in ["and", "or", "unless"] {
        questions.push(format!("state {operator} (state > 1)"));
        questions.push(format!("gappy {operator} on(n) (gappy % 2 == 0)"));
        questions.push(format!("requests_total {operator} ignoring(instance, code) limit"));
        questions.push(format!("gappy{{n=\"1\"}} {operator} on() gappy{{n=\"2\"}}"));
        questions.push(format!("nothing {operator} state"));
        questions.push(format!("state {operator} nothing"));
    }
}

fn ask_quantiles(questions: &mut Vec<String>) {
    for quantile in ["-1", "0", "0.1", "0.5", "0.9", "1", "2", "NaN"] {
        questions.push(format!("quantile({quantile}, requests_total)"));
        questions.push(format!("quantile by (job) ({quantile}, requests_total)"));
        questions.push(format!("quantile_over_time({quantile}, temperature[10m])"));
        questions.push(format!("histogram_quantile({quantile}, rate(latency_bucket[5m]))"));
        questions.push(format!("histogram_quantile({quantile}, sum by (le) (latency_bucket))"));
    }
    for count in ["0", "1", "2", "3", "100"] {
        questions.push(format!("topk({count}, requests_total)"));
        questions.push(format!("bottomk by (job) ({count}, requests_total)"));
        questions.push(format!("topk({count}, strange{{kind=\"nan\"}} or temperature)"));
        questions.push(format!("bottomk({count}, strange{{kind=\"nan\"}} or temperature)"));
        questions.push(format!("count(topk({count}, state))"));
    }
}

const PLAIN: &[&str] = &[
    "1",
    "-1",
    "1 + 2 * 3 - 4 / 5 % 6 ^ 7",
    "2 ^ 3 ^ 2",
    "-2 ^ 2",
    "Inf - Inf",
    "0x1F + 0755 + 1e-3",
    "time()",
    "time() % 3600",
    "pi()",
    "vector(1)",
    "vector(time())",
    "scalar(sum(state))",
    "scalar(state)",
    "temperature",
    "temperature{room=\"hall\"}",
    "temperature{room!=\"hall\"}",
    "temperature{room=~\"h.*|attic\"}",
    "temperature{room!~\"h.*|attic\"}",
    "temperature{room=~\"hal\"}",
    "temperature{room=~\"[^c]+\", none=\"\"}",
    "{__name__=\"temperature\", room=~\".+\"}",
    "{__name__=~\"temp.*|gappy\"}",
    "{room=~\".+\"}",
    "nothing",
    "gappy",
    "sparse",
    "strange",
    "temperature offset 10m",
    "temperature offset -10m",
    "temperature @ 1699995673",
    "temperature @ 1699995673.5 offset 1m",
    "temperature @ start()",
    "temperature @ end()",
    "rate(requests_total[5m] @ end())",
    "sum_over_time(temperature[5m] @ start() offset -2m)",
    "-temperature",
    "+temperature",
    "-(-temperature)",
    "temperature - temperature offset 5m",
    "timestamp(temperature)",
    "timestamp(gappy)",
    "timestamp(temperature @ 1699995673)",
    "timestamp(temperature offset 2m)",
    "timestamp(temperature + 0)",
    "timestamp((temperature))",
    "timestamp(vector(1))",
    "absent(nothing)",
    "absent(nothing{a=\"1\", b=~\"2\", c!=\"3\"})",
    "absent(nothing{a=\"1\", a=\"2\"})",
    "absent(temperature)",
    "absent(gappy{n=\"1\"})",
    "absent(sum(nothing))",
    "absent_over_time(nothing{a=\"1\"}[5m])",
    "absent_over_time(gappy{n=\"1\"}[3m])",
    "absent_over_time(nothing[10m:1m])",
    "clamp(temperature, 0, 20)",
    "clamp(temperature, 20, 0)",
    "clamp_min(strange, 0)",
    "clamp_max(strange, 1)",
    "clamp(strange, -1, 2)",
    "clamp_min(temperature, scalar(avg(temperature)))",
    "round(temperature, 0.25)",
    "round(temperature, 5)",
    "round(strange, 2)",
    "sort(requests_total)",
    "sort_desc(requests_total)",
    "sort(temperature)",
    "sort_desc(-temperature)",
    "sum(state) by (host) + 1",
    "sum(rate(requests_total[5m])) by (job) / on(job) limit",
    "sum by (job) (rate(requests_total[5m])) / sum by (job) (limit)",
    "rate(requests_total[5m]) * on(instance) group_left(version) build",
    "build * on(instance) group_right(version) sum by (instance, code) (requests_total)",
    "requests_total * on(instance) group_left(nothing) build",
    "sum by (version) (requests_total * on(instance) group_left(version) build)",
    "requests_total{code=\"200\"} / ignoring(code) group_left requests_total{code=\"200\"}",
    "count_values(\"value\", state)",
    "count_values by (host) (\"value\", state)",
    "count_values without (host) (\"host\", state)",
    "count_values(\"value\", temperature > 100)",
    "label_replace(requests_total, \"port\", \"$1\", \"instance\", \".*:(.*)\")",
    "label_replace(requests_total, \"port\", \"${p}/$1$$\", \"instance\", \".*:(?P<p>.*)\")",
    "label_replace(requests_total{code=\"200\"}, \"code\", \"\", \"code\", \"(.*)\")",
    "label_replace(requests_total{code=\"200\"}, \"job\", \"x$1\", \"none\", \"\")",
    "label_replace(requests_total, \"x\", \"$1\", \"job\", \"(w).*\")",
    "label_replace(rate(requests_total[3m]), \"__name__\", \"speed\", \"\", \"\")",
    "label_join(requests_total, \"all\", \"-\", \"job\", \"instance\", \"none\", \"code\")",
    "label_join(requests_total, \"job\", \"\", \"job\")",
    "label_join(state, \"x\", \",\")",
    "predict_linear(temperature[10m], 600)",
    "predict_linear(temperature[10m] offset 1m, -60)",
    "abs(temperature atan2 20)",
    "abs(20 atan2 strange)",
    "clamp_min(strange, NaN)",
    "clamp_min(strange, Inf)",
    "clamp_max(strange, -Inf)",
    "clamp(strange, -Inf, -Inf)",
    "bottomk(-1e18, state)",
    "topk(1e18, state)",
    "abs(state atan2 on(host) state)",
    "histogram_quantile(0.9, latency_bucket)",
    "histogram_quantile(0.5, sum by (le, path) (rate(latency_bucket[10m])))",
    "histogram_quantile(0.5, temperature)",
    "histogram_quantile(0.5, latency_bucket{le!=\"+Inf\"})",
    "histogram_quantile(scalar(avg(temperature)) / 100, latency_bucket)",
    "max_over_time(rate(requests_total[2m])[10m:30s])",
    "sum_over_time(sum(state)[5m:20s])",
    "avg_over_time((temperature > 0)[20m:1m])",
    "rate(requests_total[10m:40s])",
    "count_over_time(vector(1)[10m:])",
    "max_over_time(max_over_time(temperature[3m])[9m:1m] offset 4m)",
    "sum_over_time(temperature[5m:50s] @ 1699995673)",
    "min_over_time(timestamp(temperature)[5m:50s])",
    "topk(2, sum by (job, code) (rate(requests_total[5m])))",
    "sum(topk by (job) (1, requests_total))",
    "quantile(scalar(max(state)) / 3, temperature)",
    "abs(delta(temperature[6m])) > 0.5",
    "(temperature > 10) and (temperature < 25)",
    "temperature > 10 < 25",
    "sum(temperature) > bool 40",
    "avg(temperature) + stddev(temperature) - quantile(0.2, temperature)",
    "sum({__name__=~\"state|limit\"}) without (host, job)",
    "1 - avg by (host) (state) / 2",
    "state == on(host) group_left state",
    "vector(1) or vector(2)",
    "vector(0) / vector(0)",
    "day_of_week(vector(time())) == 2 or hour(vector(time())) > 5",
    "SUM(state) BY (host)",
    "temperature # a comment",
    r#"absent((nothing{a="1"}))"#,
    r#"absent(nothing{a="1"} @ 1699995673)"#,
    r#"absent_over_time(nothing{a="1"}[5m] @ 1699995673)"#,
    "timestamp(temperature) - timestamp(temperature offset 1m)",
    "sum by (le) (latency_bucket) > 5",
    "-1 * temperature",
    "2 * -temperature ^ 2",
    r#"label_replace(vector(1), "a", "b", "", "")"#,
    r#"count_values("__name__", state)"#,
    r#"count_values by (host) ("host", state)"#,
    "topk(1, temperature) by (room)",
    "vector(1) == bool vector(1)",
    r#"avg_over_time(strange{kind="all"}[1m])"#,
    "avg_over_time(strange[10m])",
    "sum_over_time(strange[10m])",
    "stddev_over_time(strange[1m])",
    "quantile_over_time(0.5, strange[10m])",
    "deriv(strange[2m])",
    "rate(strange[2m])",
    "increase(strange[1m])",
    "irate(strange[2m])",
    "idelta(strange[2m])",
    "resets(strange[20m])",
    "avg(strange)",
    "sum(strange)",
    r#"stdvar(strange{kind!="all"})"#,
    "quantile(0.5, strange)",
    "max by (kind) (strange)",
    "round(strange, 0)",
    "1 % 0",
    "-5 % 3",
    "5.5 % -2",
    "Inf % 2",
    "0 ^ 0",
    "NaN ^ 0",
    "1 ^ NaN",
    "-8 ^ (1 / 3)",
    r#"{__name__=~"temperature|gappy"} > 5"#,
    "rate(requests_total[2m:10s])",
    "increase(requests_total[10m:1m] offset 1m)",
    "max_over_time((rate(requests_total[5m]) > 1)[10m:1m] @ end())",
    "sum(temperature @ end()) + time()",
    r#"scalar(temperature{room="hall"} @ 1699995673)"#,
    r#"temperature{room="\x68all"}"#,
    r#"temperature{room=~"ha\\w+"}"#,
    r#"temperature{room=~`\w{4}`}"#,
    r#"temperature{room!~"[[:alpha:]]{4,5}"}"#,
    r#"label_join(temperature, "__name__", "_", "__name__", "room")"#,
    "min(temperature) by (nope)",
    "count(count by (job) (requests_total))",
    "sum without (nope) (temperature)",
    "sum by (room, nope) (temperature)",
    "temperature + on(room) temperature * on(room) temperature",
    "temperature == temperature",
    "temperature != temperature",
    "temperature > on(room) (temperature offset 1m)",
    "temperature unless temperature",
    "state and on() vector(1)",
    "state or vector(5)",
    "state unless on(host) (state == 2)",
    "requests_total * ignoring(code, instance) group_left() limit",
    "limit * ignoring(code, instance) group_right requests_total",
    "rate(requests_total[1h30m])",
    "rate(requests_total[90s])",
    "sum_over_time(temperature[7200s])",
    "hour() + minute() / 60",
    "vector(1) + vector(2)",
    "scalar(vector(1)) + vector(2)",
    "time() - vector(time())",
    "clamp_max(vector(time()), 1699995673)",
    "(1 + 2) * (3 - vector(4))",
    "sgn(temperature - 20)",
    "exp(vector(1)) + ln(vector(10))",
    "sum(rate(requests_total[5m])) / count(rate(requests_total[5m]))",
    "avg by (job) (avg_over_time(requests_total[10m]))",
    "histogram_quantile(0.99, sum(rate(latency_bucket[5m])) by (le))",
    r#"sum(latency_bucket{le="+Inf"}) - sum(latency_bucket{le="1"})"#,
    "predict_linear(requests_total[20m], 3600) > 0",
    "delta(temperature[1h] offset 30m)",
    r#"label_replace(label_replace(state, "a", "$1", "host", "h(.)"), "b", "$1$1", "a", "(.*)")"#,
    "max(max_over_time(deriv(temperature[5m])[30m:2m]))",
    "changes(state[1h]) + resets(state[1h])",
];

/// Expressions that are asked at one time only.
pub fn instants() -> &'static [&'static str] {
    &[
        "temperature[2m]",
        "temperature[2m] offset 5m",
        "temperature[5m:50s]",
        "temperature[5m] @ 1699995673",
        "predict_linear(gappy[20m] @ 1699995673, 60)",
        "topk(scalar(count(temperature)) - 1, requests_total)",
        "\"text\"",
    ]
}

/// Expressions that both refuse.
pub fn refused() -> &'static [&'static str] {
    &[
        "",
        "temperature temperature",
        "rate(temperature)",
        "temperature[5m] + 1",
        "sum(temperature[5m])",
        "abs(1)",
        "ln(-1)",
        "exp(Inf)",
        "1 == 2",
        "1 and 2",
        "temperature and 1",
        "{}",
        "{room=~\".*\"}",
        "{room=\"\"}",
        "temperature{__name__=\"a\"}",
        "temperature{room=~\"(\"}",
        "temperature[0s]",
        "temperature[5x]",
        "temperature offset 5m offset 5m",
        "temperature offset 5m[5m]",
        "temperature @ 1 @ 2",
        "temperature @ NaN",
        "topk(temperature)",
        "topk(\"a\", temperature)",
        "topk(Inf, temperature)",
        "topk(-Inf, temperature)",
        "bottomk(1e30, temperature)",
        "topk(NaN, temperature)",
        "1e400",
        "count_values(1, temperature)",
        "sum by (a b) (temperature)",
        "temperature + on(a) group_left(a) temperature",
        "temperature and on(a) group_left temperature",
        "requests_total + on(job) requests_total",
        "limit + on(job) requests_total",
        "requests_total + on(job) limit",
        "-{__name__=~\"temperature|requests_total\", room=\"hall\"} + {__name__=~\"state|limit\"} * on() temperature",
        "rate({__name__=~\"state|limit|requests_total\"}[5m]) * on() state",
        "label_replace(requests_total, \"code\", \"\", \"code\", \"(.*)\")",
        "last_over_time(time()[5m:50s])",
        "limit / on(job) group_right(code) requests_total",
        "label_replace(state, \"host\", \"same\", \"host\", \".*\")",
        "label_replace(state, \"\", \"same\", \"host\", \".*\")",
        "label_replace(state, \"x\", \"\", \"host\", \"(\")",
        "label_join(state, \"host\", \"\")",
        "unknown_function(temperature)",
        "\"a\" + 1",
        "-\"a\"",
        "temperature bool 1",
        "temperature + bool 1",
        "a ^^ b",
        "time(1)",
        "round()",
        "clamp(temperature, 1)",
        "sum(temperature) by room",
        "temperature{room='hall\"}",
        "temperature[5m:0s]",
        "1 + (temperature",
        "temperature)",
        "vector(temperature)",
        "scalar(1)",
        "quantile_over_time(temperature, temperature[5m])",
    ]
}
