//! What was typed for the daemon and the commands on a store. Owns no behaviour.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::answer::Output;

/// Where the data is.
#[derive(Clone, Debug, Args)]
pub struct Data {
    /// The data folder
    #[arg(long = "data", short = 'd', value_name = "DIR", env = "DURAMEN_DATA", default_value = "./duramen-data")]
    pub folder: PathBuf,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Files to follow: names or patterns such as '/var/log/*.log'. Without any, and without a configuration: standard input
    /// if it is a pipe, else the readable files of /var/log
    #[arg(value_name = "PATTERN")]
    pub patterns: Vec<String>,
    /// Take syslog at this address over UDP; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub syslog_udp: Vec<String>,
    /// Take syslog at this address over TCP, octet-counted or in lines
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub syslog_tcp: Vec<String>,
    /// Take syslog at this unix socket, made here: a path for datagrams, as /dev/log; stream:PATH for connections
    #[arg(long, value_name = "PATH")]
    pub syslog_unix: Vec<String>,
    /// Read systemd's journal too, where there is a journalctl
    #[arg(long)]
    pub journald: bool,
    /// Where the data is
    #[command(flatten)]
    pub data: OptionalData,
    /// The configuration file
    #[arg(long, short, value_name = "FILE", env = "DURAMEN_CONFIG")]
    pub config: Option<PathBuf>,
    /// The address for HTTP; port 0 takes a free one [default: 127.0.0.1:7420]
    #[arg(long, value_name = "ADDRESS:PORT", env = "DURAMEN_LISTEN")]
    pub listen: Option<String>,
    /// Ask NUT about this UPS: NAME, NAME@HOST or NAME@HOST:PORT
    #[arg(long, value_name = "UPS")]
    pub nut: Option<String>,
    /// Print `ready ADDRESS` on standard output when everything runs
    #[arg(long)]
    pub ready: bool,
    /// Die with the process that started this one
    #[arg(long, hide = true)]
    pub with_parent: bool,
}

/// Where the data is, if it is said.
#[derive(Clone, Debug, Args)]
pub struct OptionalData {
    /// The data folder [default: ./duramen-data]
    #[arg(long = "data", short = 'd', value_name = "DIR", env = "DURAMEN_DATA")]
    pub folder: Option<PathBuf>,
}

/// Arguments of `ingest`.
#[derive(Debug, Args)]
pub struct Ingest {
    /// Files to store, `-` for standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Where the data is
    #[command(flatten)]
    pub data: Data,
    /// Labels for all lines, beside file, app and host
    #[arg(long = "label", short, value_name = "NAME=VALUE", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,
    /// Say nothing but errors
    #[arg(long, short)]
    pub quiet: bool,
}

/// Arguments of `import`.
#[derive(Debug, Args)]
pub struct Import {
    /// Files with samples, `-` for standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Where the data is; a daemon that runs on it is handed the samples
    #[command(flatten)]
    pub data: Data,
    /// Hand the samples to the daemon at this address instead
    #[arg(long, value_name = "http://ADDRESS:PORT", env = "DURAMEN_URL")]
    pub url: Option<String>,
    /// csv, json, influx or prometheus [default: what the file's name says]
    #[arg(long, short)]
    pub format: Option<String>,
    /// The metric's name, for CSV [default: the file's name]
    #[arg(long)]
    pub name: Option<String>,
    /// The column with the time, for CSV [default: time or timestamp]
    #[arg(long = "time", value_name = "COLUMN")]
    pub time: Option<String>,
    /// Columns that are labels, for CSV
    #[arg(long = "labels-of", value_name = "COLUMN")]
    pub label_columns: Vec<String>,
    /// Columns that are values, for CSV [default: all others]
    #[arg(long = "values-of", value_name = "COLUMN")]
    pub value_columns: Vec<String>,
    /// Between the cells, for CSV
    #[arg(long, default_value = ",")]
    pub separator: String,
    /// What times that are numbers count: ns, us, ms, s, m, h [default: their size tells; ns for influx]
    #[arg(long)]
    pub unit: Option<String>,
    /// Labels for all samples
    #[arg(long = "label", short, value_name = "NAME=VALUE", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,
    /// Say nothing but errors
    #[arg(long, short)]
    pub quiet: bool,
}

/// Arguments of `exec`.
#[derive(Debug, Args)]
pub struct Exec {
    /// Where the data is; a daemon that runs on it is handed the lines
    #[command(flatten)]
    pub data: Data,
    /// Hand the lines to the daemon at this address instead
    #[arg(long, value_name = "http://ADDRESS:PORT", env = "DURAMEN_URL")]
    pub url: Option<String>,
    /// Labels for all lines, beside app and stream
    #[arg(long = "label", short, value_name = "NAME=VALUE", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,
    /// Do not pass the command's output through
    #[arg(long, short)]
    pub quiet: bool,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<std::ffi::OsString>,
}

