//! All accounts, for administrators: their roles with the clusters on which they count, and their state.

use galera::Timestamp;
use galera::access::{Role, RoleGrant};
use galera::publish::accounts::{AccountKind, AccountList, AccountView, OwnAccountView};

use super::account::has_recent_proof;
use super::api_client::PageQuery;
use super::form_fields::{
    CLUSTERS_LABEL, checkbox, fieldset, hint, input_field, select_field, text_field,
};
use super::widgets::{button, button_form, post_form};
use crate::data::encode_segment;
use crate::format::{link, or_unknown, quiet, sub, ticking_age};
use crate::markup::{Content, El, el};
use crate::pages::{cell, data_table, row};

const COLUMNS: [&str; 6] = [
    "Account",
    "Roles",
    "Second factor",
    "E-mail",
    "Changed",
    "Actions",
];

/// Fields of roles, and of the clusters on which they count.
const GRANT_FIELDS: [(&str, &str); 8] = [
    ("role-0", "clusters-0"),
    ("role-1", "clusters-1"),
    ("role-2", "clusters-2"),
    ("role-3", "clusters-3"),
    ("role-4", "clusters-4"),
    ("role-5", "clusters-5"),
    ("role-6", "clusters-6"),
    ("role-7", "clusters-7"),
];

pub(super) fn page(
    list: &AccountList,
    own: &OwnAccountView,
    query: &PageQuery,
    now: Timestamp,
) -> El {
    let confirmed = has_recent_proof(own, now);
    let refusal = (!confirmed).then_some("Confirm your identity first.");
    let edited = query.get("edit").unwrap_or_default();
    let edited = list.accounts.iter().find(|account| account.name == edited);
    let form = match edited {
        Some(account) => change_section(account, refusal),
        None => add_section(refusal),
    };
    let proof = el("p")
        .class("act")
        .child("Changes require a recent confirmation of your identity: ")
        .child(link(
            "/account".to_owned(),
            "confirm your identity on your account page",
        ));
    el("div")
        .class("page")
        .child(el("h1").child("Accounts"))
        .child(
            el("p")
                .class("quiet")
                .child("What accounts may do also depends on the ")
                .child(link("/settings".to_owned(), "settings of this console"))
                .child("."),
        )
        .child((!confirmed).then_some(proof))
        .child(damaged(list))
        .child(table(list, refusal, now))
        .child(form)
}

fn damaged(list: &AccountList) -> Option<El> {
    (!list.damaged.is_empty()).then(|| {
        el("p").class("error").child(format!(
            "The records of these accounts cannot be read, and they grant no access: {}.",
            list.damaged.join(", ")
        ))
    })
}

fn table(list: &AccountList, refusal: Option<&str>, now: Timestamp) -> El {
    let rows = list
        .accounts
        .iter()
        .map(|account| account_row(account, refusal, now));
    data_table("ledger accounts", "Accounts", &COLUMNS, rows.collect())
}

fn account_row(account: &AccountView, refusal: Option<&str>, now: Timestamp) -> El {
    let kind = match account.kind {
        AccountKind::Person => "person",
        AccountKind::Service => "service account",
        AccountKind::External => "identity provider",
    };
    let edit = format!("/accounts?edit={}#form", encode_segment(&account.name));
    let state = if account.disabled { ", disabled" } else { "" };
    let mut name = vec![
        link(edit, account.name.clone()).into(),
        sub(format!("{kind}{state}")).into(),
    ];
    if !account.groups.is_empty() {
        name.push(sub(format!("in {}", groups(account))).into());
    }
    let name = Content::Many(name);
    let factor: Content = match (account.kind, account.second_factor) {
        (AccountKind::Service, _) => quiet("—").into(),
        (_, true) => "Enrolled".into(),
        (_, false) => quiet("Not enrolled").into(),
    };
    let verb = if account.disabled {
        "enable"
    } else {
        "disable"
    };
    let label = if account.disabled {
        "Enable"
    } else {
        "Disable"
    };
    let action = form_action(account, verb);
    row(name)
        .child(cell("Roles", roles(account)))
        .child(cell("Second factor", factor))
        .child(cell("E-mail", or_unknown(account.email.clone())))
        .child(cell("Changed", ticking_age(account.changed_at, now)))
        .child(cell("Actions", button_form(action, label, refusal)))
}

fn groups(account: &AccountView) -> String {
    let groups: Vec<&str> = account.groups.iter().map(|group| group.as_str()).collect();
    groups.join(", ")
}

/// Each roles with where they count.
fn roles(account: &AccountView) -> Content {
    if account.grants.is_empty() {
        let roles: Vec<&str> = account.roles.iter().map(|role| role.as_str()).collect();
        return roles.join(", ").into();
    }
    let grants = account.grants.iter();
    let lines = grants.map(|grant| el("div").child(grant.to_string()).into());
    Content::Many(lines.collect())
}

fn form_action(account: &AccountView, verb: &str) -> String {
    format!("/accounts/{}/{verb}", encode_segment(&account.name))
}

fn add_section(refusal: Option<&str>) -> El {
    let kinds = [("person", "Person"), ("service", "Service account")];
    let form = post_form("/accounts".to_owned())
        .child(text_field("account-name".to_owned(), "name", "Name", ""))
        .child(select_field(
            "account-kind".to_owned(),
            "kind",
            "Kind",
            &kinds,
            "person",
        ))
        .child(input_field(
            "password",
            "account-password".to_owned(),
            "password",
            "Password of a person",
            "",
        ))
        .child(text_field(
            "account-email".to_owned(),
            "email",
            "E-mail of a person, for notifications; blank = none",
            "",
        ))
        .child(grant_fields(&[]))
        .child(submit("Add account", refusal));
    el("section")
        .attr("id", "form")
        .child(el("h2").child("Add an account"))
        .child(form)
}

