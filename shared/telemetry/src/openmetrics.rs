//! Metrics as OpenMetrics 1.0 writes them, which unlike Prometheus' own text has exemplars.
//!
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>

use std::fmt::Write as _;

use prometheus::proto::{Histogram, LabelPair, Metric, MetricFamily, MetricType};

use crate::exemplars::{self, Exemplars};

/// Content type of [`render`]'s text.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// These families, with the exemplars that their series have.
pub(crate) fn render(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    for family in families {
        match family.get_field_type() {
            MetricType::COUNTER => counters(&mut text, family),
            MetricType::GAUGE => gauges(&mut text, family),
            MetricType::HISTOGRAM => histograms(&mut text, family),
            // The library has no metrics of these types.
            MetricType::SUMMARY | MetricType::UNTYPED => {}
        }
    }
    text + "# EOF\n"
}

fn head(text: &mut String, name: &str, sort: &str, help: &str) {
    let _ = writeln!(text, "# TYPE {name} {sort}\n# HELP {name} {}", Escaped(help));
}

/// A counter's family is named without the `_total` that its samples end with.
fn counters(text: &mut String, family: &MetricFamily) {
    let name = family.name().strip_suffix("_total").unwrap_or(family.name());
    head(text, name, "counter", family.help());
    for metric in family.get_metric() {
        sample(text, (name, "_total"), metric, None, metric.get_counter().get_value());
        if let Some(exemplar) = found(family, metric).and_then(|exemplars| exemplars.get(0)) {
            exemplar.write(text);
        }
        text.push('\n');
    }
}

fn gauges(text: &mut String, family: &MetricFamily) {
    head(text, family.name(), "gauge", family.help());
    for metric in family.get_metric() {
        sample(text, (family.name(), ""), metric, None, metric.get_gauge().get_value());
        text.push('\n');
    }
}

fn histograms(text: &mut String, family: &MetricFamily) {
    head(text, family.name(), "histogram", family.help());
    for metric in family.get_metric() {
        let (histogram, exemplars) = (metric.get_histogram(), found(family, metric));
        for (place, (bound, count)) in buckets(histogram).enumerate() {
            sample(text, (family.name(), "_bucket"), metric, Some(&bound), count as f64);
            if let Some(exemplar) = exemplars.as_ref().and_then(|exemplars| exemplars.get(place)) {
                exemplar.write(text);
            }
            text.push('\n');
        }
        for (suffix, value) in [("_count", histogram.get_sample_count() as f64), ("_sum", histogram.get_sample_sum())] {
            sample(text, (family.name(), suffix), metric, None, value);
            text.push('\n');
        }
    }
}

/// Where each bucket ends, and how many are in it or in one before. The last has no end.
fn buckets(histogram: &Histogram) -> impl Iterator<Item = (String, u64)> {
    let finite = histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite());
    // In `Debug` a whole number has a point too, as OpenMetrics wants it of `le`.
    let finite = finite.map(|bucket| (format!("{:?}", bucket.upper_bound()), bucket.cumulative_count()));
    finite.chain([("+Inf".to_owned(), histogram.get_sample_count())])
}

fn found(family: &MetricFamily, metric: &Metric) -> Option<std::sync::Arc<Exemplars>> {
    let labels = metric.get_label().iter().map(|label| (label.name(), label.value()));
    exemplars::find(family.name(), labels)
}

/// Name, labels and value; what may follow and the end of the line are the caller's.
fn sample(text: &mut String, (name, suffix): (&str, &str), metric: &Metric, le: Option<&str>, value: f64) {
    let _ = write!(text, "{name}{suffix}");
    let labels = metric.get_label().iter().map(|label: &LabelPair| (label.name(), label.value()));
    for (index, (name, value)) in labels.chain(le.map(|le| ("le", le))).enumerate() {
        let before = if index == 0 { '{' } else { ',' };
        let _ = write!(text, "{before}{name}=\"{}\"", Escaped(value));
    }
    if le.is_some() || !metric.get_label().is_empty() {
        text.push('}');
    }
    let _ = match value {
        _ if value.is_nan() => write!(text, " NaN"),
        f64::INFINITY => write!(text, " +Inf"),
        f64::NEG_INFINITY => write!(text, " -Inf"),
        _ => write!(text, " {value}"),
    };
}

