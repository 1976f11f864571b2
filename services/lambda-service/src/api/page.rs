//! `?limit&offset`.

use axum::extract::{Query, rejection::QueryRejection};
use serde::Deserialize;

use crate::store::Page;

/// How many rows are listed when nothing is asked for.
const DEFAULT_LIMIT: i64 = 50;
/// The most rows that one answer lists.
const MAX_LIMIT: i64 = 1000;

/// The parameters as text: what is not a number counts as not given, as it always did.
#[derive(Debug, Default, Deserialize)]
pub struct PageQuery {
    limit: Option<String>,
    offset: Option<String>,
}

/// The page that a query asks for; one that cannot be read asks for none.
pub fn of(query: Result<Query<PageQuery>, QueryRejection>) -> Page {
    query.map(|Query(query)| query).unwrap_or_default().into()
}

impl From<PageQuery> for Page {
    fn from(query: PageQuery) -> Self {
        let number = |text: Option<String>| text.and_then(|text| text.parse::<i64>().ok());
        Self {
            limit: number(query.limit).filter(|limit| *limit > 0).unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT),
            offset: number(query.offset).unwrap_or(0).max(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_counts_as_not_given() {
        let cases = [
            (None, None, 50, 0),
            (Some("10"), Some("20"), 10, 20),
            (Some("0"), Some("-1"), 50, 0),
            (Some("-5"), Some("x"), 50, 0),
            (Some("100000"), Some(""), 1000, 0),
            (Some("99999999999999999999"), Some("1e3"), 50, 0),
        ];
        for (limit, offset, expected_limit, expected_offset) in cases {
            let query = PageQuery { limit: limit.map(str::to_owned), offset: offset.map(str::to_owned) };
            let expected = Page { limit: expected_limit, offset: expected_offset };
            assert_eq!(Page::from(query), expected, "{limit:?} {offset:?}");
        }
    }
}
