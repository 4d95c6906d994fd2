//! What each source says of the power, and what that comes to: the worst of them counts. Owns no clock, no thread and no store: words
//! and times in, changes out.
//!
//! A source that is told of by words (a script, a signal) stands until it says something else. One that is asked again and again and
//! falls silent counts as low if it last spoke of a battery, as UPS monitors do; if it last spoke of mains that is only told.

use std::collections::BTreeMap;
use std::time::Duration;

use duramen_store::{Change, Machine, Power, Signal};

/// Sources at most: their names come from scripts too.
pub const SOURCES_MAX: usize = 64;
/// Bytes of a source's name and of its words at most.
const WORDS_BYTES_MAX: usize = 256;

/// What a source says.
#[derive(Clone, Debug)]
pub struct Word {
    /// Who says it.
    pub source: String,
    /// How the power is.
    pub signal: Signal,
    /// The same as the source puts it.
    pub words: String,
    /// What programs read of it, for the record of a change.
    pub fields: Vec<(&'static str, String)>,
    /// How long the source may say nothing; `None`: for ever.
    pub silent_after: Option<Duration>,
    /// After this time it is as if the source had never spoken; `None`: never.
    pub lasts: Option<Duration>,
}

impl Word {
    /// A word that stands until the source says another.
    pub fn new(source: &str, signal: Signal, words: &str) -> Word {
        let (source, words) = (source.to_string(), words.to_string());
        Word { source, signal, words, fields: Vec::new(), silent_after: None, lasts: None }
    }
}

/// A change, and who is behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The states.
    pub change: Change,
    /// Who said what.
    pub cause: String,
    /// What programs read of it.
    pub fields: Vec<(&'static str, String)>,
}

/// What a source says now, for whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its name.
    pub source: String,
    /// What it comes to; `None`: it has said nothing yet.
    pub power: Option<Power>,
    /// In its own words.
    pub words: String,
    /// How long ago.
    pub ago: Duration,
    /// It is silent for too long.
    pub silent: bool,
    /// Why it cannot be asked.
    pub trouble: Option<String>,
}

#[derive(Clone, Debug)]
struct Source {
    machine: Machine,
    spoke: bool,
    heard: Duration,
    words: String,
    fields: Vec<(&'static str, String)>,
    silent_after: Option<Duration>,
    until: Option<Duration>,
    silent: bool,
    trouble: Option<String>,
}

impl Source {
    fn new(now: Duration) -> Source {
        Source {
            machine: Machine::new(Duration::ZERO),
            spoke: false,
            heard: now,
            words: String::new(),
            fields: Vec::new(),
            silent_after: None,
            until: None,
            silent: false,
            trouble: None,
        }
    }
}

/// All sources, and the state that the worst of them comes to.
#[derive(Clone, Debug)]
pub struct Sources {
    machine: Machine,
    sources: BTreeMap<String, Source>,
}

/// There are as many sources as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Sources {
    /// None, on mains; a better state counts when it has lasted so long.
    pub fn new(settle: Duration) -> Sources {
        Sources { machine: Machine::new(settle), sources: BTreeMap::new() }
    }

    /// The state, and the better one that is to last first, with the time when it counts.
    pub fn state(&self) -> (Power, Option<(Power, Duration)>) {
        (self.machine.power(), self.machine.better().zip(self.machine.due()))
    }

    /// Takes what a source says.
    ///
    /// # Errors
    /// It is a new one, and there are too many.
    pub fn tell(&mut self, word: Word, now: Duration) -> Result<Option<Verdict>, TooMany> {
        let name = cut(&word.source);
        let source = self.source(&name, now)?;
        source.machine.signal(word.signal, now);
        source.spoke = true;
        source.heard = now;
        source.words = cut(&word.words);
        source.fields = word.fields;
        source.silent_after = word.silent_after;
        source.until = word.lasts.map(|lasts| now + lasts);
        source.silent = false;
        source.trouble = None;
        Ok(self.judge(Some(&name), now))
    }

    /// Notes why a source cannot be asked. True: it could be asked until now.
    ///
    /// # Errors
    /// It is a new one, and there are too many.
    pub fn trouble(&mut self, source: &str, words: &str, now: Duration) -> Result<bool, TooMany> {
        let source = self.source(&cut(source), now)?;
        Ok(source.trouble.replace(cut(words)).is_none())
    }

    fn source(&mut self, name: &str, now: Duration) -> Result<&mut Source, TooMany> {
        if !self.sources.contains_key(name) && self.sources.len() >= SOURCES_MAX {
            return Err(TooMany);
        }
        Ok(self.sources.entry(name.to_string()).or_insert_with(|| Source::new(now)))
    }

