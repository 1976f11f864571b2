//! One table of a slice. Pure: projection and catalogs in, SQL expressions out.

use super::types::{bare, carries_over, cast_type};
use crate::{
    base::{BaseColumn, BaseTable, Generation},
    finding::Finding,
    identifier::{Identifier, QualifiedName},
    mapping::key,
    projection::{BASE, Conversion, Projection, ViewColumn, ViewColumnKind, legal, quoted},
};

/// The alias of a row of the candidate's in backward expressions.
pub(crate) const CANDIDATE: &str = "candidate";

/// One table on both sides.
#[derive(Debug, Clone)]
pub struct TablePlan {
    /// Where in the mapping it is, for findings.
    pub key: String,
    /// The monolith's table.
    pub source: QualifiedName,
    /// The candidate's table, in its own database.
    pub target: QualifiedName,
    /// All columns of the monolith's table, in its order.
    pub source_columns: Vec<SourceColumn>,
    /// The columns of the candidate's table that the mapping speaks of.
    pub columns: Vec<TargetColumn>,
    /// What tells rows apart on both sides; empty for a table without a key.
    pub identity: Vec<KeyColumn>,
    /// Which rows move, as SQL over the monolith's columns; all when it is none.
    pub filter: Option<String>,
    /// The monolith's columns from the candidate's.
    pub backward: Vec<BackwardColumn>,
    /// Names of the monolith's foreign keys that the candidate's table does not get.
    pub cut: Vec<String>,
    /// Whether the target database does not have the table yet.
    pub missing: bool,
    /// Whether the rows of the monolith's table are in partitions.
    pub partitioned: bool,
}

/// A column of the monolith's table.
#[derive(Debug, Clone)]
pub struct SourceColumn {
    /// Its name.
    pub name: Identifier,
    /// Its type without length or precision: what a value is cast to.
    pub data_type: String,
    /// Its type as declared.
    pub declared_type: String,
    /// Whether it is `NOT NULL`.
    pub not_null: bool,
    /// What a generated column is computed by. Logical replication leaves such columns out.
    pub expression: Option<String>,
    /// The type that carries its values in binary; none when they can only be sent as text.
    pub wire: Option<String>,
}

/// A column of the candidate's table.
#[derive(Debug, Clone)]
pub struct TargetColumn {
    /// Its name.
    pub name: Identifier,
    /// Its type without length or precision.
    pub data_type: String,
    /// Its type as declared.
    pub declared_type: String,
    /// Its value over the columns of the alias `base`, for the target database.
    pub forward: String,
    /// The same for the source database, in the type that is sent.
    pub select: String,
    /// The type that is sent in binary; none when it can only be sent as text.
    pub wire: Option<String>,
    /// Whether it is given a value: the target computes the others itself.
    pub written: bool,
    /// The monolith's column that it is, unless it is computed from several or none.
    pub source: Option<Identifier>,
    /// Where the monolith's value serves as it is, in binary, in place of `select`.
    pub unconverted: Option<Unconverted>,
}

/// What a value of the monolith's is to a binary reader of another type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unconverted {
    /// Text that spells a `uuid`. PostgreSQL takes as long to read one as for the rest of a small row.
    UuidAsText,
    /// A time that gets or loses UTC as its zone: the same eight bytes.
    TimeInUtc,
}

/// A part of what tells rows apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumn {
    /// The monolith's column.
    pub source: Identifier,
    /// The candidate's column.
    pub target: Identifier,
}

/// A column of the monolith, from a row of the candidate's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackwardColumn {
    /// Its name.
    pub name: Identifier,
    /// Its type without length or precision.
    pub data_type: String,
    /// Its value over the columns of the alias `candidate`.
    pub expression: String,
}

const WITHOUT_ZONE: &str = "timestamp without time zone";
const WITH_ZONE: &str = "timestamp with time zone";

/// What a table is made from.
pub(super) struct Parts<'a> {
    pub(super) projection: &'a Projection,
    pub(super) source: &'a BaseTable,
    /// None when it is not there yet.
    pub(super) target: Option<&'a BaseTable>,
    pub(super) filter: Option<&'a String>,
    pub(super) cut: &'a [String],
}

