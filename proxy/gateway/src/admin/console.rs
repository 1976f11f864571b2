//! The operator's console: files that are part of the program, for a browser that has no token yet. What they show
//! comes from the API, with the token.
//!
//! There is no build step: the files are what browsers run (modules of JavaScript, one sheet of style), so whoever runs
//! cargo needs no Node, and nothing that is committed can differ from its source.

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::Refused;

/// Nothing but our own files, by our own names: no inline script or style, no other origin, no frame, no form that
/// leaves.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    // A newer gateway has newer files under the same names.
    (header::CACHE_CONTROL, "no-cache"),
];

struct Asset {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

macro_rules! asset {
    ($name:literal, $content_type:expr) => {
        Asset { name: $name, content_type: $content_type, text: include_str!(concat!("../../console/", $name)) }
    };
}

const ASSETS: [Asset; 22] = [
    asset!("index.html", HTML),
    asset!("icon.svg", IMAGE),
    asset!("console.css", STYLE),
    asset!("api.js", SCRIPT),
    asset!("app.js", SCRIPT),
    asset!("changes.js", SCRIPT),
    asset!("chart.js", SCRIPT),
    asset!("dialogs.js", SCRIPT),
    asset!("dom.js", SCRIPT),
    asset!("format.js", SCRIPT),
    asset!("live.js", SCRIPT),
    asset!("measures.js", SCRIPT),
    asset!("reports.js", SCRIPT),
    asset!("pages/audit.js", SCRIPT),
    asset!("pages/database.js", SCRIPT),
    asset!("pages/login.js", SCRIPT),
    asset!("pages/mismatch.js", SCRIPT),
    asset!("pages/retirement.js", SCRIPT),
    asset!("pages/route.js", SCRIPT),
    asset!("pages/routes.js", SCRIPT),
    asset!("pages/shadow.js", SCRIPT),
    asset!("pages/slice.js", SCRIPT),
];

/// The console's own routes; the page itself is at `/`.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/", get(|headers: HeaderMap| async move { served("index.html", &headers) })).route(
        "/console/{*name}",
        get(|Path(name): Path<String>, headers: HeaderMap| async move { served(&name, &headers) }),
    )
}

fn served(name: &str, headers: &HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return Refused::new(StatusCode::NOT_FOUND, "not_found", "the console has no such file").into_response();
    };
    let tag = tag(asset.text);
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)], HEADERS).into_response();
    }
    ([(header::CONTENT_TYPE, asset.content_type.to_owned()), (header::ETAG, tag)], HEADERS, asset.text).into_response()
}

/// The digest of the text, as an entity tag.
fn tag(text: &str) -> String {
    format!("\"{:016x}\"", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = &'static Asset> {
        ASSETS.iter()
    }

    #[test]
    fn every_module_that_is_imported_is_served() {
        for asset in all().filter(|asset| asset.content_type == SCRIPT) {
            let folder = if asset.name.starts_with("pages/") { "pages/" } else { "" };
            let imports = asset.text.lines().filter_map(|line| line.split_once(" from \"")?.1.strip_suffix("\";"));
            for import in imports {
                let name = match import.strip_prefix("../") {
                    Some(name) => name.to_owned(),
                    None => format!("{folder}{}", import.trim_start_matches("./")),
                };
                assert!(all().any(|asset| asset.name == name), "{} imports {import}", asset.name);
            }
        }
    }

    #[test]
    fn nothing_is_inline_and_nothing_is_foreign() {
        for asset in all() {
            for forbidden in
                ["https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", " style=\"", " onclick=\""]
            {
                assert!(!asset.text.contains(forbidden), "{}: {forbidden}", asset.name);
            }
        }
        assert!(all().all(|asset| !asset.text.contains("<script>")));
    }

    #[test]
    fn files_are_served_by_name_and_only_by_name() {
        let plain = HeaderMap::new();
        let page = served("index.html", &plain);
        assert_eq!(page.status(), StatusCode::OK);
        assert_eq!(page.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
        for name in ["", "../Cargo.toml", "pages/../index.html", "nothing.js"] {
            assert_eq!(served(name, &plain).status(), StatusCode::NOT_FOUND, "{name}");
        }
        let mut known = HeaderMap::new();
        known.insert(header::IF_NONE_MATCH, page.headers()[header::ETAG].clone());
        assert_eq!(served("index.html", &known).status(), StatusCode::NOT_MODIFIED);
    }
}