/// Text within quotes or at the end of a line.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, core::Collector};

    use super::*;
    use crate::TraceContext;

    /// Everything that has a rule of its own: labels that need escaping, an infinite value, whole bounds,
    /// exemplars of a counter, of a bucket and of the last one.
    fn rendered() -> (String, TraceContext) {
        let trace = TraceContext::generate();
        let answers = IntCounterVec::new(Opts::new("test_answers_total", "Answers, \"by\" kind."), &["kind"]);
        let heat = GaugeVec::new(Opts::new("test_heat", "Two\nlines."), &["place"]);
        let options = HistogramOpts::new("test_wait_seconds", "Waits.").buckets(vec![0.5, 1.0]);
        let waits = HistogramVec::new(options, &["side"]);
        let (answers, heat, waits) = (answers.unwrap(), heat.unwrap(), waits.unwrap());
        answers.with_label_values(&["bad"]).inc_by(3);
        answers.with_label_values(&["a\\b\"c\n"]).inc();
        heat.with_label_values(&["in"]).set(f64::INFINITY);
        heat.with_label_values(&["out"]).set(-1.5);
        Exemplars::of_counter("test_answers_total", &[("kind", "bad")]).note(1.0, trace);
        let slow = Exemplars::of_histogram("test_wait_seconds", &[("side", "old")], &[0.5, 1.0]);
        for wait in [0.7, 3.0] {
            waits.with_label_values(&["old"]).observe(wait);
            slow.note(wait, trace);
        }
        let registry = Registry::new();
        let collectors: [Box<dyn Collector>; 3] = [Box::new(answers), Box::new(heat), Box::new(waits)];
        for collector in collectors {
            registry.register(collector).unwrap();
        }
        (render(&registry.gather()), trace)
    }

    #[test]
    fn it_is_as_the_specification_writes_it() {
        let (text, trace) = rendered();
        let exemplar = |value: &str| format!(" # {{trace_id=\"{}\"}} {value} TIME", trace.trace_id());
        let text: String = text
            .lines()
            .map(|line| match line.split_once(" # {") {
                Some((_, exemplar)) => line.replace(exemplar.rsplit(' ').next().unwrap(), "TIME") + "\n",
                None => format!("{line}\n"),
            })
            .collect();
        let expected = [
            "# TYPE test_answers counter".to_owned(),
            "# HELP test_answers Answers, \\\"by\\\" kind.".to_owned(),
            "test_answers_total{kind=\"a\\\\b\\\"c\\n\"} 1".to_owned(),
            "test_answers_total{kind=\"bad\"} 3".to_owned() + &exemplar("1"),
            "# TYPE test_heat gauge".to_owned(),
            "# HELP test_heat Two\\nlines.".to_owned(),
            "test_heat{place=\"in\"} +Inf".to_owned(),
            "test_heat{place=\"out\"} -1.5".to_owned(),
            "# TYPE test_wait_seconds histogram".to_owned(),
            "# HELP test_wait_seconds Waits.".to_owned(),
            "test_wait_seconds_bucket{side=\"old\",le=\"0.5\"} 0".to_owned(),
            "test_wait_seconds_bucket{side=\"old\",le=\"1.0\"} 1".to_owned() + &exemplar("0.7"),
            "test_wait_seconds_bucket{side=\"old\",le=\"+Inf\"} 2".to_owned() + &exemplar("3"),
            "test_wait_seconds_count{side=\"old\"} 2".to_owned(),
            "test_wait_seconds_sum{side=\"old\"} 3.7".to_owned(),
            "# EOF\n".to_owned(),
        ];
        assert_eq!(text, expected.join("\n"));
    }

    #[test]
    fn an_exemplar_keeps_to_its_limits() {
        let (text, _) = rendered();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let exemplars: Vec<_> = text.lines().filter_map(|line| line.split_once(" # ")).collect();
        assert_eq!(exemplars.len(), 3, "{text}");
        for (sample, exemplar) in exemplars {
            assert!(sample.contains("_total{") || sample.contains("_bucket{"), "{sample}");
            let (labels, rest) = exemplar.strip_prefix('{').unwrap().split_once("} ").unwrap();
            let (name, value) = labels.split_once("=\"").unwrap();
            assert!(name.len() + value.trim_end_matches('"').len() <= 128, "{labels}");
            let (_, at) = rest.split_once(' ').unwrap();
            assert!((at.parse::<f64>().unwrap() - now).abs() < 60.0, "{at}");
        }
    }
}
