//! Asking for rows: what can be asked ([`Query`]), how it is written ([`parse`]), and how it is answered ([`run`]). Owns the
//! question's shape.

mod filter;
mod parse;
mod run;
mod samples;

pub use filter::{FieldFilter, Filter, Matcher, Operator, Selector};
pub use parse::ParseError;
pub use run::count::{By, Counts, Series};
pub use run::{Explained, Row, Rows};
pub use samples::{SeriesIter, SeriesSamples, Summary};

use crate::row::{Level, Nanoseconds, RowId};

/// In which order rows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Direction {
    /// The oldest first.
    #[default]
    Forward,
    /// The newest first.
    Backward,
}

/// A question: which rows, of which time, in which order, how many.
///
/// ```
/// use duramen_store::{Direction, Query};
/// let query: Query = r#"{app="nginx", host=~"web.*"} timeout |= "upstream" level>=warning"#.parse()?;
/// let query = Query { limit: Some(100), direction: Direction::Backward, ..query };
/// # let _ = query;
/// # Ok::<(), duramen_store::ParseError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// The first time that counts; `None`: from the beginning. Rows whose time nobody knows come only then.
    pub from: Option<Nanoseconds>,
    /// The first time that does not count any more; `None`: to the end.
    pub to: Option<Nanoseconds>,
    /// Which streams.
    pub selector: Selector,
    /// What a row's text must and must not hold.
    pub filters: Vec<Filter>,
    /// What its fields must and must not be.
    pub fields: Vec<FieldFilter>,
    /// The least grave level that counts; rows without a level count only if this is `None`.
    pub level: Option<Level>,
    /// Only this level.
    pub level_only: Option<Level>,
    /// Only rows that were appended after this one: how to go on where an earlier answer ended.
    pub after: Option<RowId>,
    /// Also the store's own events that tell of gaps and outages within the times, whatever streams and filters say.
    pub gaps: bool,
    /// So many rows at most, those that tell of gaps not counted.
    pub limit: Option<usize>,
    /// In which order.
    pub direction: Direction,
}

impl Query {
    /// The levels that count, a bit each.
    pub(crate) fn levels(&self) -> u16 {
        let all = Level::ALL.into_iter().filter(|level| match (self.level_only, self.level) {
            (Some(only), _) => *level == only,
            (None, Some(least)) => *level <= least && *level != Level::None,
            (None, None) => true,
        });
        all.fold(0, |mask, level| mask | 1 << level as u8)
    }
}
