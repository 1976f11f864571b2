//! What a Dockerfile needs of the network, read before it is built: the daemon itself fetches base images and what `ADD`
//! names, whatever network the build's commands have.
//!
//! This is no parser of Dockerfiles. What it does not understand it refuses, and the daemon reads the file anew.

/// What a Dockerfile takes from elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Images, which must be on this machine.
    pub(crate) images: Vec<String>,
}

impl Needs {
    /// Reads a Dockerfile that is to be built without a network.
    ///
    /// # Errors
    /// Says what would need one, or cannot be read.
    pub(crate) fn of(text: &str) -> Result<Self, String> {
        let mut needs = Self::default();
        let mut stages: Vec<String> = Vec::new();
        for instruction in instructions(text)? {
            let words: Vec<&str> = instruction.split_whitespace().collect();
            let Some((name, rest)) = words.split_first() else { continue };
            match name.to_ascii_uppercase().as_str() {
                "FROM" => {
                    let mut places = rest.iter().filter(|word| !word.starts_with("--"));
                    let image = places.next().ok_or("FROM names no image")?;
                    needs.add(image, &stages)?;
                    if let (Some(_), Some(stage)) = (places.next(), places.next()) {
                        stages.push(stage.to_ascii_lowercase());
                    }
                }
                "COPY" => {
                    for word in rest {
                        if let Some(image) = word.strip_prefix("--from=") {
                            let is_stage_number = image.parse::<usize>().is_ok();
                            if !is_stage_number {
                                needs.add(image, &stages)?;
                            }
                        }
                    }
                }
                "ADD" => {
                    let is_elsewhere = |word: &&str| word.contains(':') || word.contains('$') || word.contains(".git");
                    if let Some(word) = rest.iter().find(|word| !word.starts_with("--chown") && is_elsewhere(word)) {
                        return Err(format!("ADD {word} may need a network, which builds here do not have; use COPY"));
                    }
                }
                "ONBUILD" => return Err("ONBUILD is not allowed in builds without a network".to_owned()),
                _ => {}
            }
        }
        Ok(needs)
    }

    fn add(&mut self, image: &str, stages: &[String]) -> Result<(), String> {
        if image.contains('$') {
            return Err(format!("the image {image} is not known before the build; name it in full"));
        }
        if image != "scratch" && !stages.contains(&image.to_ascii_lowercase()) {
            self.images.push(image.to_owned());
        }
        Ok(())
    }
}

/// The instructions with their continuations, without comments.
fn instructions(text: &str) -> Result<Vec<String>, String> {
    let mut instructions = Vec::new();
    let mut begun = String::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            let comment = comment.trim().to_ascii_lowercase();
            if comment.starts_with("escape") && comment.contains('=') {
                return Err("another escape character than `\\` is not supported".to_owned());
            }
            continue;
        }
        match line.strip_suffix('\\') {
            Some(part) => {
                begun.push_str(part);
                begun.push(' ');
            }
            None if line.is_empty() => {}
            None => {
                begun.push_str(line);
                instructions.push(std::mem::take(&mut begun));
            }
        }
    }
    instructions.push(begun);
    Ok(instructions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_are_no_stages_are_named() {
        let text = "# a comment\nFROM --platform=linux/amd64 python:3.11 AS Base\nRUN a \\\n  # in between\n  && b\n\
                    COPY --from=node:20 /usr/bin/node /n\nFROM scratch\nCOPY --from=base / /\nCOPY --from=0 / /\nfrom base\n";
        assert_eq!(Needs::of(text), Ok(Needs { images: vec!["python:3.11".to_owned(), "node:20".to_owned()] }));
    }

    #[test]
    fn what_may_need_a_network_is_refused() {
        for (text, reason) in [
            ("FROM $BASE", "the image $BASE is not known"),
            ("FROM \\\nx\nADD https://x/y /", "ADD https://x/y may need a network"),
            ("ADD git@x.y:z /", "ADD git@x.y:z may need a network"),
            ("# escape=`\nFROM x", "escape character"),
            ("FROM", "FROM names no image"),
            ("ONBUILD ADD https://x /", "ONBUILD"),
        ] {
            let refused = Needs::of(text).expect_err(text);
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }
}
