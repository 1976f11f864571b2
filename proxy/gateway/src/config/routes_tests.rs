use layered_config::{Problems, load_str};

use super::super::Config;

const START: &str = "admin.token = \"0123456789abcdef\"\nupstreams.old.address = \"127.0.0.1:1\"\n";

fn load(text: &str) -> Result<Config, Problems> {
    load_str("gateway.toml", &format!("{START}{text}"))
}

/// A route with this line in it.
fn route(line: &str) -> Result<Config, Problems> {
    load(&format!("[[routes]]\nname = \"a\"\nlegacy = \"old\"\n{line}\n"))
}

#[test]
fn each_bad_setting_of_a_route_is_shown_where_it_is_with_its_fix() {
    for (line, place, fix) in [
        ("", "routes[0]", "add `path` or `prefix`"),
        ("path = \"/a\"\nprefix = \"/a\"", "routes[0].prefix", "remove one"),
        ("prefix = \"/a/{*b}\"", "routes[0].prefix", "everything below"),
        ("path = \"/a;b\"", "routes[0].path", "write a path"),
        ("path = \"/a\"\nhosts = [\"a:1\"]", "routes[0].hosts[0]", "*.shop.example"),
        ("path = \"/a\"\nhosts = [\"a\", \"A.\"]", "routes[0].hosts[1]", "remove it"),
        ("path = \"/a\"\nhosts = [\"*\"]", "routes[0].hosts[0]", "for every host, remove"),
        ("path = \"/a\"\nheaders = { \"a b\" = \"c\" }", "routes[0].headers.\"a b\"", "header name"),
        ("path = \"/a\"\nheaders = { host = \"c\" }", "routes[0].headers.host", "`hosts`"),
        ("path = \"/a\"\nheaders = { x = \"a\\nb\" }", "routes[0].headers.x", "visible ASCII"),
        ("path = \"/a\"\nheaders = { x = 1 }", "routes[0].headers.x", ""),
        ("path = \"/a\"\nheaders = { x = { present = false } }", "routes[0].headers.x", ""),
        ("path = \"/a\"\nquery = { x = { suffix = \"a\" } }", "routes[0].query.x", ""),
        ("path = \"/a\"\nquery = { x = { prefix = \"\" } }", "routes[0]", "present = true"),
        ("path = \"/a\"\nkey = \"body:id\"", "routes[0].key", "RFC 6901"),
        ("path = \"/a\"\nkey = \"cookie:\"", "routes[0].key", "cookie:NAME"),
        ("path = \"/a\"\nkey = \"path:id\"", "routes[0].key", "name a parameter"),
        ("path = \"/a\"\nkey_body_limit = \"0\"", "routes[0].key_body_limit", "64 KiB"),
        ("path = \"/a\"\nkey = \"body:/a\"\nbody_limit = \"1 KiB\"", "routes[0].body_limit", "raise"),
        ("path = \"/a\"\ntimeout = \"0s\"", "routes[0].timeout", "write a duration"),
        ("path = \"/a\"\nread_timeout = \"0s\"", "routes[0].read_timeout", "write a duration"),
        ("path = \"/a\"\nrewrite = \"/{id}\"", "routes[0].rewrite", "parameters of `/a`"),
        ("path = \"/a\"\nrequest_headers.set = { Host = \"x\" }", "routes[0].request_headers.set.Host", "of your own"),
        (
            "path = \"/a\"\nrequest_headers.add = { x = \"a\\r\\nb: c\" }",
            "routes[0].request_headers.add.x",
            "line breaks",
        ),
        (
            "path = \"/a\"\nresponse_headers.remove = [\"x-request-id\"]",
            "routes[0].response_headers.remove[0]",
            "of your own",
        ),
    ] {
        let problems = route(line).expect_err(line);
        let shown = problems.summary();
        assert!(shown.starts_with("gateway.toml:") && shown.contains(place) && shown.contains(fix), "{line}\n{shown}");
        assert_eq!(problems.iter().count(), 1, "{line}\n{shown}");
    }
}

#[test]
fn ambiguous_routes_are_shown_at_the_later_one() {
    let routes = "[[routes]]\nname = \"a\"\nprefix = \"/x\"\nheaders = { p = \"1\" }\nlegacy = \"old\"\n\
                  [[routes]]\nname = \"b\"\nprefix = \"/x\"\nheaders = { q = { present = true } }\nlegacy = \"old\"\n\
                  [[routes]]\nname = \"c\"\npath = \"/x/{*all}\"\nheaders = { p = \"1\" }\nlegacy = \"old\"\n";
    let shown = load(routes).expect_err("b and c clash with a").summary();
    // `b` asks for presence only, which is less than `a` asks: those two are ordered.
    assert!(!shown.contains("`b`") && shown.contains("gateway.toml:14:"), "{shown}");
    assert!(shown.contains("`c` takes the same requests as `a`"), "{shown}");
}

#[test]
fn conditions_are_read_in_each_form() {
    let config = route(
        "prefix = \"/a\"\nheaders = { x = \"1\", y = { prefix = \"v\" }, z = { present = true } }\nquery.debug = \"\"",
    );
    let table = config.expect("a good route").route_table();
    let (_, route) = table.iter().next().expect("one route");
    assert_eq!(route.conditions.to_string(), "header `x: 1`, header `y: v…`, header `z`, query `debug: `");
    assert_eq!(route.template.as_str(), "/a/{*rest}");
}
