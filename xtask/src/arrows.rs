//! Checks that dependencies point one way: between the packages as `[workspace.metadata.arrows]` in `Cargo.toml` allows, and
//! between the top-level modules of each library, and below those listed there, without a circle.

mod graph;
mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use graph::Graph;

/// A workspace package.
struct Package {
    name: String,
    /// Workspace packages that it links.
    dependencies: BTreeSet<String>,
    /// The directory of its library's root module.
    library: Option<PathBuf>,
}

/// What `Cargo.toml` allows.
#[derive(Default)]
struct Rules {
    /// The packages that each package may link.
    packages: BTreeMap<String, BTreeSet<String>>,
    /// Top-level modules whose own modules are checked too, as `package: module`.
    nested: BTreeSet<String>,
    /// Arrows between modules that are not followed, as `package: module -> module`.
    exceptions: BTreeSet<String>,
}

impl Rules {
    /// The modules of `package` whose own modules are checked.
    fn nested_modules<'a>(&'a self, package: &'a str) -> impl Iterator<Item = &'a str> {
        self.nested.iter().filter_map(move |entry| {
            let (name, module) = entry.split_once(": ")?;
            (name == package).then_some(module)
        })
    }
}

/// Checks the workspace in `root`.
///
/// # Errors
/// Every arrow that is not allowed and one circle of modules for each package.
pub(crate) fn check(root: &Path) -> Result<()> {
    let metadata = metadata(root)?;
    let rules = rules(&metadata)?;
    let packages = packages(&metadata)?;
    let mut problems = package_problems(&packages, &rules.packages);
    let mut unused = rules.exceptions.clone();
    for package in &packages {
        if let Some(library) = &package.library {
            let mut graph = imports::of_library(library)?;
            for (from, to) in graph.arrows() {
                let exception = format!("{}: {from} -> {to}", package.name);
                if rules.exceptions.contains(&exception) {
                    unused.remove(&exception);
                    graph.remove(&from, &to);
                }
            }
            problems.extend(module_problem(&package.name, &graph));
            for module in rules.nested_modules(&package.name) {
                let graph = imports::of_module(library, module)?;
                problems.extend(module_problem(
                    &format!("{}: {module}", package.name),
                    &graph,
                ));
            }
        }
    }
    problems.extend(
        unused
            .iter()
            .map(|exception| format!("the exception {exception:?} is not needed; remove it")),
    );
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{}", problems.join("\n"))
}

fn metadata(root: &Path) -> Result<Value> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root)
        .output()
        .context("cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn rules(metadata: &Value) -> Result<Rules> {
    let arrows = &metadata["metadata"]["arrows"];
    let mut rules = Rules::default();
    for (name, allowed) in arrows.as_object().context("[workspace.metadata.arrows]")? {
        let names: BTreeSet<String> = serde_json::from_value(allowed.clone())
            .with_context(|| format!("[workspace.metadata.arrows] {name}"))?;
        match name.as_str() {
            "nested" => rules.nested = names,
            "exceptions" => rules.exceptions = names,
            _ => {
                rules.packages.insert(name.clone(), names);
            }
        }
    }
    Ok(rules)
}

fn packages(metadata: &Value) -> Result<Vec<Package>> {
    let packages = metadata["packages"].as_array().context("packages")?;
    packages.iter().map(package).collect()
}

fn package(value: &Value) -> Result<Package> {
    let list = |key: &str| value[key].as_array().map_or(&[][..], Vec::as_slice);
    // Dependencies of tests and of build scripts are not linked into anything.
    let linked = list("dependencies")
        .iter()
        .filter(|dependency| dependency["kind"].is_null() && dependency["path"].is_string())
        .filter_map(|dependency| dependency["name"].as_str());
    let library = list("targets").iter().find(|target| {
        let kinds = target["kind"].as_array();
        kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == "lib"))
    });
    let library = library
        .and_then(|target| Path::new(target["src_path"].as_str()?).parent())
        .map(Path::to_path_buf);
    Ok(Package {
        name: value["name"].as_str().context("a name")?.to_owned(),
        dependencies: linked.map(str::to_owned).collect(),
        library,
    })
}

fn package_problems(
    packages: &[Package],
    rules: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<String> {
    let mut problems = Vec::new();
    for package in packages {
        let Some(allowed) = rules.get(&package.name) else {
            problems.push(format!(
                "package {} is missing in [workspace.metadata.arrows] of Cargo.toml",
                package.name
            ));
            continue;
        };
        for dependency in package.dependencies.difference(allowed) {
            problems.push(format!(
                "package {} must not depend on {dependency} ([workspace.metadata.arrows] of Cargo.toml)",
                package.name
            ));
        }
    }
    problems
}

fn module_problem(package: &str, graph: &Graph) -> Option<String> {
    let circle = graph.circle()?;
    let mut message = format!("package {package}: modules depend on each other in a circle");
    for (from, to, place) in circle {
        message.push_str(&format!("\n  {from} -> {to}  ({place})"));
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            dependencies: dependencies.iter().map(|&name| name.to_owned()).collect(),
            library: None,
        }
    }

    fn allowed(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn only_allowed_arrows_between_packages_pass() {
        let rules = BTreeMap::from([
            ("core".to_owned(), allowed(&[])),
            ("server".to_owned(), allowed(&["core"])),
        ]);
        let good = [package("core", &[]), package("server", &["core"])];
        assert!(package_problems(&good, &rules).is_empty());
        let bad = [package("core", &["server"]), package("new", &[])];
        let problems = package_problems(&bad, &rules);
        assert_eq!(problems.len(), 2);
        assert!(problems[0].starts_with("package core must not depend on server"));
        assert!(problems[1].starts_with("package new is missing"));
    }

    #[test]
    fn circle_of_modules_is_named_with_its_places() {
        let tree = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = tree.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("lib.rs", "mod a;\nmod b;\nmod c;\npub use c::Thing;\n");
        write("a.rs", "use crate::b::B;\n");
        write("b.rs", "use std::fmt;\n\nuse crate::{Thing, c::Other};\n");
        write("c.rs", "//! See [`crate::a`].\nmod inner;\n");
        write("c/inner.rs", "use super::Thing;\n");
        write("c/outer.rs", "use super::inner;\n");
        let graph = imports::of_library(tree.path()).unwrap();
        assert!(module_problem("made-up", &graph).is_none());
        write("c/inner.rs", "fn run() {\n    crate::a::run();\n}\n");
        let graph = imports::of_library(tree.path()).unwrap();
        let below_c = imports::of_module(tree.path(), "c").unwrap();
        assert!(module_problem("made-up: c", &below_c).is_none());
        let problem = module_problem("made-up", &graph).unwrap();
        for line in [
            "a -> b  (a.rs:1)",
            "b -> c  (b.rs:3)",
            "c -> a  (c/inner.rs:2)",
        ] {
            assert!(problem.contains(line), "{problem}");
        }
        write("c/inner.rs", "use crate::c::outer;\n");
        let below_c = imports::of_module(tree.path(), "c").unwrap();
        let problem = module_problem("made-up: c", &below_c).unwrap();
        assert!(
            problem.contains("inner -> outer  (inner.rs:1)"),
            "{problem}"
        );
        assert!(
            problem.contains("outer -> inner  (outer.rs:1)"),
            "{problem}"
        );
    }
}
