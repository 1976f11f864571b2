//! One target of the mapping against the live database: what is missing, what differs, what is left
//! over. Pure, like the plan it adds to.

use std::collections::BTreeSet;

use super::{
    bundle::{self, Bundle},
    existing::{Existing, Ownership, Relation},
    marker::{self, Marker},
    plan::{Inputs, Plan},
    twin::{Twin, twins},
};
use crate::{
    base::BaseTable,
    finding::Finding,
    identifier::{QualifiedName, literal, search_path},
    mapping::{Mapping, Target, key},
    projection::{IdentityRule, Projection, legal},
};

/// One target between mapping and database.
pub(super) struct Stage<'a> {
    pub(super) name: &'a str,
    pub(super) target: &'a Target,
    pub(super) mapping: &'a Mapping,
    pub(super) inputs: &'a Inputs,
    pub(super) existing: &'a Existing,
}

impl Stage<'_> {
    /// Adds what makes the views of this target be as the mapping says.
    pub(super) fn provide(&self, plan: &mut Plan, findings: &mut Vec<Finding>) {
        let at = key("targets", self.name);
        self.check_role(&at, findings);
        self.provide_schema(plan);
        let mut wanted_indexes = BTreeSet::new();
        for view_name in self.target.tables.keys() {
            let at = key(&format!("{at}.tables"), view_name);
            match self.project(&at, view_name) {
                Err(problems) => findings.extend(problems),
                Ok((projection, base)) => {
                    self.provide_twins(&projection, base, &mut wanted_indexes, plan, findings);
                    self.provide_view(projection, base, plan, findings);
                }
            }
        }
        self.drop_leftovers(&wanted_indexes, plan);
    }

    fn check_role(&self, at: &str, findings: &mut Vec<Finding>) {
        let (Some(name), Some(role)) = (&self.target.role, &self.existing.role) else { return };
        let source = legal(&self.mapping.source.schema).quoted();
        let quoted = legal(name).quoted();
        if !role.exists {
            findings.push(Finding::new(
                format!("{at}.role"),
                format!("there is no role `{name}`"),
                format!("CREATE ROLE {quoted} LOGIN PASSWORD …; its password is not this tool's to choose"),
            ));
        } else if role.may_create_in_source {
            findings.push(Finding::new(
                format!("{at}.role"),
                format!("`{name}` may create objects in schema {source}, where they could stand in for the monolith's"),
                format!("REVOKE CREATE ON SCHEMA {source} FROM PUBLIC, {quoted}, and let it be no superuser"),
            ));
        }
    }

    fn provide_schema(&self, plan: &mut Plan) {
        let schema = legal(&self.target.schema);
        let object = format!("schema {schema}");
        if self.existing.schema == Ownership::Absent {
            let comment = literal(&marker::text(&serde_json::json!({ "target": self.name })));
            let statements = vec![
                format!("CREATE SCHEMA {}", schema.quoted()),
                format!("COMMENT ON SCHEMA {} IS {comment}", schema.quoted()),
            ];
            plan.push(object.clone(), "the candidate's schema is not there", statements);
        }
        if let (Some(name), Some(role)) = (&self.target.role, &self.existing.role)
            && !role.may_use_schema
        {
            let grant = format!("GRANT USAGE ON SCHEMA {} TO {}", schema.quoted(), legal(name).quoted());
            plan.push(object, format!("the role `{name}` may not use it"), vec![grant]);
        }
    }

    fn project(&self, at: &str, view_name: &str) -> Result<(Projection, &BaseTable), Vec<Finding>> {
        let source = &self.mapping.source;
        let table = &self.target.tables[view_name];
        let base_name = table.from.as_deref().unwrap_or(view_name);
        let Some(base) = self.inputs.base.tables.get(base_name) else {
            return Err(vec![Finding::new(
                at,
                format!("there is no table `{}.{base_name}`", source.schema),
                "is the monolith's schema there already? otherwise correct `from`",
            )]);
        };
        let view = QualifiedName::new(&legal(&self.target.schema), &legal(view_name));
        Projection::new(at, view, table, source, base, &self.inputs.types, IdentityRule::Required)
            .map(|projection| (projection, base))
            .map_err(|problems| self.explain_drift(view_name, base, problems))
    }

    /// Adds to findings what changed below the view since it was made.
    fn explain_drift(&self, view_name: &str, base: &BaseTable, mut problems: Vec<Finding>) -> Vec<Finding> {
        let marker = self.existing.relations.get(view_name).and_then(|relation| relation.marker.as_ref());
        if let Some(drift) = marker.and_then(|marker| drift(marker, base)) {
            for problem in &mut problems {
                problem.message = format!("{}; since the view was made {drift}", problem.message);
            }
        }
        problems
    }

    fn provide_twins(
        &self,
        projection: &Projection,
        base: &BaseTable,
        wanted: &mut BTreeSet<String>,
        plan: &mut Plan,
        findings: &mut Vec<Finding>,
    ) {
        let twins = twins(self.name, projection, base);
        let missing: Vec<&Twin> = twins.iter().filter(|twin| self.twin_statements(twin).is_some()).collect();
        if !missing.is_empty() && (base.partitioned || !base.owned) {
            let (message, fix) = if base.partitioned {
                ("its rows are in partitions, where an index cannot be made concurrently", "map the partitions instead")
            } else {
                ("only its owner can make the indexes that lookups need", "connect as the owner of the table")
            };
            findings.push(Finding::new(&projection.key, format!("`{}`: {message}", projection.base), fix));
        }
        for twin in missing {
            let (reason, statements) = self.twin_statements(twin).unwrap_or_default();
            plan.push_outside(format!("index {}", twin.name), reason, statements);
        }
        if plan
            .changes
            .iter()
            .any(|change| change.statements.iter().any(|s| twins.iter().any(|twin| *s == twin.create)))
        {
            // Without statistics of its expression, the planner does not trust a new index.
            let analyze = vec![format!("ANALYZE {}", projection.base.quoted())];
            plan.push_outside(format!("table {}", projection.base), "the new indexes have no statistics yet", analyze);
        }
        wanted.extend(twins.into_iter().map(|twin| twin.name.name.as_str().to_owned()));
    }

    fn twin_statements(&self, twin: &Twin) -> Option<(String, Vec<String>)> {
        let drop = || drop_index(&twin.name);
        match self.existing.indexes.get(twin.name.name.as_str()) {
            None => Some((twin.reason.clone(), vec![twin.create.clone(), twin.mark.clone()])),
            Some(index) if !index.valid => {
                let reason = "an earlier build of it did not finish".to_owned();
                Some((reason, vec![drop(), twin.create.clone(), twin.mark.clone()]))
            }
            Some(index) if !index.marked => {
                Some(("it was built, but not marked as ours yet".to_owned(), vec![twin.mark.clone()]))
            }
            Some(_) => None,
        }
    }

    fn provide_view(&self, projection: Projection, base: &BaseTable, plan: &mut Plan, findings: &mut Vec<Finding>) {
        let role = self.target.role.as_deref().map(legal);
        let search_path = search_path(&legal(&self.mapping.source.schema));
        let bundle = Bundle::new(self.name, role.as_ref(), &search_path, &projection, &base.signature());
        let object = format!("view {}", projection.view);
        let relation = self.existing.relations.get(projection.view.name.as_str());
        let reason = match relation {
            None => "it is not there".to_owned(),
            Some(Relation { marker: None, .. }) => {
                findings.push(Finding::new(
                    &projection.key,
                    format!("`{}` is there already and was not made by this stage", projection.view),
                    "choose another schema or name, or drop it",
                ));
                return;
            }
            Some(Relation { marker: Some(marker), live, granted }) => {
                if let Some(drift) = drift(marker, base) {
                    format!("the monolith's table changed: {drift}")
                } else if marker.definition != bundle.digest {
                    "the mapping changed".to_owned()
                } else if marker.live != *live {
                    "somebody changed it by hand".to_owned()
                } else {
                    if let (false, Some(role)) = (granted, &role) {
                        let grant = vec![bundle::grant(&projection.view, role)];
                        plan.push(object, format!("the role `{role}` has lost rights on it"), grant);
                    }
                    return;
                }
            }
        };
        let mut statements = self.drop_bundle(relation.is_some(), &bundle.view, &bundle.functions);
        statements.extend(bundle.create);
        plan.push(object, reason, statements);
        self.notice(&projection, base, plan);
        plan.unproven.push(projection);
    }

    fn notice(&self, projection: &Projection, base: &BaseTable, plan: &mut Plan) {
        if !base.column_triggers.is_empty() {
            plan.notices.push(format!(
                "{}: the triggers {} wait for an update of certain columns; an update through the view names all",
                projection.base,
                base.column_triggers.join(", ")
            ));
        }
    }

    fn drop_bundle(&self, view_is_there: bool, view: &QualifiedName, functions: &[QualifiedName]) -> Vec<String> {
        let mut statements = Vec::new();
        if view_is_there {
            statements.push(format!("DROP VIEW {}", view.quoted()));
        }
        let ours = functions.iter().filter(|function| self.existing.functions.contains(function.name.as_str()));
        statements.extend(ours.map(|function| format!("DROP FUNCTION {}()", function.quoted())));
        statements
    }

    /// Whatever we made that nothing in the mapping asks for any more.
    fn drop_leftovers(&self, wanted_indexes: &BTreeSet<String>, plan: &mut Plan) {
        for (name, relation) in &self.existing.relations {
            let ours = relation.marker.as_ref().is_some_and(|marker| marker.target == self.name);
            if ours && !self.target.tables.contains_key(name) {
                self.drop_view(name, "the mapping does not have it any more", plan);
            }
        }
        self.drop_indexes(wanted_indexes, "nothing looks rows up by it any more", plan);
    }

    fn drop_view(&self, name: &str, reason: &str, plan: &mut Plan) {
        let view = QualifiedName::new(&legal(&self.target.schema), &legal(name));
        let functions = Bundle::function_names(&view);
        plan.push(format!("view {view}"), reason, self.drop_bundle(true, &view, &functions));
    }

    fn drop_indexes(&self, keep: &BTreeSet<String>, reason: &str, plan: &mut Plan) {
        for (name, index) in &self.existing.indexes {
            if index.marked && !keep.contains(name) {
                let name = QualifiedName::new(&legal(&self.mapping.source.schema), &legal(name));
                plan.push_outside(format!("index {name}"), reason, vec![drop_index(&name)]);
            }
        }
    }

    /// Adds what drops everything that the stage made for this target.
    pub(super) fn remove(&self, plan: &mut Plan) {
        let ours: Vec<&String> = self
            .existing
            .relations
            .iter()
            .filter(|(_, relation)| relation.marker.as_ref().is_some_and(|marker| marker.target == self.name))
            .map(|(name, _)| name)
            .collect();
        for name in &ours {
            self.drop_view(name, "the stage is removed", plan);
        }
        let schema = legal(&self.target.schema);
        // Functions whose view went with a table that was dropped with CASCADE.
        let dropped: BTreeSet<String> = plan.changes.iter().flat_map(|change| change.statements.clone()).collect();
        for name in &self.existing.functions {
            let function = QualifiedName::new(&schema, &legal(name));
            let drop = format!("DROP FUNCTION {}()", function.quoted());
            if !dropped.contains(&drop) {
                plan.push(format!("function {function}"), "the stage is removed", vec![drop]);
            }
        }
        if self.existing.schema == Ownership::Ours {
            if ours.len() == self.existing.relations.len() {
                let drop = vec![format!("DROP SCHEMA {}", schema.quoted())];
                plan.push(format!("schema {schema}"), "the stage made it, and nothing else is in it", drop);
            } else {
                plan.notices.push(format!("schema {schema} stays: it holds objects of somebody else"));
            }
        }
        self.drop_indexes(&BTreeSet::new(), "the stage is removed", plan);
    }
}

fn drop_index(name: &QualifiedName) -> String {
    format!("DROP INDEX CONCURRENTLY {}", name.quoted())
}

/// How the monolith's table differs from what it was when the view was made.
fn drift(marker: &Marker, base: &BaseTable) -> Option<String> {
    let now = base.signature();
    let mut parts = Vec::new();
    for (name, was) in &marker.base {
        match now.get(name) {
            None => parts.push(format!("`{name}` ({was}) went")),
            Some(is) if is != was => parts.push(format!("`{name}` became {is}, it was {was}")),
            Some(_) => {}
        }
    }
    let new = now.iter().filter(|(name, _)| !marker.base.contains_key(*name));
    parts.extend(new.map(|(name, is)| format!("`{name}` ({is}) came")));
    (!parts.is_empty()).then(|| parts.join(", "))
}
