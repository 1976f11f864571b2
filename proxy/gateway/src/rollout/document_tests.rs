use proptest::prelude::*;

use super::*;
use crate::decision::Side;
use crate::limit::{Counts, Policies, Policy, Quota};
use crate::route_table::{Route, RouteId, RouteTable, Sides, UpstreamId};

fn table() -> RouteTable {
    let route = |name: &str, sides| Route::new(name, format!("/{name}").parse().expect("a good template"), sides);
    let both = Sides::Both { legacy: UpstreamId(0), candidate: UpstreamId(1), fallback: true };
    RouteTable::new(vec![route("invoke", both), route("list", both), route("old", Sides::Legacy(UpstreamId(0)))])
        .expect("three different routes")
}

fn policies() -> Policies {
    let policy = |name: &str| Policy { name: name.to_owned(), counts: Counts::Key, quota: quota("100/s", 20) };
    Policies::new(vec![policy("per-client"), policy("per-function")])
}

fn quota(rate: &str, burst: u32) -> Quota {
    Quota::new(rate.parse().expect("a good rate"), Some(burst)).expect("a good burst")
}

fn parse(text: &str) -> Result<RolloutDocument, String> {
    RolloutDocument::parse("rollout.toml", text, (&table(), &policies()), |_| Some(5))
        .map_err(|problems| problems.summary())
}

fn weight(percent: f64) -> Weight {
    Weight::from_percent(percent).expect("a good percentage")
}

#[test]
fn a_document_says_what_it_says() {
    let document = parse("[routes.invoke]\npercent = 12.5\nepoch = 7\n[routes.list]\npercent = 100\n").expect("valid");
    assert_eq!(document.get(RouteId(0)), Some(Entry { weight: weight(12.5), epoch: Some(7), shadow: Weight::NONE }));
    assert_eq!(document.get(RouteId(1)), Some(Entry { weight: Weight::ALL, epoch: None, shadow: Weight::NONE }));
    assert_eq!(document.get(RouteId(2)), None);
    let empty = parse("").expect("valid");
    assert_eq!((empty.get(RouteId(0)), empty.pins(RouteId(0)).len()), (None, 0));
}

#[test]
fn a_document_pins_keys_and_sets_limits() {
    let text = "[routes.invoke]\npercent = 1\n[routes.invoke.pins]\n\"Fn-1.a\" = \"candidate\"\nb = \"legacy\"\n\
                [limits.per-function]\nrate = \"600/min\"\n\
                [limits.per-function.overrides]\n\"Fn-1.a\" = { rate = \"500/s\", burst = 50 }\n\
                [limits.per-client]\nburst = 7\n";
    let document = parse(text).expect("valid");
    let pins = document.pins(RouteId(0));
    assert_eq!(pins.sorted(), [("Fn-1.a", Side::Candidate), ("b", Side::Legacy)]);
    assert_eq!((pins.get("b"), pins.get("c")), (Some(Side::Legacy), None));
    assert_eq!(pins.after_rollback().sorted(), [("b", Side::Legacy)]);
    let limits = document.limits();
    let [per_client, per_function] =
        ["per-client", "per-function"].map(|name| policies().by_name(name).expect("there"));
    assert_eq!(limits.get(per_client).quota("Fn-1.a"), quota("100/s", 7), "a burst alone leaves the configured rate");
    assert_eq!(limits.get(per_function).quota("b"), quota("600/min", 10), "a rate alone brings its own burst");
    assert_eq!(limits.get(per_function).quota("Fn-1.a"), quota("500/s", 50));
    let untouched = parse("").expect("valid").limits();
    assert_eq!(untouched.get(per_function).quota("Fn-1.a"), quota("100/s", 20));
}

#[test]
fn a_rollback_voids_pins_to_the_candidate_in_state_and_text_alike() {
    let text = "[routes.invoke]\npercent = 50\nepoch = 5\n\n[routes.invoke.pins]\n# keeps\na = \"legacy\"\n\
                # goes\nb = \"candidate\"\n\n[routes.list]\npercent = 1\npins = { c = \"candidate\" }\n";
    let initial = Snapshot::initial(&table(), &policies());
    let before = initial.with_document(&parse(text).expect("valid"), &Default::default(), |_| true);
    let after = before.rolled_back(&[RouteId(0)]);
    assert_eq!(after.pins(RouteId(0)).sorted(), [("a", Side::Legacy)]);
    assert_eq!(after.pins(RouteId(1)).sorted(), [("c", Side::Candidate)], "another route keeps its pins");

    let mut document = DocumentText::parse(text).expect("valid TOML");
    document.set("invoke", Weight::NONE, 6);
    assert!(document.void_candidate_pins("invoke") && !document.void_candidate_pins("invoke"));
    assert!(!document.void_candidate_pins("nowhere"));
    let edited = document.to_string();
    assert_eq!(
        after,
        before.rolled_back(&[RouteId(0)]).with_document(&parse(&edited).expect("valid"), &Default::default(), |_| true)
    );
    assert!(edited.contains("# keeps\na = \"legacy\"\n") && !edited.contains("b ="), "{edited}");
    assert!(document.void_candidate_pins("list"), "also in an inline table");
}

