use super::*;

/// A workspace of the files, each with its text.
fn workspace(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn findings(files: &[(&str, &str)]) -> String {
    let root = workspace(files);
    check(root.path()).map_or_else(|error| error.to_string(), |()| String::new())
}

const ETCD: (&str, &str) = (
    "docs/etcd.md",
    "# etcd\n## Keys, and `values`\n## Same\n## Same\n<a id=\"own\"></a>\n",
);

#[test]
fn links_that_lead_somewhere_are_accepted() {
    let page = "# Title\n\
        [a](docs/etcd.md) [b](docs/etcd.md#keys-and-values) [c](docs/etcd.md#same-1) [d](docs/etcd.md#own)\n\
        [e](#title) [folder](docs/) [f](./docs/../docs/etcd.md) [host](https://example.org/missing.md#x)\n\
        [mail](mailto:a@example.org) ![picture](docs/a%20b.png) [defined][r] [only text]\n\n\
        ```\n[code](missing.md)\n```\n`[code](missing.md)`\n\n[r]: docs/etcd.md\n";
    let all = [ETCD, ("README.md", page), ("docs/a b.png", "")];
    assert_eq!(findings(&all), "");
}

#[test]
fn each_broken_link_is_found_with_its_line() {
    for (link, reason) in [
        ("[a](docs/missing.md)", "docs/missing.md: does not exist"),
        ("[a](docs/ETCD.md)", "docs/ETCD.md: does not exist"),
        (
            "[a](docs/etcd.md#key-and-values)",
            "no such anchor; the nearest is #keys-and-values",
        ),
        ("[a](docs/etcd.md#same-2)", "no such anchor"),
        ("[a](#missing)", "no such anchor"),
        ("[a](../other.md)", "leads out of the project"),
        ("[a](/docs/etcd.md)", "leads out of the project"),
        ("[a](docs/data.json#x)", "only Markdown pages have anchors"),
        ("![a](docs/missing.png)", "does not exist"),
        ("<img src=\"docs/missing.png\">", "does not exist"),
        ("<a href=\"docs/missing.md\">a</a>", "does not exist"),
        ("[a][undefined]", "undefined reference"),
        ("| a |\n|---|\n| [a](missing.md) |", "does not exist"),
    ] {
        let page = format!("# Title\n\n{link}\n");
        let found = findings(&[ETCD, ("docs/data.json", "{}"), ("README.md", &page)]);
        assert!(found.contains(reason), "{link}: {found}");
        assert!(found.starts_with("README.md:"), "{link}: {found}");
        assert!(found.ends_with("1 findings"), "{link}: {found}");
    }
}

#[test]
fn pages_named_by_messages_and_comments_exist() {
    let code = "// See docs/etcd.md#same.\nlog(\"see docs/etcd.md#space\");\n// docs/gone.md, ../docs/x.md, other/docs/x.md\n";
    let found = findings(&[ETCD, ("server/src/main.rs", code)]);
    assert!(
        found.contains("server/src/main.rs:2: docs/etcd.md#space: the page has no such anchor")
    );
    assert!(found.contains("server/src/main.rs:3: docs/gone.md: does not exist"));
    assert!(found.ends_with("2 findings"), "{found}");
}
