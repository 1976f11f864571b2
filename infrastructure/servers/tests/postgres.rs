use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use local_servers::{PortChoice, Postgres, PostgresError, PostgresOptions, Signal, Stopped};
use sqlx::{Connection, PgConnection};

fn folder_of_mode(mode: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::set_permissions(folder.path(), Permissions::from_mode(mode)).expect("our own folder");
    folder
}

/// A folder that a server's account can reach even when the tests run as root.
fn reachable_folder() -> tempfile::TempDir {
    folder_of_mode(0o711)
}

fn quick(folder: &Path) -> PostgresOptions {
    PostgresOptions { durable: false, ..PostgresOptions::new(folder.join("postgres")) }
}

async fn connect(server: &Postgres) -> PgConnection {
    PgConnection::connect(&server.url("things")).await.expect("the server accepts its own password")
}

async fn rows(server: &Postgres) -> i64 {
    let mut connection = connect(server).await;
    sqlx::query_scalar("SELECT count(*) FROM thing").fetch_one(&mut connection).await.expect("a count")
}

#[tokio::test]
async fn data_outlives_a_stop_and_a_kill() {
    let folder = reachable_folder();
    let server = Postgres::start(&quick(folder.path())).await.expect("a first start");
    server.ensure_database("things").await.expect("a database");
    server.ensure_database("things").await.expect("the same database again");
    let mut connection = connect(&server).await;
    let logical: String = sqlx::query_scalar("SHOW wal_level").fetch_one(&mut connection).await.expect("a setting");
    assert_eq!(logical, "logical");
    sqlx::raw_sql("CREATE TABLE thing (id int); INSERT INTO thing VALUES (1)")
        .execute(&mut connection)
        .await
        .expect("a row");
    drop(connection);
    assert!(matches!(server.stop(Duration::from_secs(30)).await, Stopped::InTime(status) if status.success()));

    let port = server.port();
    let again = PostgresOptions { port: PortChoice::Prefer(port), ..quick(folder.path()) };
    let server = Postgres::start(&again).await.expect("a second start");
    assert_eq!((server.port(), rows(&server).await), (port, 1));
    server.child().signal(Signal::SIGKILL).expect("our own child");
    server.child().exited().await;

    assert!(folder.path().join("postgres/cluster/postmaster.pid").exists(), "a kill leaves the pid file behind");
    let server = Postgres::start(&again).await.expect("a start after a kill");
    assert_eq!(rows(&server).await, 1);
    server.stop(Duration::from_secs(30)).await;
}

/// A session that is at work outlives its killed server, and may still write the log that the next one reads.
#[tokio::test]
async fn no_session_of_a_killed_server_is_left_when_the_next_one_starts() {
    let folder = reachable_folder();
    let server = Postgres::start(&quick(folder.path())).await.expect("a first start");
    server.ensure_database("things").await.expect("a database");
    let mut connection = connect(&server).await;
    let session: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await.expect("a pid");
    let at_work =
        tokio::spawn(async move { sqlx::raw_sql("DO 'BEGIN LOOP END LOOP; END'").execute(&mut connection).await });
    let is_there = || std::fs::read_link(format!("/proc/{session}/cwd")).is_ok();
    let mut other = connect(&server).await;
    let works = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND state = 'active' AND query LIKE 'DO%'";
    while sqlx::query_scalar::<_, i64>(works).bind(session).fetch_one(&mut other).await.expect("a count") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.child().signal(Signal::SIGKILL).expect("our own child");
    server.child().exited().await;
    assert!(is_there(), "it does not look whether its server is there");

    let again = Postgres::start(&quick(folder.path())).await.expect("a start after a kill");
    assert!(!is_there(), "two servers on one folder");
    at_work.await.expect("it does not panic").expect_err("its session has ended");
    again.stop(Duration::from_secs(30)).await;
}

#[tokio::test]
async fn lock_files_that_name_another_program_are_cleared() {
    let folder = reachable_folder();
    let server = Postgres::start(&quick(folder.path())).await.expect("a first start");
    server.stop(Duration::from_secs(30)).await;
    let pid_file = folder.path().join("postgres/cluster/postmaster.pid");
    // This very process: alive, and not a PostgreSQL in that folder.
    std::fs::write(&pid_file, format!("{}\n", std::process::id())).expect("a pid file");
    let socket_lock = folder.path().join(format!("postgres/run/.s.PGSQL.{}.lock", server.port()));
    std::fs::write(&socket_lock, format!("{}\n", std::process::id())).expect("a lock file");
    let again = PostgresOptions { port: PortChoice::Prefer(server.port()), ..quick(folder.path()) };
    let server = Postgres::start(&again).await.expect("a start over stale lock files");
    server.stop(Duration::from_secs(30)).await;
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let folder = reachable_folder();
    let server = Postgres::start(&quick(folder.path())).await.expect("a start");
    let port = server.port();
    let refused = PgConnection::connect(&format!("postgres://postgres:guess@127.0.0.1:{port}/postgres")).await;
    assert!(refused.is_err(), "the password is checked on loopback too");
    server.stop(Duration::from_secs(30)).await;
}

#[tokio::test]
async fn root_is_told_which_folder_is_closed_to_the_server() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root runs the server as another account");
        return;
    }
    let closed = folder_of_mode(0o700);
    let error = Postgres::start(&quick(closed.path())).await.expect_err("the account cannot get there");
    assert!(matches!(&error, PostgresError::Unreachable { closed: named, .. } if named == closed.path()), "{error}");
    assert!(error.to_string().contains("chmod o+x"), "{error}");
}
