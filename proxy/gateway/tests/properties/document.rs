use gateway::{
    Counts, DocumentText, Policies, Policy, Quota, RolloutDocument, Route, RouteTable, Side, Sides, UpstreamId, Weight,
};

/// Any text is a document or is refused with a line; a document that is edited as the API edits it is a
/// document that says so, and says of everything else what it said before.
pub fn rollout_document(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (table, policies) = (table(), policies());
    let parse = |text: &str| RolloutDocument::parse("rollout.toml", text, (&table, &policies), |_| None);
    let Ok(before) = parse(text) else { return };
    let [invoke, list] = ["invoke", "list"].map(|name| table.by_name(name).expect("there"));
    let mut edited = DocumentText::parse(text).expect("what is a document is TOML");
    let weight = Weight::from_percent(12.5).expect("a good percentage");
    let quota = Quota::new("7/s".parse().expect("a good rate"), Some(9)).expect("a good burst");
    edited.set("invoke", weight, 7);
    edited.set_pin("invoke", "a \"key\"", Side::Candidate);
    edited.set_limit("per-key", quota);
    edited.set_override("per-key", "k\\1", quota);
    let after = parse(&edited.to_string()).unwrap_or_else(|problems| panic!("{}\n{edited}", problems.summary()));
    let entry = after.get(invoke).expect("it was set");
    assert_eq!((entry.weight, entry.epoch), (weight, Some(7)), "{edited}");
    assert_eq!(after.pins(invoke).get("a \"key\""), Some(Side::Candidate), "{edited}");
    let limit = policies.by_name("per-key").expect("there");
    assert_eq!((after.limits().get(limit).quota("k\\1"), after.limits().get(limit).quota("else")), (quota, quota));
    assert_eq!((after.get(list), after.pins(list)), (before.get(list), before.pins(list)), "{edited}");
    for (key, side) in before.pins(invoke).sorted() {
        assert!(key == "a \"key\"" || after.pins(invoke).get(key) == Some(side), "{key} in {edited}");
    }
}

fn table() -> RouteTable {
    let both = Sides::Both { legacy: UpstreamId::new(0), candidate: UpstreamId::new(1), fallback: true };
    let route = |name: &str| Route::new(name, format!("/{name}").parse().expect("a good template"), both);
    RouteTable::new(vec![route("invoke"), route("list")]).expect("two different routes")
}

fn policies() -> Policies {
    let quota = Quota::new("100/s".parse().expect("a good rate"), None).expect("a good burst");
    Policies::new(vec![Policy { name: "per-key".to_owned(), counts: Counts::Key, quota }])
}
