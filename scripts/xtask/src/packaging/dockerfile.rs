//! The targets of the Dockerfile.

use std::collections::BTreeMap;

/// A stage that is an image of ours: one that starts a program.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub name: String,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub ports: Vec<u16>,
    user: String,
    copied: Vec<String>,
    health_check: Option<Vec<String>>,
    unhealthy_on_purpose: bool,
}

/// Reads the targets, with lines that go on joined and comments left out.
pub fn images(text: &str) -> Vec<Image> {
    let mut images: Vec<Image> = Vec::new();
    for line in instructions(text) {
        let (instruction, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let rest = rest.trim();
        if instruction == "FROM" {
            let name = rest.rsplit_once(" AS ").map_or("", |(_, name)| name.trim());
            images.push(Image { name: name.to_owned(), ..Image::default() });
            continue;
        }
        let Some(image) = images.last_mut() else { continue };
        match instruction {
            "ENTRYPOINT" => image.entrypoint = list(rest),
            "USER" => rest.clone_into(&mut image.user),
            "EXPOSE" => image.ports.extend(rest.split_whitespace().filter_map(|port| port.parse::<u16>().ok())),
            "HEALTHCHECK" if rest == "NONE" => image.unhealthy_on_purpose = true,
            "HEALTHCHECK" => image.health_check = rest.split_once("CMD ").map(|(_, command)| list(command)),
            "ENV" => image.environment.extend(
                rest.split_whitespace()
                    .filter_map(|pair| pair.split_once('='))
                    .map(|(k, v)| (k.to_owned(), v.to_owned())),
            ),
            "COPY" => {
                let words: Vec<&str> = rest.split_whitespace().filter(|word| !word.starts_with("--")).collect();
                let Some((to, from)) = words.split_last() else { continue };
                let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
                let target =
                    |path: &str| if to.ends_with('/') { format!("{to}{}", name(path)) } else { (*to).to_owned() };
                image.copied.extend(from.iter().map(|path| target(path)));
            }
            _ => {}
        }
    }
    images.retain(|image| !image.entrypoint.is_empty());
    images
}

/// What is wrong with them, where the workspace makes these programs.
pub fn problems(text: &str, images: &[Image], programs: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    for image in images {
        let name = &image.name;
        let mut starts = |what: &str, command: &[String]| {
            let program = command.first().map_or("", String::as_str);
            let binary = program.rsplit('/').next().unwrap_or_default();
            if !programs.contains(&binary) {
                problems.push(format!("{name}: {what} starts {program}, which no crate makes"));
            } else if !image.copied.iter().any(|copied| copied == program) {
                problems.push(format!("{name}: {what} starts {program}, which is not copied into the image"));
            }
        };
        starts("ENTRYPOINT", &image.entrypoint);
        match &image.health_check {
            Some(command) => starts("HEALTHCHECK", command),
            None if image.unhealthy_on_purpose => {}
            None => problems.push(format!("{name}: no HEALTHCHECK; write one, or NONE and why")),
        }
        if !image.user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)) {
            problems.push(format!(
                "{name}: USER is `{}`; give numbers other than 0, which Kubernetes can check",
                image.user
            ));
        }
        for (variable, address) in image.environment.iter().filter(|(variable, _)| variable.ends_with("__HTTP__BIND")) {
            let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
            if !port.is_some_and(|port| image.ports.contains(&port)) {
                problems.push(format!("{name}: {variable}={address} is not EXPOSEd"));
            }
        }
    }
    let built = instructions(text).into_iter().find(|line| line.contains("cargo build")).unwrap_or_default();
    let mut words = built.split_whitespace();
    while let Some(word) = words.next() {
        if word == "--package"
            && let Some(package) = words.next()
            && !programs.contains(&package)
        {
            problems.push(format!("it builds the crate {package}, which there is not"));
        }
    }
    problems
}

/// The instructions, one a line.
pub fn instructions(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_suffix('\\') {
            Some(part) => open.push_str(part),
            None => found.push(std::mem::take(&mut open) + line),
        }
    }
    found
}

/// `["a", "b"]`; words where it is no list.
fn list(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|_| text.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "FROM rust AS build\nRUN cargo build --bins \\\n  --package shop\n\
        FROM debian AS shop\nCOPY --from=build /programs/shop /usr/local/bin/\nUSER 10001:10001\n\
        ENV SHOP__HTTP__BIND=0.0.0.0:8080 \\\n    SHOP__B=2\nEXPOSE 8080\n\
        HEALTHCHECK --interval=5s \\\n  CMD [\"/usr/local/bin/shop\", \"--probe\"]\nENTRYPOINT [\"/usr/local/bin/shop\"]\n";

    fn found(text: &str) -> Vec<String> {
        problems(text, &images(text), &["shop"])
    }

    #[test]
    fn stages_that_start_something_are_images() {
        let images = images(GOOD);
        assert_eq!(images.len(), 1);
        let [shop] = &images[..] else { unreachable!() };
        assert_eq!((shop.name.as_str(), shop.ports.as_slice()), ("shop", &[8080][..]));
        assert_eq!(shop.environment["SHOP__B"], "2");
        assert_eq!(found(GOOD), Vec::<String>::new());
    }

    #[test]
    fn planted_mistakes_are_found() {
        for (from, to, expected) in [
            ("ENTRYPOINT [\"/usr/local/bin/shop\"]", "ENTRYPOINT [\"/usr/local/bin/store\"]", "which no crate makes"),
            ("ENTRYPOINT [\"/usr/local/bin/shop\"]", "ENTRYPOINT [\"/usr/bin/shop\"]", "not copied into the image"),
            ("[\"/usr/local/bin/shop\", \"--probe\"]", "[\"curl\", \"localhost\"]", "HEALTHCHECK starts curl"),
            ("HEALTHCHECK", "LABEL", "no HEALTHCHECK"),
            ("USER 10001:10001", "USER root", "USER is `root`"),
            ("USER 10001:10001", "USER 0", "USER is `0`"),
            ("EXPOSE 8080", "EXPOSE 8081", "is not EXPOSEd"),
            ("--package shop", "--package shopp", "builds the crate shopp"),
        ] {
            let text = GOOD.replace(from, to);
            assert!(found(&text).iter().any(|problem| problem.contains(expected)), "{expected}: {:?}", found(&text));
        }
    }
}
