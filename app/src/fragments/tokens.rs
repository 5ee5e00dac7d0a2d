//! API tokens on the page of the own account, and for administrators service accounts and the tokens of all accounts.

use galera::Timestamp;
use galera::access::{Role, RoleGrant};
use galera::publish::accounts::{
    AccountKind, AccountList, AccountView, TokenList, TokenState, TokenView,
};

use super::account::native_form;
use super::form_fields::{CLUSTERS_LABEL, checkbox, fieldset, hint, input_field, text_field};
use super::widgets::{button, button_form, hidden_field, post_form};
use crate::data::encode_segment;
use crate::format::{code, countdown, link, quiet, sub, ticking_age};
use crate::markup::{Content, El, el};
use crate::pages::{cell, data_table, row};

const COLUMNS: [&str; 6] = [
    "Name",
    "Roles",
    "Clusters",
    "Expires in",
    "Last used",
    "Actions",
];
const ALL_COLUMNS: [&str; 7] = [
    "Name",
    "Account",
    "Roles",
    "Clusters",
    "Expires in",
    "Last used",
    "Actions",
];

/// What the page shows of tokens.
pub(super) struct TokenSections {
    /// Of the own account.
    pub(super) own: TokenList,
    /// Of all accounts, for administrators.
    pub(super) all: Option<TokenList>,
    /// For administrators.
    pub(super) accounts: Option<AccountList>,
}

impl TokenSections {
    /// The sections; `roles` are those of the own account, `refusal` says what must be done before a token is created.
    pub(super) fn render(&self, roles: &[Role], refusal: Option<&str>, now: Timestamp) -> Vec<El> {
        let mut sections = vec![own_section(&self.own, roles, refusal, now)];
        if let Some(accounts) = &self.accounts {
            sections.push(services_section(accounts, refusal));
        }
        if let Some(all) = &self.all {
            sections.push(all_section(all, now));
        }
        sections
    }
}

fn own_section(tokens: &TokenList, roles: &[Role], refusal: Option<&str>, now: Timestamp) -> El {
    let section = el("section")
        .attr("id", "tokens")
        .child(el("h2").child("API tokens"))
        .child(hint(
            "For programs, as Authorization: Bearer. A token has never more rights than your account now, and ends with your password.",
        ));
    let section = if tokens.tokens.is_empty() {
        section
    } else {
        let rows = tokens
            .tokens
            .iter()
            .map(|token| token_row(token, false, now));
        let name = "API tokens of your account";
        section.child(data_table("ledger tokens", name, &COLUMNS, rows.collect()))
    };
    section.child(native_form(
        "/account/tokens",
        token_fields("token", roles, None),
        "Create token",
        refusal,
    ))
}

/// The fields of a new token, whose ids begin with `id`; of the service account `account`, if that is given.
fn token_fields(id: &str, roles: &[Role], account: Option<&str>) -> Vec<El> {
    let boxes: Vec<El> = roles
        .iter()
        .map(|role| checkbox("role", role.as_str(), role.as_str(), roles.len() == 1))
        .collect();
    let mut fields = vec![
        text_field(format!("{id}-name"), "name", "Name, such as deploy", ""),
        fieldset("Roles", boxes),
        text_field(format!("{id}-clusters"), "clusters", CLUSTERS_LABEL, ""),
        input_field(
            "number",
            format!("{id}-days"),
            "days",
            "Valid for days",
            "30",
        ),
    ];
    fields.extend(account.map(|name| hidden_field("account", name.to_owned())));
    fields
}

fn token_row(token: &TokenView, with_account: bool, now: Timestamp) -> El {
    let roles: Vec<&str> = token.roles.iter().map(|role| role.as_str()).collect();
    let end: Content = match token.state {
        TokenState::Active => countdown(token.expires_at, now).into(),
        state => quiet(state.as_str()).into(),
    };
    let used: Content = match (token.last_used_at, &token.last_used_from) {
        (Some(at), from) => Content::Many(vec![
            ticking_age(at, now).into(),
            sub(from.clone().unwrap_or_default()).into(),
        ]),
        (None, _) => quiet("Never").into(),
    };
    let action: Content = match token.state {
        TokenState::Active => {
            let action = format!("/account/tokens/{}/revoke", encode_segment(&token.id));
            button_form(action, "Revoke", None).into()
        }
        _ => "".into(),
    };
    let name = Content::Many(vec![
        token.name.clone().into(),
        sub(code(token.id.clone())).into(),
    ]);
    let cells = row(name);
    let cells = match with_account {
        true => cells.child(cell("Account", token.account.clone())),
        false => cells,
    };
    cells
        .child(cell("Roles", roles.join(", ")))
        .child(cell("Clusters", token.clusters.to_string()))
        .child(cell("Expires in", end))
        .child(cell("Last used", used))
        .child(cell("Actions", action))
}

fn services_section(accounts: &AccountList, refusal: Option<&str>) -> El {
    let is_service = |account: &&AccountView| account.kind == AccountKind::Service;
    let services: Vec<&AccountView> = accounts.accounts.iter().filter(is_service).collect();
    let list: Vec<El> = services
        .into_iter()
        .map(|account| {
            let roles = match account.grants.as_slice() {
                [] => account.roles.iter().map(Role::to_string).collect(),
                grants => grants.iter().map(RoleGrant::to_string).collect::<Vec<_>>(),
            };
            let state = if account.disabled { ", disabled" } else { "" };
            let id = format!("service-{}", account.name);
            let fields = token_fields(&id, &account.roles, Some(&account.name));
            el("details")
                .child(el("summary").child(format!(
                    "{} ({}{state})",
                    account.name,
                    roles.join(", ")
                )))
                .child(native_form(
                    "/account/tokens",
                    fields,
                    "Create token",
                    refusal,
                ))
        })
        .collect();
    let boxes: Vec<El> = Role::ALL
        .into_iter()
        .map(|role| checkbox("role", role.as_str(), role.as_str(), false))
        .collect();
    let form = post_form("/account/services".to_owned())
        .child(text_field("service-name".to_owned(), "name", "Name", ""))
        .child(fieldset("Roles", boxes))
        .child(text_field(
            "service-clusters".to_owned(),
            "clusters",
            CLUSTERS_LABEL,
            "",
        ))
        .child(
            el("div")
                .class("acts")
                .child(button("Add service account".to_owned(), refusal)),
        );
    el("section")
        .attr("id", "services")
        .child(el("h2").child("Service accounts"))
        .child(hint(
            "Accounts of programs: without a password, with tokens only. They may request actions; by default they never approve.",
        ))
        .child(el("p").child(link("/accounts".to_owned(), "Manage all accounts")))
        .child(list)
        .child(form)
}

fn all_section(tokens: &TokenList, now: Timestamp) -> El {
    let section = el("section")
        .attr("id", "all-tokens")
        .child(el("h2").child("Tokens of all accounts"));
    if tokens.tokens.is_empty() {
        return section.child(hint("No API tokens."));
    }
    let rows = tokens
        .tokens
        .iter()
        .map(|token| token_row(token, true, now));
    let name = "API tokens of all accounts";
    section.child(data_table(
        "ledger tokens",
        name,
        &ALL_COLUMNS,
        rows.collect(),
    ))
}
