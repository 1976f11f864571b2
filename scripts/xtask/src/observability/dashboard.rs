//! A dashboard's source, and the JSON that Grafana reads.
//!
//! The source is what a person decides: titles, descriptions, units, queries. Places, ids, data sources and the
//! hundred settings that every panel has follow from it. The JSON is that of Grafana 10 and later
//! (`schemaVersion` 39).

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

/// How wide a dashboard is, in Grafana's columns.
const COLUMNS: u32 = 24;
const PANEL_HEIGHT: u32 = 8;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dashboard {
    title: String,
    /// Part of the dashboard's address: links to it last as long as this does.
    uid: String,
    description: String,
    tags: Vec<String>,
    refresh: String,
    from: String,
    #[serde(default)]
    variables: Vec<Variable>,
    #[serde(default)]
    annotations: Vec<Annotation>,
    rows: Vec<Row>,
}

/// A choice at the top of the dashboard: any or all of a label's values.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    name: String,
    label: String,
    query: String,
}

/// A line over every panel where the expression has a value.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Annotation {
    name: String,
    color: String,
    expr: String,
    title: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    title: String,
    panels: Vec<Panel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Panel {
    title: String,
    description: String,
    #[serde(default, rename = "type")]
    kind: Kind,
    /// Grafana's name of it: `s`, `percent`, `percentunit`, `reqps`, `bytes`, `none` for a plain number.
    #[serde(default)]
    unit: String,
    width: u32,
    /// A line at this value.
    threshold: Option<f64>,
    #[serde(default)]
    stacked: bool,
    /// Whether requests that stand for others are shown as points that lead to their traces.
    #[serde(default)]
    exemplars: bool,
    queries: Vec<Query>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Timeseries,
    Stat,
    Logs,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    expr: String,
    #[serde(default)]
    legend: String,
}

impl Dashboard {
    /// The expressions in PromQL; those of logs are in another language.
    pub(super) fn expressions(&self) -> impl Iterator<Item = &str> {
        let panels = self.panels().filter(|panel| panel.kind != Kind::Logs).flat_map(|panel| &panel.queries);
        let variables = self.variables.iter().map(|variable| variable.query.as_str());
        panels
            .map(|query| query.expr.as_str())
            .chain(self.annotations.iter().map(|annotation| annotation.expr.as_str()))
            .chain(variables)
    }

    pub(super) fn panels(&self) -> impl Iterator<Item = &Panel> {
        self.rows.iter().flat_map(|row| &row.panels)
    }

    /// What a person would stumble over.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut titles = BTreeSet::new();
        for panel in self.panels() {
            let mut say = |what: &str| problems.push(format!("`{}`: {what}", panel.title));
            if !titles.insert(&panel.title) {
                say("the title is there twice");
            }
            if panel.description.is_empty() {
                say("it has no description");
            }
            if panel.unit.is_empty() && panel.kind != Kind::Logs {
                say("it has no unit; a plain number has `none`");
            }
            if panel.width == 0 || panel.width > COLUMNS {
                say("its width is not 1 to 24");
            }
            if panel.queries.is_empty() {
                say("it has no query");
            }
        }
        problems
    }

    /// Pretty JSON with a line end, as it is committed.
    pub(super) fn to_grafana(&self) -> String {
        let document = json!({
            "annotations": {"list": self.annotations.iter().map(Annotation::to_grafana).collect::<Vec<_>>()},
            "description": self.description,
            "editable": false,
            "fiscalYearStartMonth": 0,
            "graphTooltip": 1,
            "links": [{
                "asDropdown": true, "icon": "external link", "includeVars": false, "keepTime": true,
                "tags": ["strangler"], "targetBlank": false, "title": "Strangler", "type": "dashboards", "url": "",
            }],
            "panels": self.placed(),
            "refresh": self.refresh,
            "schemaVersion": 39,
            "tags": self.tags,
            "templating": {"list": self.choices()},
            "time": {"from": self.from, "to": "now"},
            "timezone": "browser",
            "title": self.title,
            "uid": self.uid,
            "version": 1,
        });
        let text = serde_json::to_string_pretty(&document).expect("what was just made has only string keys");
        text + "\n"
    }

    fn choices(&self) -> Vec<Value> {
        let source = |kind: &str, label: &str| {
            json!({
                "hide": 0, "includeAll": false, "label": label, "multi": false, "name": kind, "options": [],
                "query": kind, "refresh": 1, "regex": "", "skipUrlSync": false, "type": "datasource",
            })
        };
        let mut choices = vec![source("prometheus", "Metrics")];
        if self.panels().any(|panel| panel.kind == Kind::Logs) {
            choices.push(source("loki", "Logs"));
        }
        choices.extend(self.variables.iter().map(|variable| {
            json!({
                "allValue": ".*", "current": {"selected": true, "text": "All", "value": "$__all"},
                "datasource": data_source(Kind::Timeseries), "definition": variable.query, "hide": 0,
                "includeAll": true, "label": variable.label, "multi": true, "name": variable.name, "options": [],
                "query": {"query": variable.query, "refId": "variable"}, "refresh": 2, "regex": "",
                "skipUrlSync": false, "sort": 1, "type": "query",
            })
        }));
        choices
    }

    /// Panels from left to right, wrapped where a row is full.
    fn placed(&self) -> Vec<Value> {
        let (mut placed, mut id, mut y) = (Vec::new(), 0, 0);
        let mut next = || {
            id += 1;
            id
        };
        for row in &self.rows {
            placed.push(json!({
                "collapsed": false, "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y}, "id": next(), "panels": [],
                "title": row.title, "type": "row",
            }));
            y += 1;
            let mut x = 0;
            for panel in &row.panels {
                if x + panel.width > COLUMNS {
                    (x, y) = (0, y + PANEL_HEIGHT);
                }
                let place = json!({"h": PANEL_HEIGHT, "w": panel.width, "x": x, "y": y});
                placed.push(panel.to_grafana(next(), &place));
                x += panel.width;
            }
            y += PANEL_HEIGHT;
        }
        placed
    }
}

