//! Sign-on with an identity provider.

use super::*;

#[test]
fn an_identity_provider_needs_a_client_a_roles_file_and_a_public_url() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        format!("roles = \"{}\"\n", path.display())
    };
    let roles = write(
        "roles.toml",
        "[[rule]]\ngroup = \"dba\"\nroles = [\"operator\"]",
    );
    let broken = write(
        "broken.toml",
        "[[rule]]\ngroup = \"dba\"\nroles = [\"root\"]",
    );
    let url = "public_url = \"https://console.example.org\"\n";
    let issuer = "[oidc]\nissuer = \"https://idp.example.org/realms/main\"\n";
    let id = "client_id = \"console\"\n";
    let good = format!("{url}session_lifetime = \"8h\"\n{issuer}{id}{roles}");
    let config = load(&file(&good).inputs()).unwrap();
    let sign_on = config.http.sign_on.unwrap();
    assert_eq!(sign_on.name, "idp.example.org");
    assert_eq!(sign_on.session_lifetime, Duration::from_secs(8 * 3600));
    assert!(config.http.local_accounts);
    let longer = format!("{good}session_lifetime = \"1d\"\n");
    let sign_on = load(&file(&longer).inputs()).unwrap().http.sign_on.unwrap();
    assert_eq!(sign_on.session_lifetime, Duration::from_secs(8 * 3600));
    let plain = issuer.replace("https", "http");
    for (text, words) in [
        (format!("{url}{issuer}{id}"), "requires --oidc-roles"),
        (format!("{url}{issuer}{roles}"), "requires --oidc-client-id"),
        (format!("{issuer}{id}{roles}"), "requires --public-url"),
        (format!("{url}[oidc]\n{id}"), "requires --oidc-issuer"),
        (format!("{url}{issuer}{id}{broken}"), "line 3"),
        (format!("{url}{plain}{id}{roles}"), "is not encrypted"),
        (
            "local_accounts = \"off\"".to_owned(),
            "requires --oidc-issuer",
        ),
        (
            "local_accounts = \"maybe\"".to_owned(),
            "expected on or off",
        ),
    ] {
        let problems = file(&text).problems().join("\n");
        assert!(problems.contains(words), "{text}: {problems}");
    }
}