    /// Looks who has fallen silent, whose time is over, and whether a better state has lasted. Tells of silences too.
    pub fn tick(&mut self, now: Duration) -> (Option<Verdict>, Vec<String>) {
        self.sources.retain(|_, source| source.until.is_none_or(|until| now < until));
        let mut notes = Vec::new();
        for (name, source) in &mut self.sources {
            let ago = now.saturating_sub(source.heard);
            if source.silent || !source.spoke || source.silent_after.is_none_or(|after| ago < after) {
                continue;
            }
            source.silent = true;
            let before = source.machine.power();
            source.machine.signal(Signal::Silent, now);
            let why = source.trouble.as_deref().map_or(String::new(), |trouble| format!(" ({trouble})"));
            let counts = match source.machine.power() {
                Power::Mains => "it spoke of mains, so that nothing changes".to_string(),
                power => format!("it spoke of {before}, so that it counts as {power}"),
            };
            notes.push(format!("{name} has said nothing for {} s{why}: {counts}", ago.as_secs()));
        }
        (self.judge(None, now), notes)
    }

    /// What all sources say, by their names.
    pub fn said(&self, now: Duration) -> Vec<Said> {
        let said = self.sources.iter().map(|(name, source)| Said {
            source: name.clone(),
            power: source.spoke.then(|| source.machine.power()),
            words: source.words.clone(),
            ago: now.saturating_sub(source.heard),
            silent: source.silent,
            trouble: source.trouble.clone(),
        });
        said.collect()
    }

    /// What all sources come to; `speaker` has just said something.
    fn judge(&mut self, speaker: Option<&str>, now: Duration) -> Option<Verdict> {
        let power = |source: &Source| source.machine.power();
        let worst = self.sources.values().map(power).max().unwrap_or_default();
        let change = self.machine.signal(Signal::Is(worst), now)?;
        // Of several that say the same, whoever has just spoken is behind the change.
        let named = speaker.and_then(|name| self.sources.get_key_value(name));
        let named = named.filter(|(_, source)| power(source) == worst);
        let named = named.or_else(|| self.sources.iter().find(|(_, source)| power(source) == worst));
        let (name, words, mut fields) = match named {
            Some((name, source)) if source.silent => (name.as_str(), "silent", source.fields.clone()),
            Some((name, source)) => (name.as_str(), source.words.as_str(), source.fields.clone()),
            None => ("nobody", "", Vec::new()),
        };
        fields.push(("source", name.to_string()));
        let cause = if words.is_empty() { name.to_string() } else { format!("{name}: {words}") };
        Some(Verdict { change, cause, fields })
    }
}

