//! The two servers and the roles that the tool connects as.

use sqlx::PgConnection;

use super::{Report, Severity};
use crate::{finding::Finding, identifier::Identifier};

/// The oldest server that has what the toolkit uses.
const OLDEST: i32 = 140_000;

/// The first one that it was not tried with.
const UNTRIED: i32 = 180_000;

/// What a server says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Server {
    pub(super) version: i32,
    pub(super) shown_version: String,
    pub(super) is_standby: bool,
    pub(super) wal_level: String,
    pub(super) slots: i32,
    pub(super) slots_used: i64,
    pub(super) senders: i32,
    pub(super) senders_used: i64,
    /// `-1` for no limit.
    pub(super) keep: String,
    pub(super) encoding: String,
    pub(super) collation: String,
    pub(super) role: String,
    pub(super) superuser: bool,
    pub(super) replicates: bool,
    pub(super) sees_all_rows: bool,
    pub(super) may_create: bool,
    pub(super) database: String,
}

impl Server {
    pub(super) async fn read(connection: &mut PgConnection) -> sqlx::Result<Self> {
        sqlx::query_as(
            "select current_setting('server_version_num')::int as version, \
                    current_setting('server_version') as shown_version, pg_is_in_recovery() as is_standby, \
                    current_setting('wal_level') as wal_level, \
                    current_setting('max_replication_slots')::int as slots, \
                    (select count(*) from pg_replication_slots) as slots_used, \
                    current_setting('max_wal_senders')::int as senders, \
                    (select count(*) from pg_stat_activity where backend_type = 'walsender') as senders_used, \
                    current_setting('max_slot_wal_keep_size') as keep, \
                    pg_encoding_to_char(d.encoding) as encoding, d.datcollate || ' ' || d.datctype as collation, \
                    current_user::text as role, r.rolsuper as superuser, \
                    r.rolsuper or r.rolreplication as replicates, r.rolsuper or r.rolbypassrls as sees_all_rows, \
                    has_database_privilege(d.oid, 'CREATE') as may_create, d.datname::text as database \
             from pg_database d, pg_roles r where d.datname = current_database() and r.rolname = current_user",
        )
        .fetch_one(connection)
        .await
    }

    fn role(&self) -> String {
        Identifier::new(self.role.clone()).map_or_else(|_| self.role.clone(), |role| role.quoted())
    }

    fn database(&self) -> String {
        Identifier::new(self.database.clone()).map_or_else(|_| self.database.clone(), |name| name.quoted())
    }
}

/// Both servers, alone and against each other.
pub(super) fn check(source: &Server, target: &Server, report: &mut Report) {
    for (at, server, side) in [("source", source, "the monolith's"), ("target", target, "the candidate's")] {
        check_version(at, server, side, report);
        // What goes back after a cutover is decoded in the candidate's database.
        let severity = if at == "source" { Severity::Error } else { Severity::Warning };
        check_decoding(at, server, side, severity, report);
        if !server.may_create {
            report.add(
                if at == "source" { Severity::Warning } else { Severity::Error },
                Finding::new(
                    at,
                    format!("the role {} may not make schemas and publications in {side} database", server.role()),
                    format!("GRANT CREATE ON DATABASE {} TO {}", server.database(), server.role()),
                ),
            );
        }
    }
    if target.version / 10_000 < source.version / 10_000 {
        report.add(
            Severity::Warning,
            Finding::new(
                "target",
                format!("it is PostgreSQL {}, older than the source's {}", target.shown_version, source.shown_version),
                "see that the service needs nothing that came later",
            ),
        );
    }
    if source.encoding != target.encoding {
        report.add(
            Severity::Error,
            Finding::new(
                "target",
                format!(
                    "its encoding is {}, the source's {}: text would not be the same",
                    target.encoding, source.encoding
                ),
                format!("make it anew with ENCODING '{}'", source.encoding),
            ),
        );
    }
    if source.collation != target.collation {
        report.add(
            Severity::Note,
            Finding::new(
                "target",
                format!("text has another order there ({}, in the source {})", target.collation, source.collation),
                "only the order of results changes; comparing takes tables with keys of text whole, not by ranges",
            ),
        );
    }
}

