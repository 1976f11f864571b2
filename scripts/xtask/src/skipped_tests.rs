//! Tests that could not do their work here say `skipped: why` and pass; a run says how many did, so
//! that a green run on a machine without Docker does not look like one with it.

use std::path::{Path, PathBuf};

/// Where nextest's profile `ci` leaves its report: below the workspace, wherever Cargo builds.
pub fn report_path(workspace_root: &Path) -> PathBuf {
    workspace_root.join("target/nextest/ci/junit.xml")
}

/// Removes the report of an earlier run, which must not speak for one that ended too early for its own.
pub fn forget(report: &Path) {
    // Most often there is none.
    let _ = std::fs::remove_file(report);
}

/// Prints the reasons and their number.
pub fn print(report: &Path) {
    match std::fs::read_to_string(report) {
        Ok(report) => {
            let skipped = find(&report);
            for line in &skipped {
                eprintln!("  {line}");
            }
            eprintln!("skipped: {}", skipped.len());
        }
        Err(error) => eprintln!("skipped: unknown, {} cannot be read: {error}", report.display()),
    }
}

/// The lines of a JUnit report by which tests say that they were skipped, each with its test.
fn find(report: &str) -> Vec<String> {
    let mut test = "";
    let mut found = Vec::new();
    for line in report.lines() {
        if let Some((_, rest)) = line.split_once("<testcase name=\"") {
            test = rest.split('"').next().unwrap_or_default();
        }
        // The output of a test begins on the line of its tag.
        let text = line.rsplit_once("<system-out>").map_or(line, |(_, text)| text);
        if let Some(reason) = text.trim_start().strip_prefix("skipped: ") {
            found.push(format!("{test}: {}", reason.split("</system-out>").next().unwrap_or_default()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_skipped_test_is_found_once() {
        let report = r#"<testsuites>
            <testcase name="docker::runs" classname="legacy"><system-out>
running 1 test
skipped: no dockerd
test docker::runs ... ok
</system-out></testcase>
            <testcase name="other" classname="x"><system-out>skipped: too cold</system-out></testcase>
            <testcase name="speaks" classname="x"><system-out>it never skipped: anything</system-out></testcase>"#;
        assert_eq!(find(report), ["docker::runs: no dockerd", "other: too cold"]);
    }
}