impl TablePlan {
    /// Joins the mapping with both catalogs, or says everything that does not fit.
    pub(super) fn new(parts: &Parts<'_>) -> Result<Self, Vec<Finding>> {
        let projection = parts.projection;
        let mut findings = Vec::new();
        let mut columns = Vec::new();
        for column in &projection.columns {
            match parts.target_column(column) {
                Ok(column) => columns.push(column),
                Err(finding) => findings.push(finding),
            }
        }
        if let Some(target) = parts.target {
            parts.check_target(target, &mut findings);
        }
        if !findings.is_empty() {
            return Err(findings);
        }
        Ok(Self {
            key: projection.key.clone(),
            source: projection.base.clone(),
            target: projection.view.clone(),
            source_columns: parts.source.columns.iter().map(source_column).collect(),
            backward: parts.backward(&columns),
            columns,
            identity: parts.identity(),
            filter: parts.filter.cloned(),
            cut: parts.cut.to_vec(),
            missing: parts.target.is_none(),
            partitioned: parts.source.partitioned,
        })
    }

    /// Whether its rows can be sent in binary. Binary values of arrays of enums, composites and
    /// the like hold ids of types, which differ from database to database.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        self.columns.iter().filter(|column| column.written).all(|column| column.wire.is_some())
    }

    /// The columns that are given a value, and so can be compared.
    pub(crate) fn compared(&self) -> impl Iterator<Item = &TargetColumn> {
        self.columns.iter().filter(|column| column.written)
    }

    /// Whether this program has to convert values that are sent unconverted.
    pub(crate) fn spells_values(&self) -> bool {
        self.is_binary() && self.compared().any(|column| column.unconverted == Some(Unconverted::UuidAsText))
    }

    /// The column of the candidate's under this name.
    #[must_use]
    pub fn column(&self, name: &Identifier) -> Option<&TargetColumn> {
        self.columns.iter().find(|column| column.name == *name)
    }
}

impl TargetColumn {
    /// The monolith's value, as it has it.
    pub(crate) fn plain(&self) -> Option<String> {
        self.source.as_ref().map(|source| format!("{BASE}.{}", source.quoted()))
    }
}

fn source_column(column: &BaseColumn) -> SourceColumn {
    SourceColumn {
        name: legal(&column.name),
        data_type: column.bare_type.clone(),
        declared_type: column.declared_type.clone(),
        not_null: column.not_null,
        expression: column.expression.clone(),
        wire: column.wire.clone(),
    }
}

impl Parts<'_> {
    fn target_column(&self, column: &ViewColumn) -> Result<TargetColumn, Finding> {
        let at = key(&format!("{}.columns", self.projection.key), column.name.as_str());
        let catalog = match self.target {
            None => self.future(&at, column)?,
            Some(target) => target.column(column.name.as_str()).cloned().ok_or_else(|| {
                Finding::new(
                    &at,
                    format!("the table `{}` of the target database has no such column", self.projection.view),
                    format!("add the column there, or let the mapping drop or rename `{}`", column.name),
                )
            })?,
        };
        if let (Some((base, Conversion::None)), None, false) =
            (column.carried(), &column.declared, self.target.is_none())
            && !carries_over(base, &catalog)
        {
            return Err(Finding::new(
                at,
                format!("it is {} in the monolith and {} in the target", base.declared_type, catalog.declared_type),
                format!("add type = \"{}\", if that is what it shall become", catalog.declared_type),
            ));
        }
        Ok(TargetColumn {
            name: column.name.clone(),
            forward: forward(column, &catalog),
            unconverted: unconverted(column, &catalog),
            select: select(column, &catalog),
            wire: catalog.wire.clone(),
            written: catalog.generation != Generation::Computed,
            source: column.carried().map(|(base, _)| legal(&base.name)),
            data_type: catalog.bare_type,
            declared_type: catalog.declared_type,
        })
    }

    /// The column as it will be in a table that is yet to be made.
    fn future(&self, at: &str, column: &ViewColumn) -> Result<BaseColumn, Finding> {
        let (declared, base) = match (&column.declared, column.carried()) {
            (Some(declared), base) => (declared.clone(), base.map(|(base, _)| base)),
            (None, Some((base, _))) => (base.declared_type.clone(), Some(base)),
            (None, None) => {
                return Err(Finding::new(
                    at,
                    format!(
                        "the table `{}` is not there yet, and nothing says the column's type",
                        self.projection.view
                    ),
                    "add `type` to the column, or make the table first",
                ));
            }
        };
        Ok(BaseColumn {
            name: column.name.as_str().to_owned(),
            bare_type: bare(&declared),
            wire: base.filter(|base| base.declared_type == declared).and_then(|base| base.wire.clone()),
            not_null: base.is_some_and(|base| base.not_null),
            declared_type: declared,
            ..BaseColumn::default()
        })
    }

    fn check_target(&self, target: &BaseTable, findings: &mut Vec<Finding>) {
        let projection = self.projection;
        for column in &target.columns {
            let given = projection.columns.iter().any(|given| given.name.as_str() == column.name);
            let supplied = column.default.is_some() || column.generation != Generation::None;
            if !given && column.not_null && !supplied {
                findings.push(Finding::new(
                    &projection.key,
                    format!("`{}.{}` must have a value, and the mapping gives it none", projection.view, column.name),
                    format!("add columns.{} = {{ read = \"an expression\" }}", column.name),
                ));
            }
        }
        let identity: Vec<String> = projection.identity.iter().map(|name| name.as_str().to_owned()).collect();
        if !identity.is_empty() && !target.is_unique(&identity) {
            findings.push(Finding::new(
                format!("{}.identity", projection.key),
                format!("nothing in the target keeps ({}) unique in `{}`", identity.join(", "), projection.view),
                "add a primary key or unique index over exactly these columns there",
            ));
        }
    }

    fn identity(&self) -> Vec<KeyColumn> {
        let carried = |name: &Identifier| {
            let column = self.projection.columns.iter().find(|column| column.name == *name)?;
            let (base, _) = column.carried()?;
            Some(KeyColumn { source: legal(&base.name), target: name.clone() })
        };
        self.projection.identity.iter().filter_map(carried).collect()
    }

    fn backward(&self, columns: &[TargetColumn]) -> Vec<BackwardColumn> {
        let carried = self.projection.columns.iter().filter_map(|column| {
            let (base, conversion) = column.carried()?;
            let target = columns.iter().find(|target| target.name == column.name)?;
            let operand = format!("{CANDIDATE}.{}", column.name.quoted());
            let expression = match conversion {
                Conversion::None if target.data_type != base.bare_type => format!("({operand})::{}", base.bare_type),
                other => other.write(&operand),
            };
            (base.generation != Generation::Computed).then(|| backward(base, expression))
        });
        let computed = self
            .projection
            .computed_writes
            .iter()
            .map(|write| backward(&write.base, format!("({})", write.expression)));
        carried.chain(computed).collect()
    }
}

