//! Tools' view of a journal.
