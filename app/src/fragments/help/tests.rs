use galera::access::Role;

use super::*;
use crate::fixtures;

#[test]
fn terms_are_in_alphabetical_order_and_have_anchors_of_their_own() {
    let names: Vec<String> = terms().map(|term| term.name.to_lowercase()).collect();
    assert!(names.is_sorted(), "{names:?}");
    let mut anchors: Vec<String> = terms().map(|term| term.anchor()).collect();
    anchors.sort_unstable();
    anchors.dedup();
    assert_eq!(anchors.len(), names.len());
}

#[test]
fn every_verdict_and_every_state_is_explained() {
    let html = page(&fixtures::session("vera", &[Role::Viewer])).html();
    for state in VerdictState::ALL {
        assert!(html.contains(verdict_mark(state).label), "{state:?}");
    }
    for state in NodeState::ALL {
        assert!(html.contains(node_mark(state).label), "{state:?}");
    }
}

#[test]
fn the_shortcuts_are_those_of_the_script() {
    let script = include_str!("../../../browser/shortcuts.js");
    let letters = script
        .lines()
        .filter(|line| line.starts_with("const PAGES") || line.starts_with("const CLUSTER_PAGES"))
        .flat_map(|line| line.split(['{', ',']).skip(1))
        .filter_map(|entry| entry.split_once(':').map(|(letter, _)| letter.trim()));
    let listed = SHORTCUTS
        .iter()
        .filter_map(|(keys, ..)| keys.strip_prefix(&["g"]).map(|rest| rest[0]));
    assert_eq!(listed.collect::<Vec<_>>(), letters.collect::<Vec<_>>());
}

#[test]
fn shortcuts_lead_only_to_pages_that_the_account_may_open() {
    let shown = |role| page(&fixtures::session("vera", &[role])).html();
    let shortcut = "<kbd>g</kbd><kbd>n</kbd>";
    assert!(!shown(Role::Viewer).contains(shortcut));
    assert!(shown(Role::Operator).contains(shortcut));
    assert!(shown(Role::Viewer).contains("<kbd>g</kbd><kbd>a</kbd>"));
}

#[test]
fn the_document_is_current() {
    let mut text = "# Glossary\n\nThe terms of the pages, as the help page of the console (`?`) explains them. \
                    Written from `app/src/fragments/help/glossary.rs`; a test keeps it equal.\n"
        .to_owned();
    for term in terms() {
        text.push_str(&format!("\n## {}\n\n{}\n", term.name, term.definition));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/glossary.md");
    if std::env::var_os("INSTA_UPDATE").is_some_and(|value| value == "always") {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), text);
}