#[test]
fn every_problem_names_its_line_and_its_fix() {
    for (text, expected) in [
        ("[routes.invoke]\npercent = 101", "rollout.toml:2:11: `routes.invoke.percent`"),
        ("[routes.invoke]\npercent = -1", "a share is from 0 to 100 percent"),
        ("[routes.invoke]\npercent = 0.005", "at most two decimals"),
        ("[routes.invoke]\npercent = nan", "a share is from 0 to 100 percent"),
        ("[routes.invoke]\n", "required and not set"),
        ("[routes.invoke]\npercent = \"a lot\"", "rollout.toml:2:11"),
        ("[routes.invoke]\npercent = 1\nspeed = 2", "rollout.toml:3:1"),
        ("\n\n[routes.invok]\npercent = 1", "routes that can move: invoke, list"),
        ("[routes.old]\npercent = 1", "one side only"),
        ("[routes.invoke]\npercent = 1\nepoch = 4", "it predates a rollback"),
        ("[routes.invoke]\npercent = 1\nepoch = -1", "rollout.toml:3:9"),
        ("[routes.invoke]\npercent = 1\npins.a = \"both\"", "rollout.toml:3:10"),
        ("[routes.invoke]\npercent = 1\n[routes.invoke.pins]\n\"\" = \"legacy\"", "rollout.toml:4:"),
        ("[limits.per-functio]\nrate = \"1/s\"", "policies: per-client, per-function"),
        ("[limits.per-client]\nrate = \"1/m\"", "rollout.toml:2:8: `limits.per-client.rate`"),
        ("[limits.per-client]\nrate = \"0/s\"", "from 1 to 1000000 requests"),
        ("[limits.per-client]\nburst = 0", "rollout.toml:2:9"),
        ("[limits.per-client.overrides]\na = { rate = \"1/s\", burst = 0 }", "rollout.toml:2:"),
        ("[limits.per-client.overrides]\na = { burst = 1 }", "`limits.per-client.overrides.a.rate`"),
        ("[limits.per-client.overrides]\na = 5", "rollout.toml:2:5"),
        ("[routes.invoke\npercent = 1", "rollout.toml:1:"),
    ] {
        let problems = parse(text).expect_err(text);
        assert!(problems.contains(expected), "{text:?} gave {problems}");
    }
    let both = parse("[routes.invoke]\npercent = 101\n[routes.lost]\npercent = 1").expect_err("two problems");
    assert!(both.contains("101") && both.contains("lost"), "{both}");
}

#[test]
fn an_edit_keeps_what_a_person_wrote() {
    let text = "# owned by team blue\n\n[routes.list]   # later\npercent = 0\n\n[routes.invoke]\npercent = 10        \
                # since Monday\nepoch = 3           # bumped by a rollback\n# the end\n";
    let mut document = DocumentText::parse(text).expect("valid TOML");
    document.set("invoke", weight(12.5), 4);
    let expected = text.replace("percent = 10  ", "percent = 12.5  ").replace("epoch = 3", "epoch = 4");
    assert_eq!(document.to_string(), expected);
}

#[test]
fn an_edit_makes_what_is_missing() {
    for (text, expected) in [
        ("", "[routes.invoke]\npercent = 10\nepoch = 1\n"),
        (
            "# mine\n[routes.list]\npercent = 5\n",
            "# mine\n[routes.list]\npercent = 5\n\n[routes.invoke]\npercent = 10\nepoch = 1\n",
        ),
        ("routes.invoke.percent = 5\n", "routes.invoke.percent = 10\nroutes.invoke.epoch = 1\n"),
        ("routes = { invoke = { percent = 5 } }\n", "routes = { invoke = { percent = 10 , epoch = 1 } }\n"),
    ] {
        let mut document = DocumentText::parse(text).expect("valid TOML");
        document.set("invoke", weight(10.0), 1);
        let edited = document.to_string();
        let read = parse(&edited.replace("epoch = 1", "epoch = 5")).expect("an edit leaves it valid");
        assert_eq!(read.get(RouteId(0)).map(|entry| entry.weight), Some(weight(10.0)), "{edited}");
        assert_eq!(edited, expected);
    }
}

#[test]
fn pins_and_overrides_have_a_bound() {
    let pins: String = (0..=MAX_PINS).map(|key| format!("k{key} = \"legacy\"\n")).collect();
    let problems = parse(&format!("[routes.invoke]\npercent = 1\n[routes.invoke.pins]\n{pins}")).expect_err("too many");
    assert!(problems.contains("rollout.toml:3:") && problems.contains("10001 entries"), "{problems}");
    let long = "k".repeat(MAX_KEY_BYTES + 1);
    let problems = parse(&format!("[limits.per-client.overrides]\n{long} = {{ rate = \"1/s\" }}\n")).expect_err("long");
    assert!(problems.contains("write 1 to 1024 bytes"), "{problems}");
}

