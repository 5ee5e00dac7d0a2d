//! The Dockerfiles: there is no engine in the tests, so what can be read from them is checked.

use std::path::{Path, PathBuf};

use crate::manifests::deploy_file;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The stages that become images: name and instructions.
fn images() -> Vec<(String, String)> {
    let main = std::fs::read_to_string(root().join("Dockerfile")).unwrap();
    let mut images: Vec<_> = main
        .split("\nFROM ")
        .skip(1)
        .filter(|stage| stage.contains("\nENTRYPOINT "))
        .map(|stage| {
            let name = stage.lines().next().unwrap().rsplit(' ').next().unwrap();
            (name.to_owned(), stage.to_owned())
        })
        .collect();
    images.push(("haproxy".to_owned(), deploy_file("haproxy/Dockerfile")));
    images
}

#[test]
fn every_image_has_the_labels_of_oci() {
    let images = images();
    let names: Vec<_> = images.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["etcd", "console", "node", "haproxy"]);
    for (name, stage) in &images {
        for label in [
            "title",
            "description",
            "licenses",
            "version",
            "revision",
            "created",
            "base.name",
        ] {
            let label = format!("org.opencontainers.image.{label}=\"");
            assert_eq!(stage.matches(&label).count(), 1, "{name}: {label}");
        }
        assert!(stage.contains("\nARG SOURCE_DATE_EPOCH\n"), "{name}");
        assert!(stage.contains("/var/log/*"), "{name}: logs have times");
    }
}

/// Files that `include_str!` of a program names, outside of what the images are made from.
#[test]
fn what_is_compiled_in_is_part_of_the_build() {
    let ignored = std::fs::read_to_string(root().join(".dockerignore")).unwrap();
    let mut found = Vec::new();
    let mut open = vec![root()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let skipped = ["target", "node_modules", "tests", "tests.rs", "testing"];
            if path.is_dir() && !name.starts_with('.') && !skipped.contains(&name.as_str()) {
                open.push(path);
            } else if name.ends_with(".rs") && !skipped.contains(&name.as_str()) {
                let text = std::fs::read_to_string(&path).unwrap();
                let program = text.split("#[cfg(test)]").next().unwrap_or_default();
                for piece in program.split("include_str!(\"").skip(1) {
                    let file = piece.split('"').next().unwrap().trim_start_matches("../");
                    if file.ends_with(".md") {
                        found.push(file.to_owned());
                    }
                }
            }
        }
    }
    assert!(!found.is_empty(), "no page is compiled in");
    for file in found {
        let included = format!("!{file}");
        assert!(ignored.lines().any(|line| line == included), "{file}");
    }
}
