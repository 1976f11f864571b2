//! The last chapter: functions from packages, which only the new services can make. A package goes to the build
//! service, which tells the lambda service of what it has built; one that cannot work is refused with a reason.

use std::{
    io::{Cursor, Write as _},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::ExecutionStatus;
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

use super::{
    Screen,
    platform::{Platform, Submitted},
};

/// Longer than a build of the demonstration may take until its function can be called.
const DEADLINE: Duration = Duration::from_secs(30);

/// How often it is looked for.
const POLL: Duration = Duration::from_millis(10);

/// Files that are packed, what they are called by, and what a call must answer.
struct Package {
    name: &'static str,
    runtime: &'static str,
    handler: &'static str,
    files: &'static [(&'static str, &'static str)],
}

const PACKAGES: [Package; 2] = [
    Package {
        name: "py-package",
        runtime: "python3.11",
        handler: "app/main.handler",
        files: &[
            (
                "app/main.py",
                "from pricing import total\n\ndef handler(event, context):\n    return {\"total\": total(event[\"prices\"])}\n",
            ),
            ("pricing/__init__.py", "def total(prices):\n    return sum(prices)\n"),
        ],
    },
    Package {
        name: "js-package",
        runtime: "nodejs20",
        handler: "index.handler",
        files: &[
            (
                "index.js",
                "const { total } = require('pricing');\nexports.handler = async (event) => ({ total: total(event.prices) });\n",
            ),
            ("node_modules/pricing/package.json", "{\"name\": \"pricing\", \"main\": \"main.js\"}\n"),
            (
                "node_modules/pricing/main.js",
                "exports.total = (prices) => prices.reduce((sum, price) => sum + price, 0);\n",
            ),
        ],
    },
];

/// Its handler is in a file that was not packed.
const INCOMPLETE: Package = Package {
    name: "incomplete",
    runtime: "nodejs20",
    handler: "index.handler",
    files: &[("main.js", "exports.handler = async () => {};\n")],
};

/// What became of one package.
pub(super) struct Packaged {
    pub(super) name: &'static str,
    pub(super) bytes: usize,
    /// From its submission until it was accepted, and until the first call of the function was answered.
    pub(super) accepted: Duration,
    pub(super) answered: Duration,
    /// How long the second call took.
    pub(super) second_call: Duration,
}

/// Builds a function from each package and calls it; says for whom it could not be done.
pub(super) async fn build_and_call(platform: &Platform, screen: &Screen) -> Vec<String> {
    screen.chapter(
        "packages",
        "curl -F package=@app.zip -F name=app … GATEWAY/functions: the build service has no counterpart in legacy",
    );
    let mut problems = Vec::new();
    for package in &PACKAGES {
        match built_and_called(platform, package).await {
            Ok(packaged) => screen.packaged(&packaged),
            Err(error) => problems.push(format!("{}: {error:#}", package.name)),
        }
    }
    match refused(platform).await {
        Ok(reason) => screen.say(&format!("{:>12}  refused: {reason}", INCOMPLETE.name)),
        Err(error) => problems.push(format!("{}: {error:#}", INCOMPLETE.name)),
    }
    problems
}

async fn built_and_called(platform: &Platform, package: &Package) -> anyhow::Result<Packaged> {
    let begun = Instant::now();
    let (request, bytes) = request(package)?;
    let Submitted::Accepted { job_id, function_id } = platform.submit(&request).await? else {
        bail!("it was refused");
    };
    let accepted = begun.elapsed();
    while !platform.exists(function_id).await? {
        if let Some(failure) = platform.build_failure(job_id).await? {
            bail!("its build failed: {failure}");
        }
        ensure!(begun.elapsed() < DEADLINE, "it cannot be called after {DEADLINE:?}");
        tokio::time::sleep(POLL).await;
    }
    let mut answered = [Duration::ZERO; 2];
    for answered in &mut answered {
        let call = platform.invoke_new(function_id, &json!({"prices": [1, 2, 3]})).await;
        let answer = call.map_err(|failure| anyhow::anyhow!(failure.why))?.answer;
        let output = answer.output.as_deref().map(|output| output.get()).unwrap_or_default();
        let output: Value = serde_json::from_str(output).context("its output is not JSON")?;
        ensure!(
            answer.status == ExecutionStatus::Success && output == json!({"total": 6}),
            "it answered {} {output} {}",
            answer.status,
            answer.error
        );
        *answered = begun.elapsed();
    }
    let [first, second] = answered;
    Ok(Packaged { name: package.name, bytes, accepted, answered: first, second_call: second - first })
}

/// Why the package that cannot work was refused.
async fn refused(platform: &Platform) -> anyhow::Result<String> {
    match platform.submit(&request(&INCOMPLETE)?.0).await? {
        Submitted::Refused { detail } => Ok(detail),
        Submitted::Accepted { .. } => bail!("it was accepted without its handler"),
    }
}

/// The request's body, and how large the package is.
fn request(package: &Package) -> anyhow::Result<(Value, usize)> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in package.files {
        archive.start_file(*name, SimpleFileOptions::default())?;
        archive.write_all(content.as_bytes())?;
    }
    let archive = archive.finish()?.into_inner();
    // Names are unique, and a stack may be shown twice.
    let name = format!("{}-{}", package.name, uuid::Uuid::now_v7().simple());
    let body = json!({
        "name": name,
        "runtime": package.runtime,
        "handler": package.handler,
        "package_data": STANDARD.encode(&archive),
    });
    Ok((body, archive.len()))
}