#[test]
fn edits_of_pins_and_limits_keep_what_a_person_wrote() {
    type Edit = fn(&mut DocumentText);
    let cases: [(&str, Edit, &str); 11] = [
        (
            "",
            |d| d.set_pin("invoke", "a b", Side::Candidate),
            "[routes.invoke]\npercent = 0\n\n[routes.invoke.pins]\n\"a b\" = \"candidate\"\n",
        ),
        (
            "[routes.invoke] # hot\npercent = 5 # Monday\n\n[routes.list]\npercent = 1\n",
            |d| d.set_pin("invoke", "a", Side::Legacy),
            "[routes.invoke] # hot\npercent = 5 # Monday\n\n[routes.invoke.pins]\na = \"legacy\"\n\n[routes.list]\npercent = 1\n",
        ),
        (
            "[routes.invoke]\npercent = 5\npins = { a = \"legacy\" } # one\n",
            |d| d.set_pin("invoke", "b", Side::Candidate),
            "[routes.invoke]\npercent = 5\npins = { a = \"legacy\" , b = \"candidate\" } # one\n",
        ),
        (
            "[routes.invoke]\npercent = 5\n[routes.invoke.pins]\na   = \"legacy\" # why\n",
            |d| d.set_pin("invoke", "a", Side::Candidate),
            "[routes.invoke]\npercent = 5\n[routes.invoke.pins]\na   = \"candidate\" # why\n",
        ),
        (
            "[routes.invoke]\npercent = 5\n[routes.invoke.pins]\na = \"legacy\"\nb = \"legacy\" # stays\n",
            |d| assert!(d.remove_pin("invoke", "a") && !d.remove_pin("invoke", "a") && !d.remove_pin("list", "a")),
            "[routes.invoke]\npercent = 5\n[routes.invoke.pins]\nb = \"legacy\" # stays\n",
        ),
        (
            "# mine",
            |d| d.set_limit("per-client", quota("5/min", 2)),
            "# mine\n[limits.per-client]\nrate = \"5/min\"\nburst = 2\n",
        ),
        (
            "[limits.per-client]\nrate = \"1/s\" # low\n",
            |d| d.set_limit("per-client", quota("9/s", 3)),
            "[limits.per-client]\nrate = \"9/s\" # low\nburst = 3\n",
        ),
        (
            "",
            |d| d.set_override("per-client", "1.2.3.4", quota("9/s", 3)),
            "[limits.per-client.overrides]\n\"1.2.3.4\" = { rate = \"9/s\", burst = 3 }\n",
        ),
        (
            "[limits.per-client.overrides.a]\nrate = \"1/s\" # low\n",
            |d| d.set_override("per-client", "a", quota("9/s", 3)),
            "[limits.per-client.overrides.a]\nrate = \"9/s\" # low\nburst = 3\n",
        ),
        (
            "[limits.per-client]\nrate = \"1/s\"\n[limits.per-client.overrides]\na = { rate = \"1/s\" }\nb = { rate = \"2/s\" }\n",
            |d| assert!(d.remove_override("per-client", "a") && !d.remove_override("per-client", "a")),
            "[limits.per-client]\nrate = \"1/s\"\n[limits.per-client.overrides]\nb = { rate = \"2/s\" }\n",
        ),
        (
            "[limits.per-client]\nrate = \"1/s\"\nburst = 1\noverrides.a = { rate = \"2/s\" }\n",
            |d| assert!(d.remove_limit("per-client") && !d.remove_limit("per-client") && !d.remove_limit("x")),
            "[limits.per-client]\noverrides.a = { rate = \"2/s\" }\n",
        ),
    ];
    for (text, change, expected) in cases {
        let mut document = DocumentText::parse(text).expect("valid TOML");
        change(&mut document);
        assert_eq!(document.to_string(), expected);
        parse(expected).expect("an edit leaves it valid");
    }
}

proptest! {
    #[test]
    fn what_is_set_is_read_back(
        edits in prop::collection::vec((prop::bool::ANY, 0..=10_000_u16, 5..1_000_u64), 1..12),
        comment in "[ -~]{0,40}",
    ) {
        let start = format!("# {comment}\n[routes.invoke] # {comment}\npercent = 1 # {comment}\n");
        let mut text = start;
        let mut expected = std::collections::BTreeMap::new();
        for (first, points, epoch) in edits {
            let (id, name) = if first { (RouteId(0), "invoke") } else { (RouteId(1), "list") };
            let weight = weight(f64::from(points) / 100.0);
            let mut document = DocumentText::parse(&text).expect("valid before the edit");
            document.set(name, weight, epoch);
            text = document.to_string();
            expected.insert(id, Entry { weight, epoch: Some(epoch), shadow: Weight::NONE });
        }
        let document = parse(&text).expect("valid after every edit");
        for (id, entry) in expected {
            prop_assert_eq!(document.get(id), Some(entry));
        }
        prop_assert_eq!(text.matches(&format!("# {comment}")).count() % 3, 0, "{}", text);
    }
}
