//! Which stream a row of an input belongs to. Owns the rule that no input ends for want of a stream: what names ever new hosts,
//! programs or files finds the bound of `streams_max`, and goes on in a stream that the input took at its start, outside that bound,
//! with what would have been labels as fields.

use duramen_store::{Error, Labels, Stream};

use crate::input::{Counters, Feed};

/// The streams of rows that have some labels in common.
pub struct Streams {
    /// The labels of all of them.
    own: Vec<(String, String)>,
    /// Where rows go for whose stream there is no room; `None`: nowhere, whoever sent them is told.
    plain: Option<Stream>,
    last: Option<(Vec<(&'static str, String)>, Place)>,
}

/// Where a row goes.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its stream.
    pub stream: Stream,
    /// What of its names are no labels of the stream.
    pub fields: Vec<(String, String)>,
}

impl Streams {
    /// With these labels of all rows. Without room for a stream, [`Streams::place`] says so.
    pub fn new(own: Vec<(String, String)>) -> Streams {
        Streams { own, plain: None, last: None }
    }

    /// The same with a stream, of [`Feed::plain`], for the rows for whose own one there is no room.
    pub fn with_plain(own: Vec<(String, String)>, plain: Stream) -> Streams {
        Streams { plain: Some(plain), ..Streams::new(own) }
    }

    /// Where a row goes that names these things beside the labels of all rows, which have the last word.
    ///
    /// # Errors
    /// There is no plain stream, and no room for one of these labels.
    pub fn place(&mut self, named: &[(&'static str, &str)], feed: &Feed) -> Result<&Place, Error> {
        let same = |(known, place): &(Vec<(&'static str, String)>, Place)| {
            // There may be room for its own stream by now.
            place.fields.is_empty()
                && known.len() == named.len()
                && known.iter().zip(named).all(|(known, named)| known.0 == named.0 && known.1 == named.1)
        };
        let last = match self.last.take().filter(same) {
            Some(last) => last,
            None => (named.iter().map(|(n, v)| (*n, (*v).to_string())).collect(), self.find(named, feed)?),
        };
        Ok(&self.last.insert(last).1)
    }

    fn find(&self, named: &[(&'static str, &str)], feed: &Feed) -> Result<Place, Error> {
        let own = || self.own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let free = || named.iter().copied().filter(|(name, _)| own().all(|(known, _)| known != *name));
        let all: Vec<(&str, &str)> = own().chain(free()).collect();
        if let Ok(stream) = feed.stream(&all) {
            return Ok(Place { stream, fields: Vec::new() });
        }
        Counters::add(&feed.counters.crowded, 1);
        let own: Vec<(&str, &str)> = own().collect();
        let stream = match (feed.stream(&own), &self.plain) {
            (Ok(stream), _) => stream,
            (Err(_), Some(plain)) => plain.clone(),
            (Err(error), None) => return Err(error),
        };
        let told = |(name, value): &(&str, &str)| value.is_empty() || stream.labels().get(name) == Some(value);
        let fields = all.iter().filter(|pair| !told(pair)).map(|(n, v)| ((*n).to_string(), (*v).to_string())).collect();
        Ok(Place { stream, fields })
    }
}

impl Place {
    /// The fields as a batch takes them.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl Feed {
    /// A stream outside the bound of `streams_max`. An input takes it at its start, and holds it: of labels that it names itself.
    ///
    /// # Errors
    /// Labels that break the rules.
    pub fn plain(&self, labels: &[(impl AsRef<str>, impl AsRef<str>)]) -> Result<Stream, Error> {
        self.store.stream_beyond_bound(&Labels::new(labels.iter().map(|(name, value)| (name, value)))?)
    }
}
