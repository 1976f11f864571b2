//! Names that would be something else if anything but the identifier module quoted them.

use migration::Identifier;

use crate::database::{Database, mapping};

const NAMES: [&str; 16] = [
    "x\"; drop table bystander; --",
    "'; drop table bystander; --",
    "$body$; drop table bystander; $body$",
    "with space",
    "semi;colon",
    "select",
    "user",
    "new",
    "old",
    "found",
    "base",
    "candidate",
    "UPPER",
    "Ünïcødé 🦀",
    "back\\slash",
    "percent %I %s",
];

#[tokio::test]
async fn every_legal_name_is_only_a_name() {
    let longest = "l".repeat(63);
    for name in NAMES.into_iter().chain([longest.as_str()]) {
        let sql = Identifier::new(name).expect("a legal name").quoted();
        let database = Database::with(&format!(
            "create table bystander (id int); create schema {sql}; \
             create table {sql}.{sql} (id text primary key, {sql} text default 'd', other timestamp)"
        ))
        .await;
        let toml = format!("{name:?}").replace("\\'", "'");
        let mapping = mapping(&format!(
            "[source]\nschema = {toml}\n[targets.{toml}]\nschema = \"views\"\n[targets.{toml}.tables.{toml}.columns]\n\
             id = {{ type = \"uuid\" }}\nother = {{ type = \"timestamptz\" }}\n"
        ));
        database.provide(&mapping).await;
        assert_eq!(database.planned(&mapping).await, Vec::<String>::new(), "{name}");
        let id = "018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e2f";
        database.run(&format!("insert into views.{sql} (id) values ('{id}')")).await;
        database.run(&format!("update views.{sql} set {sql} = {sql} || '!' where id = '{id}'")).await;
        assert_eq!(database.text(&format!("select {sql} from {sql}.{sql}")).await, "d!", "{name}");
        database.run(&format!("delete from views.{sql}")).await;
        assert_eq!(database.count(&format!("select count(*) from {sql}.{sql}")).await, 0, "{name}");
        assert_eq!(database.count("select count(*) from bystander").await, 0, "it is still there after {name}");
    }
}

#[tokio::test]
async fn a_name_postgres_would_cut_is_refused_at_its_line() {
    let text = format!("[targets.t]\nschema = \"{}\"\n[targets.t.tables.a]\n", "l".repeat(64));
    let problems = migration::Mapping::from_toml("mapping.toml", &text).expect_err("it is too long").to_string();
    assert!(problems.contains("at most 63 bytes") && problems.contains("mapping.toml:2"), "{problems}");
}