fn change_section(account: &AccountView, refusal: Option<&str>) -> El {
    let close = el("p").child(link("/accounts".to_owned(), "Close"));
    let section = el("section")
        .attr("id", "form")
        .child(el("h2").child(format!("Change {}", account.name)));
    let grants = match account.grants.as_slice() {
        [] => vec![RoleGrant::of(account.roles.clone(), Default::default())],
        grants => grants.to_vec(),
    };
    let section = if account.kind == AccountKind::External {
        section.child(hint(
            "The roles come from the groups of the identity provider; change them there, or in the roles file.",
        ))
    } else if grants.len() >= GRANT_FIELDS.len() {
        section.child(hint(
            "This account has roles that this form cannot show. Change them with galera-console user role or over the API.",
        ))
    } else {
        section.child(
            post_form(form_action(account, "roles"))
                .child(grant_fields(&grants))
                .child(submit("Save roles", refusal)),
        )
    };
    let section = section.child((account.kind != AccountKind::External).then(|| {
        post_form(form_action(account, "groups"))
            .child(text_field(
                "account-groups".to_owned(),
                "groups",
                "Groups for approval policies, separated by commas; blank = none",
                groups(account),
            ))
            .child(submit("Save groups", refusal))
    }));
    let service = account.kind == AccountKind::Service;
    let act = |verb: &str, label: &str| button_form(form_action(account, verb), label, refusal);
    section
        .child(
            el("div")
                .class("acts")
                .child((!service).then(|| act("end-sessions", "End sessions")))
                .child(
                    account
                        .second_factor
                        .then(|| act("reset-factor", "Reset second factor")),
                )
                .child(act("remove", "Remove account")),
        )
        .child(close)
}

/// Fields for each grant, and for a further one.
fn grant_fields(grants: &[RoleGrant]) -> Vec<El> {
    let count = grants.len().max(1) + 1;
    let fields = GRANT_FIELDS.iter().take(count).enumerate();
    let fields = fields.map(|(index, (role_name, clusters_name))| {
        let grant = grants.get(index);
        let held = |role: &Role| grant.is_some_and(|grant| grant.roles.contains(role));
        let mut inputs: Vec<El> = Role::ALL
            .iter()
            .map(|role| checkbox(role_name, role.as_str(), role.as_str(), held(role)))
            .collect();
        let patterns = grant.map_or(&[][..], |grant| grant.clusters.selectors());
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        inputs.push(text_field(
            format!("account-{clusters_name}"),
            clusters_name,
            CLUSTERS_LABEL,
            patterns.join(", "),
        ));
        let legend = if index == 0 { "Roles" } else { "Further roles" };
        fieldset(legend, inputs)
    });
    fields.collect()
}

fn submit(label: &str, refusal: Option<&str>) -> El {
    el("div")
        .class("acts")
        .child(button(label.to_owned(), refusal))
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;
    use crate::fixtures;

    fn html(query: &str, proof_is_recent: bool) -> String {
        let now = fixtures::fixed_now();
        let account = |name: &str, kind: &str| {
            json!({"name": name, "kind": kind, "roles": ["viewer", "operator"], "email": null,
            "disabled": name == "ci", "second_factor": kind != "service", "created_at": now, "changed_at": now})
        };
        let mut limited = account("olga", "person");
        limited["grants"] =
            json!([{"roles": ["viewer"]}, {"roles": ["operator"], "clusters": ["lab", "prod-*"]}]);
        let accounts = [
            account("anna@<idp>", "external"),
            account("ci", "service"),
            limited,
        ];
        let list = json!({"accounts": accounts, "damaged": ["d<>"]});
        let list: AccountList = serde_json::from_value(list).unwrap();
        let until = match proof_is_recent {
            true => now.plus(std::time::Duration::from_secs(60)),
            false => now.minus(std::time::Duration::from_secs(60)),
        };
        let own = json!({"username": "root", "roles": ["admin"], "email": null, "sessions": [],
            "second_factor": {"required": false, "enrolled_at": null, "recovery_codes_left": 0, "enrolment": null},
            "step_up": {"proven_at": now, "valid_until": until}});
        let own: OwnAccountView = serde_json::from_value(own).unwrap();
        let uri = format!("/accounts{query}").parse().unwrap();
        let page = page(&list, &own, &PageQuery::from_uri(&uri), now);
        fixtures::by_lines(&page.html())
    }

    #[test]
    fn accounts_with_the_form_of_a_new_one() {
        assert_snapshot!(html("", true));
    }

    #[test]
    fn an_account_that_is_changed() {
        assert_snapshot!(html("?edit=olga", true));
    }

    #[test]
    fn nothing_is_changed_without_a_recent_proof() {
        let html = html("?edit=olga", false);
        let buttons = html.matches("<button").count();
        assert!(buttons > 4, "{html}");
        assert_eq!(html.matches("disabled=\"\"").count(), buttons, "{html}");
        assert!(html.contains("href=\"/account\""), "{html}");
    }

    #[test]
    fn roles_of_an_identity_provider_have_no_form() {
        let html = html("?edit=anna%40%3Cidp%3E", true);
        assert!(
            html.contains("identity provider; change them there"),
            "{html}"
        );
        assert!(!html.contains("Save roles"), "{html}");
    }
}
