//! Answers and rules for tests.

use comparison::{Answer, Comparison, Difference, Masks, Rules, RulesConfig, compare};
use http::{HeaderMap, HeaderValue};

pub fn headers(content_type: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static(content_type));
    headers
}

pub fn rules(text: &str) -> Rules {
    Rules::compile(&toml::from_str::<RulesConfig>(text).expect("a test writes good TOML")).expect("and good rules")
}

/// Compares two JSON bodies with status 200.
pub fn json(rules: &Rules, masks: &Masks, legacy: &str, candidate: &str) -> Comparison {
    typed("application/json", rules, masks, legacy.as_bytes(), candidate.as_bytes())
}

pub fn typed(content_type: &'static str, rules: &Rules, masks: &Masks, legacy: &[u8], candidate: &[u8]) -> Comparison {
    let headers = headers(content_type);
    let answer = |body| Answer { status: 200, headers: &headers, body };
    compare(rules, masks, &answer(legacy), &answer(candidate))
}

/// The differences as `kind path legacy -> candidate`.
pub fn told(comparison: &Comparison) -> Vec<String> {
    let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    let told = |difference: &Difference| {
        let (legacy, candidate) = (side(&difference.legacy), side(&difference.candidate));
        format!("{} {} {legacy} -> {candidate}", difference.kind, difference.path)
    };
    comparison.differences.iter().map(told).collect()
}
