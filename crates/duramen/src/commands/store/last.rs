//! The last rows of an answer in the order of their times. Owns the bound on what is gathered for it, however many rows that are.
//!
//! The last rows are found from the end, and given from the beginning. As long as they are few they wait in memory; if there are
//! more, all that is kept of them is where the first one stands, and they are read a second time from there on. Rows that come
//! meanwhile are of neither look.

use duramen_store::{Direction, Error, Explained, Query, Row, Store};

/// Bytes that wait in memory at most.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// What a row takes beside its text.
const ROW_BYTES: usize = 300;

/// Where a row stands among others: rows whose time nobody knows come first.
type Place = (bool, i64, duramen_store::RowId);

/// What takes an answer row by row; false: it wants no more.
pub type Give<'a> = dyn FnMut(Result<Row, Error>) -> anyhow::Result<bool> + 'a;

fn place(row: &Row) -> Place {
    (row.timed, row.time, row.id)
}

/// Gives out the last `lines` rows of an answer, the oldest first.
///
/// # Errors
/// The store's, and those of `give`.
pub fn give_last(store: &Store, query: Query, lines: usize, give: &mut Give<'_>) -> anyhow::Result<Explained> {
    give_last_within(store, query, lines, KEPT_BYTES_MAX, give)
}

fn give_last_within(
    store: &Store,
    query: Query,
    lines: usize,
    bytes_max: usize,
    give: &mut Give<'_>,
) -> anyhow::Result<Explained> {
    let newest = store.last_row();
    let is_later = move |row: &Row| Some(row.id) > newest;
    let mut found = store.query(Query { direction: Direction::Backward, limit: None, ..query.clone() })?;
    let (mut kept, mut bytes, mut left) = (Vec::new(), 0, lines);
    let mut first: Option<Place> = None;
    while left > 0 {
        let Some(row) = found.next() else { break };
        if let Ok(row) = &row {
            if is_later(row) {
                continue;
            }
            left -= usize::from(!row.gap);
            first = Some(place(row));
            bytes += row.text.len();
        }
        bytes += ROW_BYTES;
        if bytes <= bytes_max {
            kept.push(row);
        }
    }
    let mut explained = found.explained().clone();
    explained.rows = lines - left;
    drop(found);
    let Some(first) = first.filter(|_| bytes > bytes_max) else {
        for row in kept.into_iter().rev() {
            if !give(row)? {
                break;
            }
        }
        return Ok(explained);
    };
    drop(kept);
    // Only rows whose time is known can be asked for from a time on.
    let from = if first.0 { query.from.max(Some(first.1)) } else { query.from };
    let mut again = store.query(Query { direction: Direction::Forward, limit: None, from, ..query })?;
    for row in again.by_ref() {
        if row.as_ref().is_ok_and(|row| place(row) < first || is_later(row)) {
            continue;
        }
        if !give(row)? {
            break;
        }
    }
    let told = again.explained();
    explained.blocks_read += told.blocks_read;
    explained.bytes_read += told.bytes_read;
    explained.chunks += told.chunks;
    for place in &told.damaged {
        if !explained.damaged.contains(place) {
            explained.damaged.push(place.clone());
        }
    }
    Ok(explained)
}

#[cfg(test)]
duramen_journal::with_simulated_disk! { mod tests; }
