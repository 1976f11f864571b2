//! What counts as the same on a route.

mod config;
mod pattern;

use std::fmt;

pub use config::{LimitsConfig, MAX_RULES, RedactionConfig, RuleConfig, RuleKind, RulesConfig};
pub(crate) use config::{headers as config_headers, problem as config_problem, selector as config_selector};
pub use pattern::Pattern;

use crate::{
    json::{Decimal, Node},
    path::Step,
    redaction::Redaction,
    selector::{Part, Selector, Target, is_at},
};

/// A rule that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleProblem {
    /// The key below the rules' own, such as `rules[2].path`.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub fix: String,
}

impl fmt::Display for RuleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {} ({})", self.key, self.message, self.fix)
    }
}

impl std::error::Error for RuleProblem {}

/// The rules of a route, ready to compare with.
#[derive(Debug, Clone)]
pub struct Rules {
    pub(crate) headers: Vec<http::HeaderName>,
    pub(crate) ignored: Vec<Selector>,
    patterns: Vec<(Selector, Pattern)>,
    tolerances: Vec<(Selector, Tolerance)>,
    shapes: Vec<Selector>,
    sets: Vec<Selector>,
    renames: Vec<Rename>,
    pub(crate) redaction: Redaction,
    pub(crate) limits: LimitsConfig,
}

/// How far two numbers may be apart.
#[derive(Debug, Clone, Copy)]
struct Tolerance {
    absolute: f64,
    /// Of the larger of the two.
    relative: f64,
}

/// A member that has another name on the candidate.
#[derive(Debug, Clone)]
struct Rename {
    parent: Vec<Part>,
    legacy: String,
    candidate: String,
}

impl Rules {
    /// Checks and prepares rules.
    ///
    /// # Errors
    /// Every problem in them.
    pub fn compile(config: &RulesConfig) -> Result<Self, Vec<RuleProblem>> {
        let mut problems = Vec::new();
        let redaction = Redaction::compile(&config.redact, &mut problems);
        let mut rules = Self {
            headers: config::headers("headers", &config.headers, &mut problems),
            ignored: Vec::new(),
            patterns: Vec::new(),
            tolerances: Vec::new(),
            shapes: Vec::new(),
            sets: Vec::new(),
            renames: Vec::new(),
            redaction,
            limits: config.limits,
        };
        config.limits.check(&mut problems);
        if config.rules.len() > MAX_RULES {
            let message = format!("{} rules are more than the {MAX_RULES} there may be", config.rules.len());
            let fix = "say more with one path, such as $..updatedAt".to_owned();
            problems.push(RuleProblem { key: "rules".to_owned(), message, fix });
        }
        for (index, rule) in config.rules.iter().take(MAX_RULES).enumerate() {
            if let Err(problem) = rules.add(rule) {
                problems.push(RuleProblem { key: format!("rules[{index}].{}", problem.key), ..problem });
            }
        }
        if problems.is_empty() { Ok(rules) } else { Err(problems) }
    }

    /// These rules with one more place ignored, as an operator asks for it while the gateway runs.
    #[must_use]
    pub fn ignoring(mut self, selector: Selector) -> Self {
        self.ignored.push(selector);
        self
    }

    /// What is hidden before anything is stored.
    #[must_use]
    pub fn redaction(&self) -> &Redaction {
        &self.redaction
    }

    /// The bounds.
    #[must_use]
    pub fn limits(&self) -> &LimitsConfig {
        &self.limits
    }

    fn add(&mut self, rule: &RuleConfig) -> Result<(), RuleProblem> {
        let selector = rule.selector()?;
        match rule.rule {
            RuleKind::Ignore => self.ignored.push(selector),
            RuleKind::Shape => self.shapes.push(config::in_body(selector)?),
            RuleKind::Set => self.sets.push(config::in_body(selector)?),
            RuleKind::Pattern => self.patterns.push((selector, rule.pattern()?)),
            RuleKind::Tolerance => {
                let (absolute, relative) = rule.tolerance()?;
                self.tolerances.push((config::in_body(selector)?, Tolerance { absolute, relative }));
            }
            RuleKind::Rename => {
                let candidate = rule.new_name()?;
                let wrong = || config::problem("path", "only a member has a name", "end it in .name or ['name']");
                let Target::Body(mut parent) = config::in_body(selector)?.target().clone() else { return Err(wrong()) };
                let Some(Part::Name(legacy)) = parent.pop() else { return Err(wrong()) };
                self.renames.push(Rename { parent, legacy, candidate });
            }
        }
        Ok(())
    }

