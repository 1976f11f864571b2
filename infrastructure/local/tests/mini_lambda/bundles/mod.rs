//! Real packages, with dependencies from the registries and native code among them: through the gateway, RabbitMQ,
//! a build and a registration to a first call, in sandboxes and in Docker's containers.

mod recipes;
mod registry;

use std::{fmt::Write as _, fs, path::Path, time::Instant};

use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{PrivateRedis, TestDocker, eventually, or_skip};

use self::{
    recipes::{RECIPES, Recipe},
    registry::Fetched,
};
use super::site::{PATIENCE, Site, System, answer};

/// Fetched at the same time.
const AT_A_TIME: usize = 4;

const IMAGE: &str = "bundles-interpreters:latest";

#[tokio::test]
async fn packages_with_dependencies_are_built_and_called() {
    all_are_built_and_called(&Site::new()).await;
}

#[tokio::test]
async fn packages_with_dependencies_are_called_in_containers() {
    let Some(docker) = or_skip(TestDocker::find().await) else { return };
    let site = Site::new();
    let _folder = in_containers(&site, &docker);
    all_are_built_and_called(&site).await;
}

/// The lambda service runs functions in Docker, in one image with this machine's interpreters. The folder is its own.
fn in_containers(site: &Site, docker: &TestDocker) -> TempDir {
    let ((python, mut files), (node, more)) = (TestDocker::python(), TestDocker::node());
    files.extend(more.into_iter().chain(TestDocker::libraries_of_wheels()));
    docker.import(IMAGE, files);
    let folder = tempfile::tempdir_in("/var/tmp").expect("a temporary folder");
    let runtime = |name: &str, kind: &str, interpreter: &Path| {
        format!("[[runtimes]]\nname = {name:?}\nkind = {kind:?}\nimage = {IMAGE:?}\ninterpreter = {interpreter:?}\n")
    };
    let settings = [
        "executor = \"docker\"\n".to_owned(),
        runtime("python3.11", "python", &python),
        runtime("nodejs20", "node", &node),
        format!("[docker]\nsocket = {:?}\nfolder = {:?}\n", docker.socket, folder.path().join("workers")),
    ];
    let file = folder.path().join("lambda-service.toml");
    fs::write(&file, settings.concat()).expect("our own folder");
    site.arguments("lambda-service", &["--config", file.to_str().expect("text")]);
    folder
}

/// Builds each package on such a stack, and calls it.
async fn all_are_built_and_called(site: &Site) {
    let fetched: Vec<_> = stream::iter(&RECIPES)
        .map(|recipe| async move { (recipe, registry::fetch(recipe).await) })
        .buffered(AT_A_TIME)
        .collect()
        .await;
    let mut bundles = Vec::new();
    for (recipe, fetched) in fetched {
        match fetched {
            Fetched::Archive(archive) => bundles.push((recipe, archive)),
            Fetched::NotHere(why) => {
                eprintln!("skipped: {} cannot be fetched here: {why}", recipe.name);
                return;
            }
        }
    }
    // The broker and Redis in front of the service, as where there are several of each.
    let (vhost, redis) = (testkit::rabbitmq().await, PrivateRedis::start().await);
    site.environment(
        "build-service",
        &[("BUILD_SERVICE__QUEUE__KIND", "rabbitmq"), ("BUILD_SERVICE__QUEUE__RABBITMQ__URL", &vhost.url)],
    );
    site.environment("gateway", &[("GATEWAY__LIMITS__STORE", "redis"), ("GATEWAY__LIMITS__REDIS__URL", &redis.url())]);
    let system = site.start().await;
    for (recipe, archive) in &bundles {
        build_and_call(&system, recipe, archive).await;
    }
    system.stack.stop().await;
}

async fn build_and_call(system: &System, recipe: &Recipe, archive: &[u8]) {
    let begun = Instant::now();
    let (content_type, body) = form(recipe, archive);
    let request = system.client.post(system.url("gateway", "/functions")).header("content-type", content_type);
    let (status, accepted) = answer(request.body(body)).await;
    assert_eq!(status, 202, "{}: {accepted}", recipe.name);
    let was_accepted = begun.elapsed();
    let (build, function) = (format!("/builds/{}", text(&accepted, "job_id")), text(&accepted, "function_id"));
    eventually(PATIENCE, || async {
        let (_, build) = answer(system.client.get(system.url("gateway", &build))).await;
        assert_ne!(build["status"], "failed", "{}: {build}", recipe.name);
        let path = format!("/functions/{function}");
        build["status"] == "completed" && answer(system.client.get(system.url("gateway", &path))).await.0 == 200
    })
    .await;
    let built = begun.elapsed();
    let event: Value = serde_json::from_str(recipe.event).expect("a recipe's event is JSON");
    let expected: Value = serde_json::from_str(recipe.output).expect("a recipe's output is JSON");
    let mut calls = Vec::new();
    for _ in 0..2 {
        let called = Instant::now();
        let url = system.url("gateway", &format!("/functions/{function}/invoke"));
        let (status, said) = answer(system.client.post(url).json(&event)).await;
        let outcome = (status, &said["status"], &said["output"]);
        assert_eq!(outcome, (200, &json!("success"), &expected), "{}: {said}", recipe.name);
        calls.push(called.elapsed());
    }
    eprintln!(
        "{:>16} {:>10}: {:>5} KiB, accepted in {was_accepted:.0?}, to be called after {built:.0?}, first call {:.1?}, second {:.1?}",
        recipe.name,
        recipe.runtime(),
        archive.len() / 1024,
        calls[0],
        calls[1]
    );
}

fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body[field].as_str().unwrap_or_else(|| panic!("no {field} in {body}"))
}

/// `multipart/form-data`: the content type and the body.
fn form(recipe: &Recipe, archive: &[u8]) -> (String, Vec<u8>) {
    let (boundary, name) = (testkit::unique_name("boundary"), testkit::unique_name(recipe.name));
    let mut body = String::new();
    for (field, text) in [("name", name.as_str()), ("runtime", recipe.runtime()), ("memory", "256")] {
        let _ = write!(body, "--{boundary}\r\ncontent-disposition: form-data; name=\"{field}\"\r\n\r\n{text}\r\n");
    }
    let _ = write!(
        body,
        "--{boundary}\r\ncontent-disposition: form-data; name=\"package\"; filename=\"package.zip\"\r\n\r\n"
    );
    let body = [body.as_bytes(), archive, format!("\r\n--{boundary}--\r\n").as_bytes()].concat();
    (format!("multipart/form-data; boundary={boundary}"), body)
}
