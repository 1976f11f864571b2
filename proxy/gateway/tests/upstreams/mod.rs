//! What upstreams do to the gateway, and the gateway to them.

mod capacity;
mod circuits;
mod protocols;
mod recall;
mod retries;
mod settings;

use crate::harness::{Gateway, Instance, TOKEN};

/// The addresses of instances, as a setting.
fn addresses<'a>(instances: impl IntoIterator<Item = &'a Instance>) -> String {
    let quoted: Vec<String> = instances.into_iter().map(|instance| format!("\"{}\"", instance.address)).collect();
    format!("addresses = [{}]", quoted.join(", "))
}

/// A gateway with one route, `/f/{key}`, whose sides have these settings, at 100 %.
fn start(legacy: &Instance, candidate: &str, route: &str) -> Gateway {
    let config = format!(
        r#"
[http]
bind = "127.0.0.1:0"
[admin]
bind = "127.0.0.1:0"
token = "{TOKEN}"
[rollout]
file = "live/rollout.toml"
[access_log]
destination = "file"
file = "access.log"
[upstreams.legacy]
address = "{}"
health_interval = "50ms"
[upstreams.candidate]
health_interval = "50ms"
{candidate}
[[routes]]
name = "invoke"
path = "/f/{{id}}"
key = "path:id"
legacy = "legacy"
candidate = "candidate"
{route}
"#,
        legacy.address
    );
    Gateway::start(&config, "[routes.invoke]\npercent = 100\n")
}

/// The value of the first series that begins like this; of the candidate's when only a name is given.
async fn metric(gateway: &Gateway, series: &str) -> i64 {
    let wanted = if series.contains('{') { series.to_owned() } else { format!("{series}{{upstream=\"candidate\"}}") };
    let metrics = gateway.metrics().await;
    let line = metrics.lines().find(|line| line.starts_with(&wanted));
    line.unwrap_or_else(|| panic!("no {wanted} in\n{metrics}")).rsplit(' ').next().unwrap().parse().unwrap()
}
