//! `POST /backup?to=DIR`: the daemon copies its own store while it goes on. Owns who may ask: whoever can write into the data folder,
//! which is shown by a token that lies there. Loopback alone does not tell: other users of the machine, and pages in a browser, reach
//! it too.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, TryLockError};

use axum::extract::{Query as Parameters, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use duramen_journal::disk::{Access, World, read_full_at};
use serde::Deserialize;

use crate::client::{BACKUP_TOKEN, TOKEN_HEADER};
use crate::commands::store::backup::{clear_leftover, given_up};
use crate::daemon::Shared;
use crate::server::refuse;

/// Bytes of a token at most.
const TOKEN_BYTES_MAX: usize = 256;
/// And at least, so that nobody guesses one.
const TOKEN_BYTES_MIN: usize = 16;

/// One backup at a time.
static RUNNING: Mutex<()> = Mutex::new(());

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    to: PathBuf,
}

/// Makes a backup; the answer comes when it was read back.
pub async fn backup(
    State(shared): State<Arc<Shared>>,
    Parameters(asked): Parameters<Asked>,
    headers: HeaderMap,
) -> Response {
    let given = headers.get(TOKEN_HEADER).map(|token| token.as_bytes().to_vec()).unwrap_or_default();
    let made = tokio::task::spawn_blocking(move || make(&shared, &asked.to, &given)).await;
    match made {
        Ok(Ok(json)) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Ok(Err((status, words))) => refuse(status, words),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn make(shared: &Shared, to: &Path, given: &[u8]) -> Result<String, (StatusCode, String)> {
    let place = shared.store.folder().join(BACKUP_TOKEN);
    let known = read_token(&place).unwrap_or_default();
    if known.len() < TOKEN_BYTES_MIN || !is_equal(&known, given) {
        let words = format!(
            "write {TOKEN_BYTES_MIN} random bytes or more into {}, and send them as the header {TOKEN_HEADER}",
            place.display()
        );
        return Err((StatusCode::FORBIDDEN, words));
    }
    if !to.is_absolute() {
        return Err((StatusCode::BAD_REQUEST, format!("{} is no absolute path", to.display())));
    }
    let _one = match RUNNING.try_lock() {
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => {
            return Err((StatusCode::CONFLICT, "a backup is being made; ask again when it is done".into()));
        }
    };
    clear_leftover(to).map_err(|error| (StatusCode::CONFLICT, format!("{error:#}")))?;
    match shared.store.backup(to, &mut |_| ()) {
        Ok(backup) => Ok(backup.to_json()),
        Err(error) => {
            let status = match &error {
                error if error.is_no_space() => StatusCode::INSUFFICIENT_STORAGE,
                duramen_store::Error::Journal(duramen_journal::Error::Exists { .. }) => StatusCode::CONFLICT,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            Err((status, format!("{:#}", given_up(error.into(), to))))
        }
    }
}

fn read_token(place: &Path) -> std::io::Result<Vec<u8>> {
    let file = World::real().disk.open(place, Access::Read)?;
    let mut bytes = vec![0; TOKEN_BYTES_MAX];
    let read = read_full_at(&*file, &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes.trim_ascii().to_vec())
}

/// Compares without telling by its time how much is equal.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}
