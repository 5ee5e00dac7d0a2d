use super::*;

const AT: Timestamp = Timestamp::from_unix_millis(1_795_420_800_000);

fn settings(names: &[(&str, &str)]) -> PageSettings {
    let listed = names.iter().map(|(cluster, name)| PageCluster {
        cluster: cluster.parse().unwrap(),
        name: (*name).to_owned(),
    });
    PageSettings {
        title: "Databases".to_owned(),
        clusters: listed.collect(),
        visibility: PageVisibility::Link,
        ..PageSettings::default()
    }
}

fn link(id: usize) -> Link {
    Link {
        id: id.to_string(),
        label: "partner".to_owned(),
        hash: String::new(),
        created_by: "ada".to_owned(),
        created_at: AT,
        expires_at: None,
        revoked_at: None,
    }
}

#[test]
fn a_cluster_has_its_own_name_unless_another_is_given() {
    let kept = settings(&[("lab", " "), ("prod", "Shop")])
        .validated()
        .unwrap();
    let names: Vec<&str> = kept.clusters.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names, ["lab", "Shop"]);
}

#[test]
fn pages_name_each_cluster_once_and_differently() {
    for (names, expected) in [
        (&[][..], StatusPageRefusal::NoCluster),
        (
            &[("lab", "a"), ("lab", "b")],
            StatusPageRefusal::Duplicate("lab".to_owned()),
        ),
        (
            &[("lab", "a"), ("prod", "a")],
            StatusPageRefusal::Duplicate("a".to_owned()),
        ),
    ] {
        assert_eq!(settings(names).validated(), Err(expected));
    }
}

fn page(listed: &[(&str, &str)], labels: &[&str]) -> StatusPageRecord {
    let settings = PageSettings {
        labels: labels.iter().map(|label| label.parse().unwrap()).collect(),
        ..settings(listed)
    };
    StatusPageRecord::new("db".parse().unwrap(), settings, "ada", AT).unwrap()
}

fn known(clusters: &[(&str, &str)]) -> Vec<LabelledCluster> {
    let labelled = clusters.iter().map(|(name, env)| {
        let labels = BTreeMap::from([("env".to_owned(), (*env).to_owned())]);
        (name.parse().unwrap(), labels)
    });
    labelled.collect()
}

fn shown(page: &StatusPageRecord, known: &[LabelledCluster]) -> Vec<String> {
    let page = page.expanded(known);
    let listed = page.settings.clusters.iter();
    listed
        .map(|listed| format!("{}={}", listed.cluster, listed.name))
        .collect()
}

#[test]
fn labels_select_clusters_after_the_listed_ones() {
    let known = known(&[("a", "prod"), ("b", "test"), ("c", "prod"), ("lab", "prod")]);
    let both = page(&[("lab", "Shop"), ("b", "a")], &["env=prod"]);
    assert_eq!(shown(&both, &known), ["lab=Shop", "b=a", "a=a (2)", "c=c"]);
    let labels = page(&[], &["env=test", "tier=1", "env=test"]);
    assert_eq!(labels.settings.labels.len(), 2);
    assert_eq!(shown(&labels, &known), ["b=b"]);
    assert_eq!(shown(&labels, &[]), [""; 0]);
    let none = page(&[("lab", "")], &[]);
    assert_eq!(none.expanded(&known), none);
    let c = "c".parse().unwrap();
    assert!(!both.shows_cluster(&c) && both.expanded(&known).shows_cluster(&c));
    // A value must be equal, and so must the key.
    for label in ["env=pro", "env=production", "en=prod", "ENV=prod"] {
        assert_eq!(shown(&page(&[], &[label]), &known), [""; 0], "{label}");
    }
}

#[test]
fn a_page_shows_a_bounded_number_of_clusters() {
    let names: Vec<String> = (0..2_000).map(|number| format!("c{number:04}")).collect();
    let clusters: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let shown = shown(&page(&[("lab", "")], &["env=x"]), &known(&clusters));
    assert_eq!(shown.len(), CLUSTERS_MAX);
    assert_eq!(
        (shown[0].as_str(), shown[1].as_str()),
        ("lab=lab", "c0000=c0000")
    );
    let many = PageSettings {
        labels: (0..11)
            .map(|value| format!("k={value}").parse().unwrap())
            .collect(),
        ..settings(&[])
    };
    assert!(matches!(
        many.validated(),
        Err(StatusPageRefusal::TooMany { .. })
    ));
}

#[test]
fn pages_of_earlier_versions_select_by_no_label() {
    let page = page(&[("lab", "Shop")], &[]);
    let json = serde_json::to_value(&page).unwrap();
    assert!(json.get("labels").is_none(), "{json}");
    assert_eq!(
        serde_json::from_value::<StatusPageRecord>(json).unwrap(),
        page
    );
}

#[test]
fn origins_are_safe_in_a_header() {
    for good in [
        "https://a.example",
        "http://localhost:8080",
        "https://*.example.org",
        "https://A.example/",
    ] {
        assert!(good.parse::<EmbedOrigin>().is_ok(), "{good}");
    }
    for bad in [
        "",
        "*",
        "a.example",
        "ftp://a",
        "https://",
        "https://a/b",
        "https://a;script-src *",
        "https://a b",
        "https://a:0",
        "https://a:x",
        "https://*",
        "https://a\r\nb",
        "'self'",
    ] {
        assert!(bad.parse::<EmbedOrigin>().is_err(), "{bad:?}");
    }
}

#[test]
fn links_expire_and_can_be_revoked() {
    let page = StatusPageRecord::new("db".parse().unwrap(), settings(&[("lab", "")]), "ada", AT);
    let page = page.unwrap();
    let expiring = Link {
        expires_at: Some(AT.plus(std::time::Duration::from_secs(60))),
        ..link(1)
    };
    let page = page.with_link(expiring).unwrap();
    assert!(page.links[0].is_valid(AT));
    assert!(!page.links[0].is_valid(AT.plus(std::time::Duration::from_secs(60))));
    let page = page.with_link_revoked("1", AT).unwrap().unwrap();
    assert!(!page.links[0].is_valid(AT));
    assert_eq!(
        page.with_link_revoked("1", AT),
        Some(Err(StatusPageRefusal::LinkRevoked))
    );
    assert_eq!(page.with_link_revoked("2", AT), None);
}

#[test]
fn invalid_links_are_removed_to_make_room_and_valid_ones_are_not() {
    let page = StatusPageRecord::new("db".parse().unwrap(), settings(&[("lab", "")]), "ada", AT);
    let mut page = page.unwrap();
    for id in 0..LINKS_MAX {
        page = page.with_link(link(id)).unwrap();
    }
    assert!(page.with_link(link(LINKS_MAX)).is_err());
    let page = page.with_link_revoked("7", AT).unwrap().unwrap();
    let page = page.with_link(link(LINKS_MAX)).unwrap();
    assert_eq!(page.links.len(), LINKS_MAX);
    assert!(page.links.iter().all(|link| link.id != "7"));
}
