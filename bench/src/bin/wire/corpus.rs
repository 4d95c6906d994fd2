//! What is sent: random walks of two decimals, one sample a second and series, ending about now. Owns both forms of a body.

use std::fmt;

/// How samples are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// InfluxDB's line protocol.
    Lines,
    /// Prometheus' remote_write.
    Remote,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Form::Lines { "line protocol" } else { "remote_write" })
    }
}

/// Bodies, ready to be sent.
pub struct Corpus {
    /// Those of each client; a series belongs to one client, and its samples come in order.
    pub bodies: Vec<Vec<Vec<u8>>>,
    /// How they are written.
    pub form: Form,
    /// How many samples are in all of them.
    pub samples: usize,
    /// How many series.
    pub series: usize,
    /// Seconds since 1970 of the first sample, and behind the last one.
    pub span: (u64, u64),
}

struct Walk {
    state: u64,
    cents: i64,
}

impl Walk {
    fn step(&mut self) -> i64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.cents += (self.state >> 33) as i64 % 21 - 10;
        self.cents
    }
}

impl Corpus {
    /// So many samples of so many series, split among clients.
    pub fn new(form: Form, series: usize, samples: usize, clients: usize, body: usize) -> Corpus {
        let each = (samples / series).max(1);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let first = now.saturating_sub(each as u64);
        let mut bodies = vec![Vec::new(); clients];
        for (client, bodies) in bodies.iter_mut().enumerate() {
            let mut walks: Vec<(usize, Walk)> = (client..series)
                .step_by(clients)
                .map(|number| (number, Walk { state: number as u64 * 77 + 1, cents: 5_000 }))
                .collect();
            if walks.is_empty() {
                continue;
            }
            // A body holds a few samples in a row of each of its series, as an agent that gathers for a while sends them.
            let row = (body / walks.len()).clamp(1, each);
            let many = (body / row).max(1);
            for begin in (0..each).step_by(row) {
                let times = begin..(begin + row).min(each);
                for part in walks.chunks_mut(many) {
                    let mut out = Vec::new();
                    for (number, walk) in part {
                        write_series(form, *number, first, times.clone(), walk, &mut out);
                    }
                    bodies.push(if form == Form::Lines { out } else { compressed(&out) });
                }
            }
        }
        Corpus { form, bodies, samples: each * series, series, span: (first, first + each as u64) }
    }
}

fn compressed(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).unwrap_or_default()
}

fn write_series(
    form: Form,
    number: usize,
    first: u64,
    times: std::ops::Range<usize>,
    walk: &mut Walk,
    out: &mut Vec<u8>,
) {
    use std::io::Write as _;
    let mut series = Vec::new();
    if form == Form::Remote {
        for (name, value) in [("__name__", "walk_value"), ("host", &format!("h{number}")), ("zone", "eu")] {
            let mut label = Vec::new();
            field(1, name.as_bytes(), &mut label);
            field(2, value.as_bytes(), &mut label);
            field(1, &label, &mut series);
        }
    }
    for time in times {
        let cents = walk.step();
        let (sign, whole, part) = (if cents < 0 { "-" } else { "" }, cents.abs() / 100, cents.abs() % 100);
        let seconds = first + time as u64;
        if form == Form::Lines {
            let _ = writeln!(out, "walk,host=h{number},zone=eu value={sign}{whole}.{part:02} {seconds}000000000");
        } else {
            let mut sample = vec![0x09];
            sample.extend((cents as f64 / 100.0).to_le_bytes());
            sample.push(0x10);
            variable(seconds * 1_000, &mut sample);
            field(2, &sample, &mut series);
        }
    }
    if form == Form::Remote {
        field(1, &series, out);
    }
}

fn field(number: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | 2);
    variable(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn variable(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
