//! The two databases of the split, looked at directly: whether what callers were told of is there, each once.

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::Context as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::time::Instant;

use super::told::Ids;

/// Executions are written a moment after their answers.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);

const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Whose database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Monolith,
    Candidate,
}

impl Owner {
    /// The database's name.
    pub(super) const fn database(self) -> &'static str {
        match self {
            Self::Monolith => "mini_lambda",
            Self::Candidate => "lambda_service_db",
        }
    }

    /// Its tables of functions and of executions.
    const fn tables(self) -> [&'static str; 2] {
        match self {
            Self::Monolith => ["public.functions", "public.executions"],
            Self::Candidate => ["lambda_service.functions", "lambda_service.invocations"],
        }
    }
}

/// A count of one table against what callers were told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) told: usize,
    /// Of these.
    pub(super) missing: usize,
    /// Ids that more than one row has.
    pub(super) twice: usize,
    /// Rows that no caller was told of.
    pub(super) untold: usize,
}

/// Both tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) functions: Count,
    pub(super) executions: Count,
}

impl Counts {
    pub(super) fn is_complete(&self) -> bool {
        [self.functions, self.executions].iter().all(|count| count.missing == 0 && count.twice == 0)
    }
}

/// The addresses, from the files that the stack leaves.
pub(super) struct Databases {
    monolith: String,
    candidate: String,
}

impl Databases {
    pub(super) fn of(data: &Path) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let file = data.join(name);
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
        };
        Ok(Self { monolith: read("database-url")?, candidate: read("target-url")? })
    }

    /// Waits until everything that callers were told of is in the owner's database, for as long as writing it may take.
    pub(super) async fn count(&self, owner: Owner, told: &Ids) -> anyhow::Result<Counts> {
        let (until, [functions, executions]) = (Instant::now() + WRITTEN_WITHIN, owner.tables());
        loop {
            let counts = Counts {
                functions: count(&told.functions, &self.ids(owner, functions).await?),
                executions: count(&told.executions, &self.ids(owner, executions).await?),
            };
            if counts.is_complete() || Instant::now() >= until {
                return Ok(counts);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn ids(&self, owner: Owner, table: &str) -> anyhow::Result<Vec<String>> {
        let url = if owner == Owner::Monolith { &self.monolith } else { &self.candidate };
        let mut connection =
            PgConnection::connect(url).await.with_context(|| format!("cannot reach {owner:?}'s rows"))?;
        let sql = AssertSqlSafe(format!("SELECT id::text FROM {table}"));
        let ids = sqlx::query_scalar(sql).fetch_all(&mut connection).await;
        ids.with_context(|| format!("cannot read {table} of {}", owner.database()))
    }
}

fn count(told: &BTreeSet<String>, rows: &[String]) -> Count {
    let there: BTreeSet<&String> = rows.iter().collect();
    Count {
        told: told.len(),
        missing: told.iter().filter(|id| !there.contains(id)).count(),
        twice: rows.len() - there.len(),
        untold: there.iter().filter(|id| !told.contains(**id)).count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_against_what_was_told() {
        let ids = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let told: BTreeSet<String> = ids("a b c").into_iter().collect();
        assert_eq!(count(&told, &ids("a b c")), Count { told: 3, missing: 0, twice: 0, untold: 0 });
        assert_eq!(count(&told, &ids("a b b x")), Count { told: 3, missing: 1, twice: 1, untold: 1 });
    }
}
