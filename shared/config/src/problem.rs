//! One thing wrong with the settings, and all of them together.

use std::{fmt, ops::Range, sync::Arc};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A document: its name, and the 1-based line and column.
    File {
        /// The file as it was named.
        name: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// An environment variable.
    Environment {
        /// The variable's name.
        variable: String,
    },
    /// Nowhere: the value is a default, or it is missing and there is no file.
    Default,
}

/// One thing wrong, and how to mend it.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Where the value came from.
    pub origin: Origin,
    /// The key, such as `http.bind` or `routes[2].path`; empty for the document as a whole.
    pub key: String,
    /// The value as given; `None` when there is none or it may be a secret.
    pub value: Option<String>,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub fix: Option<String>,
    pub(crate) source: Option<Arc<NamedSource<String>>>,
    pub(crate) span: Option<Range<usize>>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::File { name, line, column } => write!(f, "{name}:{line}:{column}: ")?,
            Origin::Environment { variable } => write!(f, "environment variable {variable}: ")?,
            Origin::Default => {}
        }
        if !self.key.is_empty() {
            write!(f, "`{}`", self.key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.fix.as_ref().map(|fix| Box::new(fix) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.span.as_ref()?;
        self.source.as_deref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.span.clone()?;
        Some(Box::new(std::iter::once(LabeledSpan::new(Some("here".to_owned()), span.start, span.len().max(1)))))
    }
}

/// Every problem that was found, in the order of the document. As text it is what a person should
/// see: each problem with its line, a caret and the fix.
#[derive(Debug, Clone)]
pub struct Problems(pub(crate) Vec<Problem>);

impl Problems {
    /// The problems, at least one.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// Problems of several documents as one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// One line for a log or an API, without source lines.
    #[must_use]
    pub fn summary(&self) -> String {
        let lines: Vec<String> = self
            .0
            .iter()
            .map(|problem| match &problem.fix {
                Some(fix) => format!("{problem} ({fix})"),
                None => problem.to_string(),
            })
            .collect();
        lines.join("; ")
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
            .with_context_lines(1)
            .with_width(120)
            .with_wrap_lines(true);
        for problem in &self.0 {
            handler.render_report(f, problem)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
