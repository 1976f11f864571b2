//! Texts that differ from answer to answer and still have a form.

use regex::{Regex, RegexBuilder};

/// The longest text that a pattern is tried on; a longer one does not match.
const MAX_TEXT_BYTES: usize = 8 * 1024;
/// What a compiled expression may take.
const MAX_EXPRESSION_BYTES: usize = 256 * 1024;

/// The ready patterns. Both values have to match for their difference to be none.
const READY: [(&str, &str); 7] = [
    // RFC 9562, in any case, without its version: legacy may make another one.
    ("uuid", "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"),
    // RFC 3339, also with a space or without an offset; or the HTTP-date of RFC 9110.
    (
        "timestamp",
        r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt ]([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)([.,][0-9]{1,9})?([Zz]|[+-][0-2][0-9]:?[0-5][0-9])?|(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2} (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [0-9]{4} [0-2][0-9]:[0-5][0-9]:[0-6][0-9] GMT",
    ),
    // From 2001 on, in seconds, milli-, micro- or nanoseconds, with a fraction or not.
    ("unix_time", r"[1-9][0-9]{9}([0-9]{3}){0,3}(\.[0-9]{1,9})?"),
    // Crockford's base 32, 26 characters, of which the first is at most 7.
    ("ulid", "[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}"),
    ("hex", "[0-9a-fA-F]{8,}"),
    // RFC 7519 in the compact form, whose header is an object.
    ("jwt", "eyJ[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]*\\.[A-Za-z0-9_-]*"),
    ("integer", "-?(0|[1-9][0-9]*)"),
];

/// A form that texts have as a whole.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// The names of the ready patterns.
    pub fn names() -> impl Iterator<Item = &'static str> {
        READY.iter().map(|(name, _)| *name)
    }

    /// A ready pattern by its name.
    #[must_use]
    pub fn ready(name: &str) -> Option<Self> {
        let (_, expression) = READY.iter().find(|(known, _)| *known == name)?;
        Some(Self::of(expression).expect("the ready patterns are tested"))
    }

    /// A regular expression that the whole text has to match.
    ///
    /// # Errors
    /// When it is none, or would take too much memory.
    pub fn of(expression: &str) -> Result<Self, Box<regex::Error>> {
        // On its own first, so that it cannot close the group it is put in.
        RegexBuilder::new(expression).size_limit(MAX_EXPRESSION_BYTES).build()?;
        Ok(Self(RegexBuilder::new(&format!(r"\A(?:{expression})\z")).size_limit(MAX_EXPRESSION_BYTES).build()?))
    }

    /// Whether a text has this form.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        text.len() <= MAX_TEXT_BYTES && self.0.is_match(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_patterns_match_what_they_are_called() {
        for (name, good, bad) in [
            (
                "uuid",
                &["0191f1a0-7c3e-7b00-8000-00000000000A"][..],
                &["0191f1a0-7c3e", "x0191f1a0-7c3e-7b00-8000-00000000000a"][..],
            ),
            (
                "timestamp",
                &["2026-11-23T20:00:00Z", "2026-11-23 20:00:00.123+01:00", "Mon, 23 Nov 2026 20:00:00 GMT"],
                &["2026-13-01T00:00:00Z", "2026-11-23", "yesterday", "2026-11-23T20:00:00Z and more"],
            ),
            (
                "unix_time",
                &["1795464000", "1795464000123", "1795464000.5"],
                &["179546400", "17954640001", "-1795464000"],
            ),
            ("ulid", &["01ARZ3NDEKTSV4RRFFQ69G5FAV"], &["81ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAI"]),
            ("hex", &["deadbeef00"], &["dead", "0xdeadbeef"]),
            ("jwt", &["eyJhbGciOiJub25lIn0.eyJhIjoxfQ.", "eyJh.eyJi.c2ln"], &["eyJh.eyJi", "abc.def.ghi"]),
            ("integer", &["0", "-12"], &["1.0", "01", ""]),
        ] {
            let pattern = Pattern::ready(name).unwrap();
            good.iter().for_each(|text| assert!(pattern.matches(text), "{name} {text}"));
            bad.iter().for_each(|text| assert!(!pattern.matches(text), "{name} {text}"));
        }
        assert_eq!(Pattern::names().count(), READY.len());
        assert!(Pattern::names().all(|name| Pattern::ready(name).is_some()));
    }

    #[test]
    fn an_expression_is_about_the_whole_text() {
        let pattern = Pattern::of("a|b").unwrap();
        assert!(pattern.matches("a") && pattern.matches("b") && !pattern.matches("ab") && !pattern.matches("a\n"));
        assert!(Pattern::of("a)|(b").is_err() && Pattern::of("(a{1000}){1000}").is_err());
    }
}
