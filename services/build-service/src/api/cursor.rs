//! A place in a list, as clients carry it: text that means nothing to them.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use domain::JobId;

/// The place after a job.
pub fn write(created_at: DateTime<Utc>, id: JobId) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {id}", created_at.timestamp_micros()))
}

/// The place that a text means; `None` when it is not one of ours.
pub fn read(text: &str) -> Option<(DateTime<Utc>, JobId)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (micros, id) = text.split_once(' ')?;
    Some((DateTime::from_timestamp_micros(micros.parse().ok()?)?, id.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_text_and_nothing_else_is_one() {
        let (at, id) = (DateTime::from_timestamp_micros(1_700_000_000_123_456).expect("a time"), JobId::generate());
        assert_eq!(read(&write(at, id)), Some((at, id)));
        for text in ["", "x", "e30", &URL_SAFE_NO_PAD.encode("9999999999999999999 x")] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