/// A text without what would break a line, and not too long.
fn cut(text: &str) -> String {
    let mut cut = String::new();
    for character in text.chars().map(|character| if character.is_control() { ' ' } else { character }) {
        if cut.len() + character.len_utf8() > WORDS_BYTES_MAX {
            break;
        }
        cut.push(character);
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use Power::{Battery, Going, Low, Mains};

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn is(source: &str, power: Power) -> Word {
        Word::new(source, Signal::Is(power), power.word())
    }

    fn asked(source: &str, power: Power) -> Word {
        Word { silent_after: Some(at(15)), ..is(source, power) }
    }

    fn change(verdict: Option<Verdict>) -> Option<(Power, Power)> {
        verdict.map(|verdict| (verdict.change.from, verdict.change.to))
    }

    #[test]
    fn the_worst_source_counts() {
        let mut sources = Sources::new(at(10));
        assert_eq!(change(sources.tell(is("ups", Battery), at(0)).unwrap()), Some((Mains, Battery)));
        assert_eq!(change(sources.tell(is("sysfs", Mains), at(1)).unwrap()), None);
        assert_eq!(change(sources.tell(is("script", Low), at(2)).unwrap()), Some((Battery, Low)));
        assert_eq!(change(sources.tell(is("ups", Mains), at(3)).unwrap()), None);
        assert_eq!(change(sources.tick(at(30)).0), None, "the script still says low");
        assert_eq!(change(sources.tell(is("script", Mains), at(40)).unwrap()), None);
        assert_eq!(sources.state(), (Low, Some((Mains, at(50)))));
        assert_eq!(change(sources.tick(at(49)).0), None);
        assert_eq!(change(sources.tick(at(50)).0), Some((Low, Mains)));
    }

    #[test]
    fn what_one_source_says_better_is_held_by_the_next_worse_one() {
        let mut sources = Sources::new(at(10));
        sources.tell(is("a", Going), at(0)).unwrap();
        sources.tell(is("b", Battery), at(0)).unwrap();
        sources.tell(is("a", Mains), at(5)).unwrap();
        let verdict = sources.tick(at(15)).0.unwrap();
        assert_eq!(change(Some(verdict.clone())), Some((Going, Battery)));
        assert_eq!(verdict.cause, "b: battery");
        assert!(verdict.fields.contains(&("source", "b".to_string())));
    }

    #[test]
    fn each_source_steps_by_itself() {
        let mut sources = Sources::new(at(10));
        sources.tell(is("ups", Battery), at(0)).unwrap();
        // The first step of a signal is to battery, which the UPS has told already.
        let worse = || Word::new("operator", Signal::Worse, "SIGUSR1");
        assert_eq!(change(sources.tell(worse(), at(1)).unwrap()), None);
        let verdict = sources.tell(worse(), at(2)).unwrap().unwrap();
        assert_eq!((verdict.change.to, verdict.cause.as_str()), (Low, "operator: SIGUSR1"));
    }

    #[test]
    fn silence_on_a_battery_is_low_and_on_mains_is_only_told() {
        let mut sources = Sources::new(at(10));
        sources.tell(asked("a", Mains), at(0)).unwrap();
        sources.tell(is("script", Mains), at(0)).unwrap();
        assert_eq!(sources.tick(at(14)), (None, vec![]));
        let (verdict, notes) = sources.tick(at(15));
        assert!(verdict.is_none() && notes[0].contains("spoke of mains"), "{notes:?}");
        assert_eq!(sources.tick(at(16)), (None, vec![]), "told once");
        sources.tell(asked("a", Battery), at(20)).unwrap();
        assert!(sources.trouble("a", "connection refused", at(21)).unwrap());
        assert!(!sources.trouble("a", "connection refused", at(22)).unwrap());
        let (verdict, notes) = sources.tick(at(35));
        assert_eq!(change(verdict.clone()), Some((Battery, Low)));
        assert_eq!(verdict.unwrap().cause, "a: silent");
        assert!(notes[0].contains("connection refused"), "{notes:?}");
        // It speaks again, of a battery that is not low.
        assert_eq!(change(sources.tell(asked("a", Battery), at(40)).unwrap()), None);
        assert_eq!(change(sources.tick(at(50)).0), Some((Low, Battery)));
    }

    #[test]
    fn a_source_that_never_spoke_counts_for_nothing() {
        let mut sources = Sources::new(at(10));
        assert!(sources.trouble("ups", "connection refused", at(0)).unwrap());
        assert_eq!(sources.tick(at(100)), (None, vec![]));
        assert_eq!(sources.said(at(100))[0].power, None);
    }

    #[test]
    fn silence_when_going_stays_going() {
        let mut sources = Sources::new(at(10));
        sources.tell(asked("a", Going), at(0)).unwrap();
        assert_eq!(change(sources.tick(at(100)).0), None);
        assert_eq!(sources.state().0, Going);
    }

    #[test]
    fn a_word_with_an_end_is_forgotten() {
        let mut sources = Sources::new(at(1));
        sources.tell(Word { lasts: Some(at(60)), ..is("rehearsal", Low) }, at(0)).unwrap();
        assert_eq!(change(sources.tick(at(59)).0), None);
        assert_eq!(change(sources.tick(at(60)).0), None, "it begins to be better");
        let verdict = sources.tick(at(61)).0.unwrap();
        assert_eq!((verdict.change.to, verdict.cause.as_str()), (Mains, "nobody"));
        assert!(sources.said(at(61)).is_empty());
    }

    #[test]
    fn names_and_words_are_bounded() {
        let mut sources = Sources::new(at(1));
        let long = Word::new(&"é".repeat(1_000), Signal::Is(Mains), "two\nlines");
        sources.tell(long, at(0)).unwrap();
        let said = sources.said(at(0));
        assert_eq!((said[0].source.len(), said[0].words.as_str()), (256, "two lines"));
        for number in 1..SOURCES_MAX {
            sources.tell(is(&number.to_string(), Mains), at(0)).unwrap();
        }
        assert_eq!(sources.tell(is("one more", Going), at(0)), Err(TooMany));
        assert_eq!(sources.trouble("one more", "", at(0)), Err(TooMany));
        assert!(sources.tell(is("1", Low), at(0)).is_ok(), "known ones are heard");
    }
}
