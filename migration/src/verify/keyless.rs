//! Tables without a key: nothing says which rows belong together, so the rows of each kind are counted.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgConnection};
use tokio::time::sleep;

use super::{
    Difference, Kind, Settings,
    digest::{Digest, Side},
    scan::Pair,
};

/// The most kinds of rows that are held of one side.
const HELD_KINDS: i64 = 1_000_000;

/// How often a kind of row is there, on both sides.
type Counts = BTreeMap<i64, (i64, i64)>;

/// The kinds of rows that are not as often there on both sides, in the buckets that differ. Rows on
/// their way are other ones at each look.
pub(super) async fn compare(
    pair: &mut Pair,
    digest: &Digest<'_>,
    mask: i64,
    buckets: &[i32],
    settings: &Settings,
) -> sqlx::Result<Vec<Difference>> {
    let mut stays: Option<Counts> = None;
    for look in 0..=settings.looks {
        if look > 0 {
            sleep(settings.pause).await;
        }
        let counts = differing(pair, digest, mask, buckets).await?;
        let kept = match stays {
            None => counts,
            Some(before) => before.into_iter().filter(|(kind, count)| counts.get(kind) == Some(count)).collect(),
        };
        if kept.is_empty() {
            return Ok(Vec::new());
        }
        stays = Some(kept);
    }
    let mut found = Vec::new();
    for (kind, (there, here)) in stays.unwrap_or_default() {
        if found.len() > settings.max_differences {
            break;
        }
        let (side, more, less) = if there > here { (Side::Source, there, here) } else { (Side::Target, here, there) };
        let row: Option<String> =
            sqlx::query_scalar(AssertSqlSafe(digest.shown(side))).bind(kind).fetch_optional(pair.side(side)).await?;
        found.push(Difference {
            table: digest.table.target.to_string(),
            key: format!("{} ({less} of {more})", row.unwrap_or_default()),
            kind: if side == Side::Source { Kind::Missing } else { Kind::Extra },
        });
    }
    Ok(found)
}

async fn differing(pair: &mut Pair, digest: &Digest<'_>, mask: i64, buckets: &[i32]) -> sqlx::Result<Counts> {
    let (there, here) = (digest.of_kinds(Side::Source, mask), digest.of_kinds(Side::Target, mask));
    let (there, here) =
        tokio::try_join!(kinds(&mut pair.source, there, buckets), kinds(&mut pair.target, here, buckets))?;
    let mut counts = Counts::new();
    for (kind, count) in there {
        counts.entry(kind).or_default().0 = count;
    }
    for (kind, count) in here {
        counts.entry(kind).or_default().1 = count;
    }
    counts.retain(|_, (there, here)| there != here);
    Ok(counts)
}

async fn kinds(connection: &mut PgConnection, sql: String, buckets: &[i32]) -> sqlx::Result<Vec<(i64, i64)>> {
    sqlx::query_as(AssertSqlSafe(sql)).bind(buckets).bind(HELD_KINDS).fetch_all(connection).await
}
