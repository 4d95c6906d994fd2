//! `/`: the page, one file without anything from elsewhere. Owns the headers that keep it so.

use axum::http::header;
use axum::response::{IntoResponse as _, Response};

const PAGE: &str =
    concat!(include_str!("page.html"), "<script>\n", include_str!("series.js"), "</script>\n</body>\n</html>\n");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Answers with the page.
pub async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, PAGE).into_response()
}