/// Parses `name=value`.
fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if duramen_store::is_name(name) => Ok((name.to_string(), value.to_string())),
        _ => Err(format!("{text}: expected NAME=VALUE, the name of letters, digits and _")),
    }
}

/// In which order rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// The oldest first
    Forward,
    /// The newest first
    Backward,
}

/// Arguments of `query` and `tail`.
#[derive(Clone, Debug, Args)]
pub struct Ask {
    /// What to look for: a selector of streams, words, filters, fields. For example '{app="sshd"} refused level>=warning'
    #[arg(value_name = "QUERY")]
    pub query: Vec<String>,
    /// Where the data is; a daemon that runs on it is asked
    #[command(flatten)]
    pub data: Data,
    /// Ask the daemon at this address instead
    #[arg(long, value_name = "http://ADDRESS:PORT", env = "DURAMEN_URL")]
    pub url: Option<String>,
    /// From this time on: -2h, today, 10:30, '2026-11-26 10:30'
    #[arg(long, short = 'S', value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// Before this time
    #[arg(long, short = 'U', value_name = "TIME", allow_hyphen_values = true)]
    pub until: Option<String>,
    /// Only the last so many rows; with --reverse they come newest first
    #[arg(long = "lines", short = 'n', value_name = "COUNT")]
    pub lines: Option<usize>,
    /// Only rows of this level or graver: emerg alert crit err warning notice info debug
    #[arg(long, short, value_name = "LEVEL")]
    pub priority: Option<String>,
    /// Only rows in which this regular expression matches
    #[arg(long, short, value_name = "REGEX")]
    pub grep: Option<String>,
    /// How rows are printed
    #[arg(long, short, value_enum, default_value = "short")]
    pub output: Output,
    /// The newest first
    #[arg(long, short)]
    pub reverse: bool,
    /// Go on with rows as they come
    #[arg(long, short)]
    pub follow: bool,
    /// Say on standard error what was read and what was not
    #[arg(long)]
    pub explain: bool,
    /// The query is PromQL, over samples: with --since for a span of time, drawn as a chart; else for now
    #[arg(long, short = 'P', conflicts_with_all = ["follow", "lines", "reverse", "priority", "grep", "count"])]
    pub promql: bool,
    /// Count rows instead of printing them, over time
    #[arg(long, conflicts_with_all = ["follow", "lines", "reverse"])]
    pub count: bool,
    /// What to tell the counted rows apart by: level, a label or a field
    #[arg(long, value_name = "NAME", requires = "count")]
    pub by: Option<String>,
    /// The length of the spans in which rows are counted, or from one value to the next: 30s, 5m, 1h, 1d [default: by the time asked for]
    #[arg(long, value_name = "TIME")]
    pub step: Option<String>,
    /// No pager, even on a terminal
    #[arg(long)]
    pub no_pager: bool,
}

/// Arguments of commands that take a data folder only.
#[derive(Debug, Args)]
pub struct Look {
    /// Where the data is; a daemon that runs on it is asked
    #[command(flatten)]
    pub data: Data,
    /// Ask the daemon at this address instead
    #[arg(long, value_name = "http://ADDRESS:PORT", env = "DURAMEN_URL")]
    pub url: Option<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `power`.
#[derive(Debug, Args)]
pub struct PowerArguments {
    /// What to tell; nothing: say how it is
    #[arg(value_enum)]
    pub what: Option<PowerWord>,
    /// Who says so; each source stands by its own word, and the worst of them counts
    #[arg(long, value_name = "NAME", default_value = "operator")]
    pub source: String,
    /// The data folder of the daemon
    #[command(flatten)]
    pub data: Data,
    /// The daemon at this address instead
    #[arg(long, value_name = "http://ADDRESS:PORT", env = "DURAMEN_URL")]
    pub url: Option<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// What is said of the power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PowerWord {
    /// From the grid
    Mains,
    /// From a battery
    Battery,
    /// From a battery that will not last
    Low,
    /// Not for long
    Going,
    /// Rehearse: battery, low, and mains again
    Test,
}

/// The commands on configurations.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say what is wrong with a configuration, or show what it comes to with all defaults and the environment
    Check {
        /// The file [default: none, only the environment]
        #[arg(value_name = "FILE", env = "DURAMEN_CONFIG")]
        file: Option<PathBuf>,
    },
    /// Print a configuration with every setting, its default and what it means
    Example,
}