impl Annotation {
    fn to_grafana(&self) -> Value {
        json!({
            "datasource": data_source(Kind::Timeseries), "enable": true, "expr": self.expr, "iconColor": self.color,
            "name": self.name, "step": "15s", "titleFormat": self.title, "useValueForTime": false,
        })
    }
}

impl Panel {
    fn to_grafana(&self, id: u32, place: &Value) -> Value {
        let targets: Vec<Value> =
            self.queries.iter().zip('A'..).map(|(query, name)| self.target(query, name)).collect();
        json!({
            "datasource": data_source(self.kind),
            "description": self.description,
            "fieldConfig": {"defaults": self.field(), "overrides": []},
            "gridPos": place,
            "id": id,
            "options": self.options(),
            "targets": targets,
            "title": self.title,
            "type": match self.kind {
                Kind::Timeseries => "timeseries",
                Kind::Stat => "stat",
                Kind::Logs => "logs",
            },
        })
    }

    fn target(&self, query: &Query, name: char) -> Value {
        let mut target = json!({
            "datasource": data_source(self.kind), "expr": query.expr, "refId": name.to_string(),
        });
        if self.kind != Kind::Logs {
            target["legendFormat"] = json!(query.legend);
            target["exemplar"] = json!(self.exemplars);
            target["instant"] = json!(self.kind == Kind::Stat);
            target["range"] = json!(self.kind != Kind::Stat);
        }
        target
    }

    fn field(&self) -> Value {
        let steps = match self.threshold {
            Some(at) => json!([{"color": "green", "value": null}, {"color": "orange", "value": at}]),
            None => json!([{"color": "green", "value": null}]),
        };
        let mut field = json!({"thresholds": {"mode": "absolute", "steps": steps}, "unit": self.unit});
        if self.kind == Kind::Timeseries {
            field["color"] = json!({"mode": "palette-classic"});
            field["custom"] = json!({
                "axisPlacement": "auto", "drawStyle": "line", "fillOpacity": if self.stacked { 20 } else { 0 },
                "lineWidth": 1, "pointSize": 4, "showPoints": "auto", "spanNulls": false,
                "stacking": {"group": "A", "mode": if self.stacked { "normal" } else { "none" }},
                "thresholdsStyle": {"mode": if self.threshold.is_some() { "dashed" } else { "off" }},
            });
        }
        field
    }

    fn options(&self) -> Value {
        match self.kind {
            Kind::Timeseries => json!({
                "legend": {"calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom", "showLegend": true},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }),
            Kind::Stat => json!({
                "colorMode": "value", "graphMode": "none", "justifyMode": "auto", "orientation": "auto",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false}, "textMode": "auto",
            }),
            Kind::Logs => json!({
                "dedupStrategy": "none", "enableLogDetails": true, "showTime": true, "sortOrder": "Descending",
                "wrapLogMessage": true,
            }),
        }
    }
}

/// The data source that is chosen at the top of the dashboard.
fn data_source(kind: Kind) -> Value {
    match kind {
        Kind::Logs => json!({"type": "loki", "uid": "${loki}"}),
        Kind::Timeseries | Kind::Stat => json!({"type": "prometheus", "uid": "${prometheus}"}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
        title = "T"
        uid = "t"
        description = "d"
        tags = ["strangler"]
        refresh = "10s"
        from = "now-1h"
        [[rows]]
        title = "R"
        [[rows.panels]]
        title = "A"
        description = "a"
        unit = "s"
        width = 16
        queries = [{ expr = "up", legend = "x" }]
        [[rows.panels]]
        title = "B"
        description = ""
        width = 16
        type = "stat"
        queries = [{ expr = "up" }, { expr = "down" }]
    "#;

    #[test]
    fn panels_wrap_and_have_ids_of_their_own() {
        let dashboard: Dashboard = toml::from_str(SOURCE).unwrap();
        let document: Value = serde_json::from_str(&dashboard.to_grafana()).unwrap();
        let places: Vec<[i64; 3]> = document["panels"]
            .as_array()
            .unwrap()
            .iter()
            .map(|panel| ["x", "y", "w"].map(|key| panel["gridPos"][key].as_i64().unwrap()))
            .collect();
        assert_eq!(places, [[0, 0, 24], [0, 1, 16], [0, 9, 16]]);
        let ids: BTreeSet<i64> =
            document["panels"].as_array().unwrap().iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
        assert_eq!(ids.len(), 3);
        assert_eq!(document["panels"][2]["targets"][1]["refId"], "B");
    }

    #[test]
    fn what_a_panel_lacks_is_named() {
        let dashboard: Dashboard = toml::from_str(SOURCE).unwrap();
        assert_eq!(
            dashboard.problems(),
            ["`B`: it has no description", "`B`: it has no unit; a plain number has `none`"]
        );
    }
}
