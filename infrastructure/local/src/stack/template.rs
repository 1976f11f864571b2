//! Text with holes, such as `127.0.0.1:{port:gateway}`.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

/// Text of a stack document, parsed. `{{` is a brace.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Hole(Hole),
}

/// What a hole is filled with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hole {
    /// `{postgres.url:NAME}`: how to connect to database NAME.
    PostgresUrl(String),
    /// `{s3.endpoint}`.
    S3Endpoint,
    /// `{s3.access_key}`.
    S3AccessKey,
    /// `{s3.secret_key}`.
    S3SecretKey,
    /// `{port:NAME}`: a free port of loopback, the same wherever NAME is the same.
    Port(String),
    /// `{secret:NAME}`: generated once and kept in the data folder.
    Secret(String),
    /// `{data}`: the data folder.
    Data,
    /// `{dir}`: the process's own folder.
    Dir,
    /// `{scratch}`: a folder of the process outside of the data folder, which every user of the machine may pass
    /// through; gone when the stack stops.
    Scratch,
}

const HOLES: &str = "{postgres.url:DATABASE}, {s3.endpoint}, {s3.access_key}, {s3.secret_key}, {port:NAME}, \
                     {secret:NAME}, {data}, {dir} and {scratch}";

impl Template {
    /// The holes, in order.
    pub fn holes(&self) -> impl Iterator<Item = &Hole> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Hole(hole) => Some(hole),
            Piece::Text(_) => None,
        })
    }

    /// The text with every hole filled.
    ///
    /// # Errors
    /// What `fill` answers for a hole it has nothing for.
    pub fn resolve<E>(&self, mut fill: impl FnMut(&Hole) -> Result<String, E>) -> Result<String, E> {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => Ok(text.clone()),
                Piece::Hole(hole) => fill(hole),
            })
            .collect()
    }
}

impl JsonSchema for Template {
    fn schema_name() -> Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "text",
            "description": "Text with holes such as {port:NAME}, {postgres.url:DATABASE}, {secret:NAME}, {data}; {{ is a brace.",
            "type": "string"
        })
    }
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find('{') {
            plain.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            if let Some(escaped) = after.strip_prefix('{') {
                plain.push('{');
                rest = escaped;
                continue;
            }
            let (inside, behind) = after.split_once('}').ok_or("a `{` without its `}`; write `{{` for a brace")?;
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(Piece::Hole(hole(inside)?));
            rest = behind;
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        Ok(Self(pieces))
    }
}

fn hole(inside: &str) -> Result<Hole, String> {
    let named = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if !name.is_empty() && name.bytes().all(plain) {
            Ok(name.to_owned())
        } else {
            Err(format!("`{{{inside}}}` needs a name of letters, digits, `_` and `-`"))
        }
    };
    match inside.split_once(':') {
        None => match inside {
            "s3.endpoint" => Ok(Hole::S3Endpoint),
            "s3.access_key" => Ok(Hole::S3AccessKey),
            "s3.secret_key" => Ok(Hole::S3SecretKey),
            "data" => Ok(Hole::Data),
            "dir" => Ok(Hole::Dir),
            "scratch" => Ok(Hole::Scratch),
            _ => Err(format!("`{{{inside}}}` is unknown; there are {HOLES}")),
        },
        Some(("postgres.url", name)) => named(name).map(Hole::PostgresUrl),
        Some(("port", name)) => named(name).map(Hole::Port),
        Some(("secret", name)) => named(name).map(Hole::Secret),
        Some(_) => Err(format!("`{{{inside}}}` is unknown; there are {HOLES}")),
    }
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PostgresUrl(name) => write!(f, "{{postgres.url:{name}}}"),
            Self::S3Endpoint => f.write_str("{s3.endpoint}"),
            Self::S3AccessKey => f.write_str("{s3.access_key}"),
            Self::S3SecretKey => f.write_str("{s3.secret_key}"),
            Self::Port(name) => write!(f, "{{port:{name}}}"),
            Self::Secret(name) => write!(f, "{{secret:{name}}}"),
            Self::Data => f.write_str("{data}"),
            Self::Dir => f.write_str("{dir}"),
            Self::Scratch => f.write_str("{scratch}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Template, String> {
        Template::try_from(text.to_owned())
    }

    #[test]
    fn holes_are_filled_and_braces_kept() {
        let template = parse("a{{b}{port:x}-{postgres.url:my_db}{dir}{scratch}").expect("it is well formed");
        let resolved = template.resolve(|hole| Ok::<_, ()>(format!("<{hole}>"))).expect("all filled");
        assert_eq!(resolved, "a{b}<{port:x}>-<{postgres.url:my_db}><{dir}><{scratch}>");
    }

    #[test]
    fn what_is_not_a_hole_is_refused() {
        for bad in
            ["{", "{port", "{port:}", "{port:a b}", "{ports:a}", "{dirs}", "{port}", "{s3.endpoint:x}", "{secret:../x}"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
