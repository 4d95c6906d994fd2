//! What the kernel says of the power: `/sys/class/power_supply` and the undervoltage alarms of `/sys/class/hwmon`. Owns the reading
//! of these files, and what they come to (pure).
//!
//! A machine with a mains supply that is online is on mains. Without one that is online, or with a battery that is being emptied and
//! no mains supply to ask, it is on a battery: low from 20 % on, going from 5 % on. An undervoltage alarm counts as low for a
//! minute.

#![allow(clippy::disallowed_methods, reason = "the kernel's figures are no data")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use duramen_store::{Power, Signal};

use crate::power::sources::Word;
use crate::power::{ASK_EVERY, SILENT_AFTER, Watch};
use crate::stop::Stop;

/// Percent of a battery from which on it is low, and going.
const LOW: u32 = 20;
const GOING: u32 = 5;
/// How long an alarm counts.
const ALARM_LASTS: Duration = Duration::from_secs(60);

/// One supply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Supply {
    name: String,
    kind: String,
    online: Option<bool>,
    status: String,
    percent: Option<u32>,
    level: String,
}

/// The kernel's two folders.
#[derive(Clone, Debug)]
pub struct Kernel {
    supplies: PathBuf,
    sensors: PathBuf,
}

impl Kernel {
    /// Below `/sys/class`, or what stands for it.
    pub fn at(class: &Path) -> Kernel {
        Kernel { supplies: class.join("power_supply"), sensors: class.join("hwmon") }
    }

    /// Whether there is anything to ask.
    pub fn is_there(&self) -> bool {
        !self.supplies().is_empty() || !self.alarms().is_empty()
    }

    /// Looks again and again until the daemon stops.
    pub fn run(&self, watch: &Watch, stop: &Stop) {
        while stop.signal().is_none() {
            if let Some((power, words)) = judge(&self.supplies()) {
                let mut word = Word::new("power supply", Signal::Is(power), &words);
                word.silent_after = Some(SILENT_AFTER);
                watch.hear(word);
            }
            for (name, raised) in self.alarms() {
                if raised {
                    let mut word = Word::new("undervoltage", Signal::Is(Power::Low), &name);
                    word.lasts = Some(ALARM_LASTS);
                    watch.hear(word);
                }
            }
            let _ = stop.pause(ASK_EVERY);
        }
    }

    fn supplies(&self) -> Vec<Supply> {
        let mut found = Vec::new();
        for place in folders(&self.supplies) {
            let read = |name: &str| read(&place.join(name)).unwrap_or_default();
            // Batteries of mice and keyboards are nobody's supply.
            if read("scope") == "Device" {
                continue;
            }
            found.push(Supply {
                name: place.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                kind: read("type"),
                online: read("online").parse::<u32>().ok().map(|online| online > 0),
                status: read("status"),
                percent: read("capacity").parse().ok(),
                level: read("capacity_level"),
            });
        }
        found
    }

    /// The undervoltage alarms, and which are raised.
    fn alarms(&self) -> Vec<(String, bool)> {
        let mut found = Vec::new();
        for sensor in folders(&self.sensors) {
            let name = read(&sensor.join("name")).unwrap_or_default();
            for file in folders(&sensor) {
                let file_name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if file_name.starts_with("in") && file_name.ends_with("_lcrit_alarm") {
                    let raised = read(&file).is_some_and(|text| text == "1");
                    found.push((format!("{name} {file_name}"), raised));
                }
            }
        }
        found
    }
}

/// What is in a folder, in order.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// A file's text; one that vanishes has none.
fn read(file: &Path) -> Option<String> {
    Some(fs::read_to_string(file).ok()?.trim().to_string())
}

/// What supplies come to; `None`: they say nothing.
fn judge(supplies: &[Supply]) -> Option<(Power, String)> {
    let lines = || supplies.iter().filter(|supply| supply.kind != "Battery" && supply.online.is_some());
    if let Some(line) = lines().find(|supply| supply.online == Some(true)) {
        return Some((Power::Mains, format!("{} online", line.name)));
    }
    let batteries: Vec<&Supply> = supplies.iter().filter(|supply| supply.kind == "Battery").collect();
    let emptied = batteries.iter().any(|battery| battery.status == "Discharging");
    if lines().next().is_none() && !emptied {
        let known = batteries.first()?;
        let words = format!("{} {}", known.name, known.status.to_lowercase());
        return (!known.status.is_empty() && known.status != "Unknown").then_some((Power::Mains, words));
    }
    // The fullest battery is the one that lasts.
    let percent = batteries.iter().filter_map(|battery| battery.percent).max();
    let level = |wanted: &[&str]| !batteries.is_empty() && batteries.iter().all(|b| wanted.contains(&b.level.as_str()));
    let power = match percent {
        Some(percent) if percent <= GOING => Power::Going,
        Some(percent) if percent <= LOW => Power::Low,
        _ if level(&["Critical", "Low"]) => Power::Low,
        _ => Power::Battery,
    };
    let charge = percent.map_or(String::new(), |percent| format!(", battery at {percent} %"));
    Some((power, format!("no mains{charge}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mains(online: bool) -> Supply {
        Supply { name: "AC".into(), kind: "Mains".into(), online: Some(online), ..Supply::default() }
    }

    fn battery(status: &str, percent: u32) -> Supply {
        let (name, kind, status) = ("BAT0".to_string(), "Battery".to_string(), status.to_string());
        Supply { name, kind, status, percent: Some(percent), ..Supply::default() }
    }

    #[test]
    fn supplies_come_to_a_state() {
        let power = |supplies: &[Supply]| judge(supplies).map(|(power, _)| power);
        assert_eq!(power(&[]), None);
        assert_eq!(power(&[mains(true), battery("Charging", 3)]), Some(Power::Mains));
        assert_eq!(power(&[mains(false), battery("Discharging", 80)]), Some(Power::Battery));
        assert_eq!(power(&[mains(false), battery("Discharging", 20)]), Some(Power::Low));
        assert_eq!(power(&[mains(false), battery("Discharging", 5)]), Some(Power::Going));
        assert_eq!(power(&[mains(false)]), Some(Power::Battery));
        assert_eq!(power(&[battery("Discharging", 50)]), Some(Power::Battery));
        assert_eq!(power(&[battery("Full", 100)]), Some(Power::Mains));
        assert_eq!(power(&[battery("Unknown", 100)]), None);
        let critical = Supply { percent: None, level: "Critical".into(), ..battery("Discharging", 0) };
        assert_eq!(power(&[critical]), Some(Power::Low));
        assert_eq!(power(&[battery("Discharging", 4), battery("Discharging", 90)]), Some(Power::Battery));
    }
}
