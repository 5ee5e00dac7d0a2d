//! The roles file: which groups of the identity provider have which roles, on which clusters.

use std::collections::BTreeSet;

use galera::access::{ClusterScope, ClusterSelector, Role, RoleGrant, SCOPE_PATTERNS_MAX};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Most rules of a file.
const RULES_MAX: usize = 500;
/// Longest name of a group that is compared, in characters.
const GROUP_MAX: usize = 255;
/// Scopes that are requested unless the file names others.
const SCOPES: [&str; 4] = ["openid", "profile", "email", "groups"];

/// The file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RoleRulesError(String);

/// The claim with the groups cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupClaimError {
    /// The ID token has no such claim.
    #[error(
        "the ID token has no claim {0}; let the provider add it to ID tokens, or name another one in the roles file"
    )]
    Missing(String),
    /// The provider left it out, because the person is in too many groups.
    #[error(
        "the ID token has no claim {0}, because the person is in too many groups for it; let the provider send only groups that are assigned to the application, or use app roles of Entra ID (claim = \"roles\" in the roles file)"
    )]
    TooManyGroups(String),
    /// The claim is neither a text nor a list of texts.
    #[error("the claim {0} of the ID token is not a list of texts; let the provider send one")]
    NotTexts(String),
}

/// A group, its roles, and where they count.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleRule {
    group: String,
    roles: Vec<Role>,
    clusters: Option<Vec<ClusterSelector>>,
}

/// What counts as a second factor that the provider checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderFactor {
    #[serde(default)]
    acr: Vec<String>,
    #[serde(default)]
    amr: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    claim: Option<String>,
    name_claim: Option<String>,
    scopes: Option<Vec<String>>,
    groups: Option<Vec<String>>,
    #[serde(default)]
    second_factor: ProviderFactor,
    #[serde(default)]
    rule: Vec<RoleRule>,
}

/// Which groups have which roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRules {
    claim: String,
    name_claim: Option<String>,
    scopes: Vec<String>,
    /// Only groups that match one of these count; empty for all.
    filter: Vec<String>,
    second_factor: ProviderFactor,
    rules: Vec<RoleRule>,
}

impl RoleRules {
    /// Parses the text of a roles file.
    ///
    /// # Errors
    /// What is wrong with it, and the remedy.
    pub fn parse(text: &str) -> Result<Self, RoleRulesError> {
        let file: RulesFile = toml::from_str(text).map_err(|error| {
            let before = error.span().map(|span| &text[..span.start.min(text.len())]);
            let line = before.map_or(1, |before| before.lines().count().max(1));
            RoleRulesError(format!("line {line}: {}", error.message()))
        })?;
        if file.rule.is_empty() {
            return Err(RoleRulesError(
                "there is no [[rule]], so that no person could sign in; add one with group and roles"
                    .to_owned(),
            ));
        }
        if file.rule.len() > RULES_MAX {
            return Err(RoleRulesError(format!(
                "there are more than {RULES_MAX} rules; use fewer groups"
            )));
        }
        for rule in &file.rule {
            check_rule(rule).map_err(|what| {
                RoleRulesError(format!("the rule of group {:?} {what}", rule.group))
            })?;
        }
        let mut scopes: Vec<String> = match file.scopes {
            Some(scopes) => scopes,
            None => SCOPES.map(str::to_owned).to_vec(),
        };
        let is_scope = |scope: &String| {
            let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
            !scope.is_empty() && scope.bytes().all(allowed)
        };
        if let Some(bad) = scopes.iter().find(|scope| !is_scope(scope)) {
            return Err(RoleRulesError(format!(
                "scopes has {bad:?}; use names without spaces, such as \"groups\""
            )));
        }
        if !scopes.iter().any(|scope| scope == "openid") {
            scopes.insert(0, "openid".to_owned());
        }
        let claim = file.claim.unwrap_or_else(|| "groups".to_owned());
        if claim.is_empty() {
            return Err(RoleRulesError(
                "claim is empty; name the claim with the groups, such as \"groups\"".to_owned(),
            ));
        }
        Ok(Self {
            claim,
            name_claim: file.name_claim,
            scopes,
            filter: file.groups.unwrap_or_default(),
            second_factor: file.second_factor,
            rules: file.rule,
        })
    }

    /// The scopes to request, separated by spaces.
    #[must_use]
    pub fn scope(&self) -> String {
        self.scopes.join(" ")
    }