    pub(crate) fn ignores_status(&self) -> bool {
        self.ignored.iter().any(Selector::is_status)
    }

    pub(crate) fn ignores_header(&self, name: &str) -> bool {
        self.ignored.iter().any(|selector| selector.is_header(name))
    }

    pub(crate) fn ignores(&self, path: &[Step<'_>]) -> bool {
        self.ignored.iter().any(|selector| selector.covers(path))
    }

    pub(crate) fn is_set(&self, path: &[Step<'_>]) -> bool {
        self.sets.iter().any(|selector| selector.is_at(path))
    }

    pub(crate) fn is_shape_only(&self, path: &[Step<'_>]) -> bool {
        self.shapes.iter().any(|selector| selector.covers(path))
    }

    /// Whether two different values of one type are the same here.
    pub(crate) fn accepts(&self, path: &[Step<'_>], legacy: &Node<'_>, candidate: &Node<'_>) -> bool {
        if !legacy.is_scalar() || !legacy.same_type(candidate) {
            return false;
        }
        if let (Some(legacy), Some(candidate)) = (legacy.pattern_text(), candidate.pattern_text()) {
            let both = |pattern: &Pattern| pattern.matches(legacy) && pattern.matches(candidate);
            if self.patterns.iter().any(|(selector, pattern)| selector.is_at(path) && both(pattern)) {
                return true;
            }
        }
        if let (Node::Number(legacy), Node::Number(candidate)) = (legacy, candidate) {
            let near = |tolerance: &Tolerance| tolerance.covers(&Decimal::new(legacy), &Decimal::new(candidate));
            if self.tolerances.iter().any(|(selector, tolerance)| selector.is_at(path) && near(tolerance)) {
                return true;
            }
        }
        self.is_shape_only(path)
    }

    /// Whether a value here may be another one and still be the same.
    pub(crate) fn may_accept(&self, path: &[Step<'_>], value: &Node<'_>) -> bool {
        let patterned =
            |text: &str| self.patterns.iter().any(|(selector, pattern)| selector.is_at(path) && pattern.matches(text));
        value.pattern_text().is_some_and(patterned)
            || (matches!(value, Node::Number(_)) && self.tolerances.iter().any(|(selector, _)| selector.is_at(path)))
            || self.is_shape_only(path)
    }

    pub(crate) fn accepts_header(&self, name: &str, legacy: &str, candidate: &str) -> bool {
        let both = |pattern: &Pattern| pattern.matches(legacy) && pattern.matches(candidate);
        self.patterns.iter().any(|(selector, pattern)| selector.is_header(name) && both(pattern))
    }

    /// The renames that apply to the members of the object at this path.
    pub(crate) fn renames_at(&self, path: &[Step<'_>]) -> Vec<(&str, &str)> {
        let here = self.renames.iter().filter(|rename| is_at(&rename.parent, path));
        here.map(|rename| (rename.candidate.as_str(), rename.legacy.as_str())).collect()
    }
}

impl Tolerance {
    fn covers(&self, one: &Decimal<'_>, two: &Decimal<'_>) -> bool {
        let larger = one.to_f64().abs().max(two.to_f64().abs());
        let distance = one.distance(two);
        // What floats make of 0.3 - 0.2 is not the candidate's fault.
        let rounding = if larger.is_finite() { larger * f64::EPSILON } else { 0.0 };
        distance.is_finite()
            && (distance <= self.absolute + rounding.min(self.absolute) || distance <= self.relative * larger)
    }
}
