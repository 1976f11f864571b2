use std::collections::BTreeMap;
use std::path::Path;

use super::StackError;
use super::document::StackDocument;

/// A stack document and the files beside it.
#[derive(Clone, Debug)]
pub struct StackSource {
    pub(super) document: StackDocument,
    pub(super) files: BTreeMap<String, String>,
}

impl StackSource {
    /// Mini-Lambda: the monolith, the lambda service and the gateway.
    ///
    /// # Errors
    /// None in practice: the document is part of this binary, and a test parses it.
    pub fn mini_lambda() -> Result<Self, StackError> {
        let beside = [
            ("gateway.toml", include_str!("../../mini-lambda/gateway.toml")),
            ("rollout.toml", include_str!("../../mini-lambda/rollout.toml")),
            ("mapping.toml", include_str!("../../mini-lambda/mapping.toml")),
        ];
        Self::new("mini-lambda/stack.toml", include_str!("../../mini-lambda/stack.toml"), |name| {
            beside.iter().find(|(file, _)| *file == name).map(|(_, text)| (*text).to_owned())
        })
    }

    /// Mini-Lambda with a process between gateway and candidate that can alter answers, for the demonstration.
    ///
    /// # Errors
    /// None in practice, as [`StackSource::mini_lambda`].
    pub fn demonstration() -> Result<Self, StackError> {
        let direct = "GATEWAY__UPSTREAMS__LAMBDA__ADDRESS = \"127.0.0.1:{port:lambda}\"";
        let text = include_str!("../../mini-lambda/stack.toml")
            .replace(direct, &direct.replace("{port:lambda}", "{port:flawed}"))
            .replace("[urls]\n", "[urls]\nflawed-candidate = \"http://127.0.0.1:{port:flawed}\"\n");
        let text = format!("{text}\n{}", include_str!("../../mini-lambda/flawed-candidate.toml"));
        let plain = Self::mini_lambda()?;
        Self::new("mini-lambda/stack.toml", &text, |name| plain.files.get(name).cloned())
    }

    /// A team's own: a document, and the files it names, in its folder.
    ///
    /// # Errors
    /// The document or a file cannot be read, or the document is wrong.
    pub fn read(path: &Path) -> Result<Self, StackError> {
        let text = std::fs::read_to_string(path).map_err(|source| StackError::Io {
            action: "read",
            path: path.to_path_buf(),
            source,
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::new(&path.display().to_string(), &text, |name| std::fs::read_to_string(folder.join(name)).ok())
    }

    fn new(name: &str, text: &str, read: impl Fn(&str) -> Option<String>) -> Result<Self, StackError> {
        let document = StackDocument::parse(name, text)?;
        let mut files = BTreeMap::new();
        for file in &document.files {
            let text =
                read(file).ok_or_else(|| StackError::MissingFile { file: file.clone(), document: name.to_owned() })?;
            files.insert(file.clone(), text);
        }
        Ok(Self { document, files })
    }

    /// The stack's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.document.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mini_lambda_document_is_valid() {
        let source = StackSource::mini_lambda().expect("the document in this binary is valid");
        assert_eq!(source.name(), "mini-lambda");
        assert_eq!(source.files.len(), 3);
        let demonstration = StackSource::demonstration().expect("and so is this one");
        let text = format!("{:?}", demonstration.document);
        assert_eq!(text.matches("flawed").count(), 7, "the gateway's candidate is the process in between: {text}");
    }
}