    /// The roles of a person with these claims; none if no rule matches.
    ///
    /// # Errors
    /// `GroupClaimError`: the claim is missing, left out for its length, or not a list of texts.
    pub fn grants(&self, claims: &Map<String, Value>) -> Result<Vec<RoleGrant>, GroupClaimError> {
        let groups = self.groups(claims)?;
        let matching = self.rules.iter().filter(|rule| {
            let counts = self.filter.is_empty()
                || self
                    .filter
                    .iter()
                    .any(|filter| matches(filter, &rule.group));
            counts && groups.contains(rule.group.as_str())
        });
        Ok(matching
            .map(|rule| RoleGrant {
                roles: rule.roles.clone(),
                clusters: ClusterScope::new(rule.clusters.clone().unwrap_or_default()),
                group: Some(rule.group.clone()),
            })
            .collect())
    }

    fn groups<'a>(
        &self,
        claims: &'a Map<String, Value>,
    ) -> Result<BTreeSet<&'a str>, GroupClaimError> {
        let value = find_claim(claims, &self.claim);
        let not_texts = || GroupClaimError::NotTexts(self.claim.clone());
        match value {
            None if is_left_out(claims, &self.claim) => {
                Err(GroupClaimError::TooManyGroups(self.claim.clone()))
            }
            None => Err(GroupClaimError::Missing(self.claim.clone())),
            Some(Value::String(group)) => Ok([group.as_str()].into()),
            Some(Value::Array(groups)) => groups
                .iter()
                .map(|group| group.as_str().ok_or_else(not_texts))
                .collect(),
            Some(_) => Err(not_texts()),
        }
    }

    /// What the provider calls the person; never an e-mail address that it has not verified.
    #[must_use]
    pub fn name(&self, claims: &Map<String, Value>) -> String {
        let candidates = match &self.name_claim {
            Some(claim) => vec![claim.as_str(), "sub"],
            None => vec!["preferred_username", "email", "sub"],
        };
        let mut found = candidates.into_iter().filter_map(|claim| match claim {
            "email" => verified_email(claims),
            claim => find_claim(claims, claim)?.as_str(),
        });
        let name = found.find(|text| !text.trim().is_empty());
        name.unwrap_or_default().chars().take(GROUP_MAX).collect()
    }

    /// Whether the provider checked a second factor, as the file accepts it.
    #[must_use]
    pub fn has_second_factor(&self, claims: &Map<String, Value>) -> bool {
        let acr = claims.get("acr").and_then(Value::as_str);
        let amr = claims.get("amr").and_then(Value::as_array);
        let mut methods = amr.into_iter().flatten().filter_map(Value::as_str);
        acr.is_some_and(|acr| self.second_factor.acr.iter().any(|text| text == acr))
            || methods.any(|method| self.second_factor.amr.iter().any(|text| text == method))
    }
}

fn check_rule(rule: &RoleRule) -> Result<(), String> {
    if rule.group.is_empty() || rule.group.chars().count() > GROUP_MAX {
        return Err(format!(
            "has an empty name, or one of more than {GROUP_MAX} characters"
        ));
    }
    if rule.roles.is_empty() {
        return Err("has no role; use viewer, operator, approver or admin".to_owned());
    }
    match &rule.clusters {
        Some(clusters) if clusters.is_empty() => {
            Err("has an empty list of clusters; leave out clusters for all of them".to_owned())
        }
        Some(clusters) if clusters.len() > SCOPE_PATTERNS_MAX => Err(format!(
            "has more than {SCOPE_PATTERNS_MAX} clusters; use patterns such as prod-*"
        )),
        _ => Ok(()),
    }
}

/// The claim `name`; with dots, also a member of nested ones. Names of members may have dots, as client IDs of Keycloak in
/// `resource_access.my.client.roles`: of several paths the one with the longest names counts.
fn find_claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        name.rmatch_indices('.').find_map(|(at, _)| {
            let outer = claims.get(&name[..at])?.as_object()?;
            find_claim(outer, &name[at + 1..])
        })
    })
}

/// Whether the provider left the claim out of the token for its length, as Entra ID does with more than 200 groups: it then
/// names another endpoint (OpenID Connect Core, section 5.6.2), or only sets `hasgroups`.
fn is_left_out(claims: &Map<String, Value>, claim: &str) -> bool {
    let references = claims.get("_claim_names").and_then(Value::as_object);
    let has_groups = match claims.get("hasgroups") {
        Some(Value::Bool(is_set)) => *is_set,
        Some(Value::String(text)) => text == "true",
        _ => false,
    };
    references.is_some_and(|references| references.contains_key(claim))
        || (claim == "groups" && has_groups)
}

