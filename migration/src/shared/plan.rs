//! What must change so that the database is as the mapping says. Pure: it reads nothing and does
//! nothing.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{existing::Existing, stage::Stage};
use crate::{
    base::BaseSchema,
    finding::Finding,
    mapping::Mapping,
    projection::{Projection, TypeNames},
};

/// One change, whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What is changed, such as `view lambda_service.functions`.
    pub object: String,
    /// Why.
    pub reason: String,
    /// The SQL, in order.
    pub statements: Vec<String>,
    /// Whether the statements cannot run inside of a transaction (concurrent index builds).
    pub outside_transaction: bool,
}

/// What is wanted of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The views are there, as the mapping says.
    Provide,
    /// Nothing of the stage is there.
    Remove,
}

/// Changes that lead from what is there to what is wanted; none when it is there already.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    pub(super) purpose: Purpose,
    /// The changes, in the order in which they are made.
    pub changes: Vec<Change>,
    /// What a person should know, though it stands in nothing's way.
    pub notices: Vec<String>,
    #[serde(skip)]
    pub(super) mapping: Mapping,
    /// The tables whose rows must be looked at before the changes can be made.
    #[serde(skip)]
    pub(super) unproven: Vec<Projection>,
}

/// Everything that a plan is decided from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inputs {
    pub(crate) base: BaseSchema,
    pub(crate) types: TypeNames,
    /// By target.
    pub(crate) existing: BTreeMap<String, Existing>,
}

impl Plan {
    /// Decides how the views come to be as the mapping says, or says what does not fit.
    pub(crate) fn provide(mapping: &Mapping, inputs: &Inputs) -> Result<Self, Vec<Finding>> {
        let mut plan = Self::empty(Purpose::Provide, mapping);
        let mut findings = Vec::new();
        let nothing = Existing::default();
        for (name, target) in &mapping.targets {
            let existing = inputs.existing.get(name).unwrap_or(&nothing);
            let stage = Stage { name, target, mapping, inputs, existing };
            stage.provide(&mut plan, &mut findings);
        }
        // Indexes first: the views then are fast from their first query on.
        plan.changes.sort_by_key(|change| !change.outside_transaction);
        if findings.is_empty() { Ok(plan) } else { Err(findings) }
    }

    /// Decides what to drop so that nothing of the stage is left.
    pub(crate) fn remove(mapping: &Mapping, inputs: &Inputs) -> Self {
        let mut plan = Self::empty(Purpose::Remove, mapping);
        for (name, target) in &mapping.targets {
            if let Some(existing) = inputs.existing.get(name) {
                Stage { name, target, mapping, inputs, existing }.remove(&mut plan);
            }
        }
        // Views first: nothing is slow for want of an index while they are still there.
        plan.changes.sort_by_key(|change| change.outside_transaction);
        plan
    }

    fn empty(purpose: Purpose, mapping: &Mapping) -> Self {
        let mapping = mapping.clone();
        Self { purpose, changes: Vec::new(), notices: Vec::new(), mapping, unproven: Vec::new() }
    }

    /// Whether everything is as it should be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(super) fn push(&mut self, object: String, reason: impl Into<String>, statements: Vec<String>) {
        self.changes.push(Change { object, reason: reason.into(), statements, outside_transaction: false });
    }

    pub(super) fn push_outside(&mut self, object: String, reason: impl Into<String>, statements: Vec<String>) {
        self.changes.push(Change { object, reason: reason.into(), statements, outside_transaction: true });
    }
}

impl fmt::Display for Plan {
    /// The plan as SQL, with each reason as a comment above.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for notice in &self.notices {
            writeln!(f, "-- note: {notice}")?;
        }
        for change in &self.changes {
            let outside = if change.outside_transaction { " [outside of the transaction]" } else { "" };
            writeln!(f, "-- {}: {}{outside}", change.object, change.reason)?;
            for statement in &change.statements {
                writeln!(f, "{statement};")?;
            }
        }
        if self.changes.is_empty() { writeln!(f, "-- nothing to change") } else { Ok(()) }
    }
}