fn check_version(at: &str, server: &Server, side: &str, report: &mut Report) {
    if server.version < OLDEST {
        report.errors([Finding::new(
            at,
            format!("{side} server is PostgreSQL {}, and what is used here came with 14", server.shown_version),
            "upgrade it first",
        )]);
    } else if server.version >= UNTRIED {
        report.add(
            Severity::Warning,
            Finding::new(
                at,
                format!("{side} server is PostgreSQL {}, which this was not tried with", server.shown_version),
                "try it with a copy of the database first",
            ),
        );
    }
    if server.is_standby {
        report.errors([Finding::new(at, format!("{side} server is a standby"), "connect to the primary")]);
    }
}

fn check_decoding(at: &str, server: &Server, side: &str, severity: Severity, report: &mut Report) {
    let purpose = if at == "source" { "to follow its changes" } else { "for the way back after a cutover" };
    let mut say = |message: String, fix: String| {
        report.add(severity, Finding::new(at, format!("{message} ({purpose})"), fix));
    };
    if server.wal_level != "logical" {
        say(
            format!("wal_level of {side} server is {}", server.wal_level),
            "ALTER SYSTEM SET wal_level = 'logical', and restart it".to_owned(),
        );
    }
    if i64::from(server.slots) - server.slots_used < 1 {
        say(
            format!("all {} replication slots of {side} server are taken", server.slots),
            format!("ALTER SYSTEM SET max_replication_slots = {}, and restart it", server.slots + 10),
        );
    }
    if i64::from(server.senders) - server.senders_used < 1 {
        say(
            format!("all {} WAL senders of {side} server are busy", server.senders),
            format!("ALTER SYSTEM SET max_wal_senders = {}, and restart it", server.senders + 10),
        );
    }
    if !server.replicates {
        say(
            format!("the role {} may not replicate", server.role()),
            format!("ALTER ROLE {} REPLICATION", server.role()),
        );
    }
    if server.keep == "-1" {
        report.add(
            Severity::Warning,
            Finding::new(
                at,
                format!("a slot that stalls holds WAL of {side} server until its disk is full"),
                "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB', or what there is room for; SELECT pg_reload_conf()",
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Server {
        Server {
            version: 150_004,
            shown_version: "15.4".to_owned(),
            wal_level: "logical".to_owned(),
            slots: 10,
            senders: 10,
            keep: "10GB".to_owned(),
            encoding: "UTF8".to_owned(),
            collation: "C C".to_owned(),
            role: "tool".to_owned(),
            replicates: true,
            sees_all_rows: true,
            may_create: true,
            database: "shop".to_owned(),
            ..Server::default()
        }
    }

    fn said(source: &Server, target: &Server) -> Vec<String> {
        let mut report = Report::default();
        check(source, target, &mut report);
        report.remarks.iter().map(|remark| format!("{:?} {}", remark.severity, remark.finding)).collect()
    }

    #[test]
    fn a_server_that_is_fit_is_not_spoken_of() {
        assert_eq!(said(&good(), &good()), Vec::<String>::new());
    }

    #[test]
    fn whatever_a_stream_needs_is_an_error_in_the_source_and_a_warning_in_the_target() {
        let bad = Server {
            wal_level: "replica".to_owned(),
            slots_used: 10,
            senders_used: 10,
            keep: "-1".to_owned(),
            replicates: false,
            may_create: false,
            ..good()
        };
        insta::assert_snapshot!(said(&bad, &bad).join("\n"));
    }

    #[test]
    fn servers_that_do_not_go_together_are_named() {
        let old = Server { version: 130_001, shown_version: "13.1".to_owned(), is_standby: true, ..good() };
        let new =
            Server { version: 180_000, shown_version: "18.0".to_owned(), collation: "de de".to_owned(), ..good() };
        let latin = Server { encoding: "LATIN1".to_owned(), ..old };
        insta::assert_snapshot!(said(&new, &latin).join("\n"));
    }
}