/// The e-mail address of the person if the provider has verified it; otherwise it may be another person's.
pub(super) fn verified_email(claims: &Map<String, Value>) -> Option<&str> {
    let verified = claims.get("email_verified") == Some(&Value::Bool(true));
    claims.get("email")?.as_str().filter(|_| verified)
}

/// Whether `text` matches `pattern`, in which `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(first) else {
        return false;
    };
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    ends.into_iter().any(|at| matches(rest, &text[at..]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FILE: &str = r#"
        claim = "groups"
        groups = ["console-*"]
        [second_factor]
        amr = ["mfa"]
        [[rule]]
        group = "console-dba"
        roles = ["operator", "approver"]
        clusters = ["prod-*"]
        [[rule]]
        group = "console-all"
        roles = ["viewer"]
        [[rule]]
        group = "other"
        roles = ["admin"]
    "#;

    fn claims(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn groups_of(rules: &RoleRules, value: &Value) -> Vec<String> {
        let grants = rules.grants(&claims(value)).unwrap();
        grants.into_iter().filter_map(|grant| grant.group).collect()
    }

    #[test]
    fn groups_have_the_roles_of_their_rules() {
        let rules = RoleRules::parse(FILE).unwrap();
        let grants = rules.grants(&claims(&json!({"groups": ["console-dba", "x"]})));
        let grants = grants.unwrap();
        assert_eq!(grants.len(), 1);
        assert_eq!(grants[0].roles, [Role::Operator, Role::Approver]);
        assert_eq!(grants[0].clusters.to_string(), "prod-*");
        assert_eq!(
            groups_of(&rules, &json!({"groups": "console-all"})),
            ["console-all"]
        );
        assert!(groups_of(&rules, &json!({"groups": []})).is_empty());
        // The filter leaves it out.
        assert!(groups_of(&rules, &json!({"groups": ["other"]})).is_empty());
        let many: Vec<String> = (0..10_000).map(|number| format!("g{number}")).collect();
        let many = [many, vec!["console-all".to_owned()]].concat();
        assert_eq!(groups_of(&rules, &json!({"groups": many})), ["console-all"]);
    }

    #[test]
    fn a_claim_that_is_missing_or_no_text_is_refused() {
        let rules = RoleRules::parse(FILE).unwrap();
        for (value, expected) in [
            (json!({}), "has no claim groups"),
            (json!({"hasgroups": false}), "has no claim groups"),
            (
                json!({"_claim_names": {"address": "src1"}}),
                "has no claim groups",
            ),
            (json!({"groups": 7}), "not a list of texts"),
            (json!({"groups": ["console-all", 7]}), "not a list of texts"),
            (
                json!({"groups": {"console-all": true}}),
                "not a list of texts",
            ),
            (json!({"groups": null}), "not a list of texts"),
        ] {
            let error = rules.grants(&claims(&value)).unwrap_err().to_string();
            assert!(error.contains(expected), "{value}: {error}");
        }
    }

    #[test]
    fn a_nested_claim_is_found_by_its_path() {
        let file = "claim = \"realm_access.roles\"\n[[rule]]\ngroup = \"a\"\nroles = [\"viewer\"]";
        let rules = RoleRules::parse(file).unwrap();
        assert_eq!(
            groups_of(&rules, &json!({"realm_access": {"roles": ["a"]}})),
            ["a"]
        );
        assert_eq!(
            groups_of(&rules, &json!({"realm_access.roles": ["a"]})),
            ["a"]
        );
    }

    #[test]
    fn names_of_nested_claims_may_have_dots() {
        let file =
            "claim = \"access.my.client.roles\"\n[[rule]]\ngroup = \"a\"\nroles = [\"viewer\"]";
        let rules = RoleRules::parse(file).unwrap();
        let (found, other) = (json!(["a"]), json!(["b"]));
        for value in [
            json!({"access": {"my.client": {"roles": found}}}),
            json!({"access": {"my": {"client": {"roles": found}}}}),
            json!({"access.my": {"client.roles": found}}),
            // The longest name at each level counts.
            json!({"access.my.client.roles": found, "access.my.client": {"roles": other}}),
            json!({"access.my": {"client": {"roles": found}}, "access": {"my.client": {"roles": other}}}),
            json!({"access": {"my.client": {"roles": found}, "my": {"client": {"roles": other}}}}),
            // One that leads nowhere hides no other.
            json!({"access.my.client": {}, "access.my": "x", "access": {"my.client": {"roles": found}}}),
        ] {
            assert_eq!(groups_of(&rules, &value), ["a"], "{value}");
        }
        for value in [
            json!({"access": {"my.client": {"other": found}}}),
            json!({"access": {"my.client.": {"roles": found}}}),
            json!({"access": found}),
        ] {
            let error = rules.grants(&claims(&value)).unwrap_err();
            assert!(
                matches!(error, GroupClaimError::Missing(_)),
                "{value}: {error}"
            );
        }
    }

    #[test]
    fn groups_that_were_too_many_for_the_token_have_a_remedy() {
        let rules = RoleRules::parse(FILE).unwrap();
        let sources = json!({"src1": {"endpoint": "https://graph.example.org/getMemberObjects"}});
        for value in [
            json!({"_claim_names": {"groups": "src1"}, "_claim_sources": sources}),
            json!({"hasgroups": true}),
            json!({"hasgroups": "true"}),
        ] {
            let error = rules.grants(&claims(&value)).unwrap_err().to_string();
            for expected in ["too many groups", "no claim groups", "claim = \"roles\""] {
                assert!(error.contains(expected), "{value}: {error}");
            }
        }
        // What the token has counts.
        let both = json!({"groups": ["console-all"], "hasgroups": true});
        assert_eq!(groups_of(&rules, &both), ["console-all"]);
        // `hasgroups` is about the claim `groups` only.
        let file = "claim = \"roles\"\n[[rule]]\ngroup = \"a\"\nroles = [\"viewer\"]";
        let rules = RoleRules::parse(file).unwrap();
        let error = rules.grants(&claims(&json!({"hasgroups": true})));
        assert_eq!(error, Err(GroupClaimError::Missing("roles".to_owned())));
    }

    #[test]
    fn an_unverified_e_mail_address_is_no_name() {
        let rules = RoleRules::parse(FILE).unwrap();
        let by_email = "name_claim = \"email\"\n[[rule]]\ngroup = \"a\"\nroles = [\"viewer\"]";
        let by_email = RoleRules::parse(by_email).unwrap();
        for (value, expected, expected_by_email) in [
            (
                json!({"sub": "s", "email": "anna@example.org", "email_verified": true}),
                "anna@example.org",
                "anna@example.org",
            ),
            (
                json!({"sub": "s", "email": "boss@example.org", "email_verified": false}),
                "s",
                "s",
            ),
            (json!({"sub": "s", "email": "boss@example.org"}), "s", "s"),
            (
                json!({"sub": "s", "email": "boss@example.org", "email_verified": "yes"}),
                "s",
                "s",
            ),
            (
                json!({"sub": "s", "email": " ", "email_verified": true}),
                "s",
                "s",
            ),
            (
                json!({"sub": "s", "preferred_username": "anna", "email": "boss@example.org"}),
                "anna",
                "s",
            ),
        ] {
            assert_eq!(rules.name(&claims(&value)), expected, "{value}");
            assert_eq!(by_email.name(&claims(&value)), expected_by_email, "{value}");
        }
    }

    #[test]
    fn a_second_factor_counts_only_as_the_file_says() {
        let rules = RoleRules::parse(FILE).unwrap();
        assert!(rules.has_second_factor(&claims(&json!({"amr": ["pwd", "mfa"]}))));
        for value in [
            json!({}),
            json!({"amr": ["pwd"]}),
            json!({"acr": "mfa"}),
            json!({"amr": "mfa"}),
        ] {
            assert!(!rules.has_second_factor(&claims(&value)), "{value}");
        }
    }

    #[test]
    fn a_file_that_cannot_work_is_refused() {
        for (text, expected) in [
            ("", "no [[rule]]"),
            ("[[rule]]\ngroup = \"a\"\nroles = []", "has no role"),
            ("[[rule]]\ngroup = \"a\"\nroles = [\"root\"]", "line 3"),
            (
                "[[rule]]\ngroup = \"a\"\nroles = [\"viewer\"]\nclusters = []",
                "empty list",
            ),
            (
                "[[rule]]\ngroup = \"a\"\nroles = [\"viewer\"]\nclusters = [\"a b\"]",
                "line 4",
            ),
            ("[[rule]]\ngroup = \"\"\nroles = [\"viewer\"]", "empty name"),
            ("[[rules]]\ngroup = \"a\"", "rules"),
            (
                "claim = \"\"\n[[rule]]\ngroup = \"a\"\nroles = [\"viewer\"]",
                "claim is empty",
            ),
            (
                "scopes = [\"a b\"]\n[[rule]]\ngroup = \"a\"\nroles = [\"viewer\"]",
                "scopes",
            ),
            ("claim", "line 1"),
        ] {
            let error = RoleRules::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