fn backward(base: &BaseColumn, expression: String) -> BackwardColumn {
    BackwardColumn { name: legal(&base.name), data_type: base.bare_type.clone(), expression }
}

/// The value in the candidate's type, for its own database.
fn forward(column: &ViewColumn, target: &BaseColumn) -> String {
    let cast = cast_type(&target.declared_type);
    match &column.kind {
        ViewColumnKind::Computed { expression } => format!("({expression})::{cast}"),
        ViewColumnKind::Carried { base, conversion } => {
            let operand = match &base.expression {
                Some(expression) => format!("({expression})"),
                None => format!("{BASE}.{}", quoted(base)),
            };
            match conversion {
                Conversion::None if base.bare_type == target.bare_type => operand,
                Conversion::None | Conversion::Cast { .. } => format!("({operand})::{cast}"),
                Conversion::AtTimeZone { .. } => conversion.read(&operand),
            }
        }
    }
}

/// The value in the type that is sent, for the monolith's database.
fn select(column: &ViewColumn, target: &BaseColumn) -> String {
    // A precision that the mapping asks for is applied before the value leaves, so that both sides
    // of a comparison see it.
    let wire = target.wire.as_ref().map(|wire| match &column.declared {
        Some(declared) if bare(declared) == *wire => cast_type(declared),
        _ => wire.clone(),
    });
    let (operand, is) = match &column.kind {
        ViewColumnKind::Computed { expression } => (format!("({expression})"), None),
        ViewColumnKind::Carried { base, conversion: Conversion::AtTimeZone { zone } } => {
            let zoned = Conversion::AtTimeZone { zone: zone.clone() };
            (zoned.read(&format!("{BASE}.{}", quoted(base))), wire.clone().filter(|wire| !wire.contains('(')))
        }
        ViewColumnKind::Carried { base, .. } => (format!("{BASE}.{}", quoted(base)), Some(base.bare_type.clone())),
    };
    match wire {
        Some(wire) if is.as_ref() != Some(&wire) => format!("({operand})::{wire}"),
        _ => operand,
    }
}

fn unconverted(column: &ViewColumn, target: &BaseColumn) -> Option<Unconverted> {
    let (base, conversion) = column.carried()?;
    let wire = target.wire.as_deref()?;
    match conversion {
        Conversion::Cast { .. } if wire == "uuid" && matches!(&*base.bare_type, "text" | "character varying") => {
            Some(Unconverted::UuidAsText)
        }
        // A precision would round.
        Conversion::AtTimeZone { zone }
            if zone == "UTC"
                && column.declared.as_deref() == Some(wire)
                && [WITHOUT_ZONE, WITH_ZONE].contains(&&*base.bare_type)
                && [WITHOUT_ZONE, WITH_ZONE].contains(&wire) =>
        {
            Some(Unconverted::TimeInUtc)
        }
        _ => None,
    }
}
