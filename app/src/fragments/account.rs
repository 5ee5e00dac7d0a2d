//! The own account: proof, second factor, password, sessions.

use galera::Timestamp;
use galera::publish::accounts::{
    EnrolmentView, ExternalAccountView, OwnAccountView, OwnFactorView, OwnSessionView,
};

use super::audit::list_text;
use super::tokens::TokenSections;
use super::widgets::{button, button_form, fact_list, humanize, post_form, primary_button};
use crate::data::encode_segment;
use crate::format::{code, countdown, or_unknown, quiet, sub, ticking_age, unknown};
use crate::markup::{Content, El, el};
use crate::pages::{cell, data_table, row};
use crate::shell::DisplayChoice;

const EVENT_COLUMNS: [&str; 4] = ["When", "Event", "By", "Details"];
/// Before what needs a recent proof.
const CONFIRM_FIRST: &str = "Confirm your identity first.";
const COLUMNS: [&str; 4] = ["Signed in", "From", "Expires in", "Actions"];

pub(super) fn page(
    account: &OwnAccountView,
    tokens: Option<&TokenSections>,
    display: DisplayChoice,
    now: Timestamp,
) -> El {
    let refusal = (!has_recent_proof(account, now)).then_some(CONFIRM_FIRST);
    let tokens = tokens.map(|tokens| tokens.render(&account.roles, refusal, now));
    el("div")
        .class("page")
        .child(el("h1").child(account.username.clone()))
        .child(facts(account, now))
        .child(enrolment_demand(&account.second_factor))
        .child(step_up_section(account, now))
        .child(factor_section(account, now))
        .child(account.external.is_none().then(password_section))
        .child(sessions_section(&account.sessions, now))
        .child(tokens.unwrap_or_default())
        .child(display_section(display))
        .child(events_section(account, now))
}

/// What is kept in cookies and storage of this browser.
fn display_section(display: DisplayChoice) -> El {
    let buttons =
        |heading: &'static str, setting: &str, chosen: &str, choices: &[(&str, &'static str)]| {
            let forms = choices.iter().map(|(choice, label)| {
                let pressed = (*choice == chosen).to_string();
                let button = el("button")
                    .attr("type", "submit")
                    .attr("aria-pressed", pressed);
                el("form")
                    .attr("method", "post")
                    .attr("action", format!("/account/display?{setting}={choice}"))
                    .child(button.child(*label))
            });
            el("section")
                .child(el("h3").child(heading))
                .child(el("div").class("acts").child(forms.collect::<Vec<_>>()))
        };
    // `app/browser/alerts.js` writes its label.
    let notify = el("button")
        .attr("type", "button")
        .attr("data-notify", "")
        .child("Turn on");
    el("section")
        .attr("id", "display")
        .child(el("h2").child("This browser"))
        .child(buttons(
            "Colors",
            "theme",
            display.theme.unwrap_or("system"),
            &[
                ("system", "Follow the system"),
                ("light", "Light"),
                ("dark", "Dark"),
            ],
        ))
        .child(buttons(
            "Times",
            "time",
            display.time.unwrap_or("utc"),
            &[("utc", "UTC"), ("local", "Time zone of the browser")],
        ))
        .child(
            el("section")
                .class("scripted")
                .child(el("h3").child("Notifications about the worst status, while a page is open"))
                .child(el("div").class("acts").child(notify)),
        )
}

/// Whether approvals and account changes are possible without another proof.
pub(super) fn has_recent_proof(account: &OwnAccountView, now: Timestamp) -> bool {
    account.step_up.valid_until.is_none_or(|until| now < until)
}

fn facts(account: &OwnAccountView, now: Timestamp) -> El {
    let roles: Vec<&str> = account.roles.iter().map(|role| role.as_str()).collect();
    let factor: Content = match account.second_factor.enrolled_at {
        Some(at) => Content::Many(vec!["Enrolled".into(), sub(ticking_age(at, now)).into()]),
        None if account.second_factor.required => "Required, not enrolled".into(),
        None => "Not enrolled".into(),
    };
    let proof: Content = match account.step_up.valid_until {
        Some(until) if now < until => {
            Content::Many(vec!["Valid for ".into(), countdown(until, now).into()])
        }
        Some(_) if account.external.is_some() => "Sign in again".into(),
        Some(_) => "Enter your password or a code again".into(),
        None => "Valid for the whole session".into(),
    };
    let external = account.external.as_ref();
    let grants = external.map_or(&account.grants, |external| &external.grants);
    let roles: Content = match grants.as_slice() {
        [] => roles.join(", ").into(),
        grants => Content::Many(
            grants
                .iter()
                .map(|text| el("div").child(text.clone()).into())
                .collect(),
        ),
    };
    let mut facts = vec![("Roles", roles)];
    facts.extend(external.map(|external| ("Signs in with", provider(external))));
    facts.extend([
        ("E-mail", or_unknown(account.email.clone()).into()),
        ("Second factor", factor),
        (
            "Identity confirmed, for approvals and account changes",
            proof,
        ),
    ]);
    fact_list(facts)
}

/// The identity provider, and what it calls the person.
fn provider(external: &ExternalAccountView) -> Content {
    let identity = format!("{} at {}", external.subject, external.issuer);
    Content::Many(vec![external.provider.clone().into(), sub(identity).into()])
}

fn enrolment_demand(factor: &OwnFactorView) -> Option<El> {
    (factor.required && factor.enrolled_at.is_none()).then(|| {
        el("p").class("error").child(
            "One of your roles requires a second factor. Until you enrol one, nothing else is available.",
        )
    })
}

fn step_up_section(account: &OwnAccountView, now: Timestamp) -> Option<El> {
    if has_recent_proof(account, now) {
        return None;
    }
    if let Some(external) = &account.external
        && account.second_factor.enrolled_at.is_none()
    {
        return Some(sign_in_again(external));
    }
    let label = proof_label(account.second_factor.enrolled_at.is_some());
    let form = post_form("/account/step-up".to_owned())
        .child(secret_field("proof", label, "current-password"))
        .child(
            el("div")
                .class("acts")
                .child(primary_button("Confirm".to_owned(), None)),
        );
    let text = "Approvals, emergency overrides and account changes require that you confirmed your identity recently.";
    Some(
        el("section")
            .child(el("h2").child("Confirm your identity"))
            .child(el("p").class("quiet").child(text))
            .child(form),
    )
}

/// The proof of an account without a password here.
fn sign_in_again(external: &ExternalAccountView) -> El {
    let text = "Approvals, emergency overrides and account changes require that you confirmed your identity recently.";
    let link = el("a")
        .attr("href", "/oidc/sign-in?proof=on&next=/account")
        .child(format!("Sign in again with {}", external.provider));
    el("section")
        .child(el("h2").child("Confirm your identity"))
        .child(el("p").class("quiet").child(text))
        .child(el("p").child(link))
}

/// What proves that the account's owner uses the session.
pub(super) fn proof_label(has_factor: bool) -> &'static str {
    if has_factor {
        "Code of your authenticator app, or a recovery code"
    } else {
        "Password"
    }
}

fn factor_section(account: &OwnAccountView, now: Timestamp) -> El {
    let factor = &account.second_factor;
    let recent = has_recent_proof(account, now);
    let refusal = (!recent).then_some(CONFIRM_FIRST);
    let section = el("section").child(el("h2").child("Second factor"));
    if let Some(enrolment) = &factor.enrolment {
        return section.child(enrolment_form(enrolment, now));
    }
    let start = |label: &str| button_form("/account/factor".to_owned(), label, refusal);
    match factor.enrolled_at {
        None => {
            section
                .child(el("p").class("quiet").child(
                    "An authenticator app shows a code that is asked for after the password.",
                ))
                .child(start("Enrol an authenticator app"))
        }
        Some(_) => section
            .child(el("p").child(format!(
                "{} of your recovery codes are unused.",
                factor.recovery_codes_left
            )))
            .child(
                el("div")
                    .class("acts")
                    .child(native_form(
                        "/account/recovery-codes",
                        Vec::new(),
                        "Create new recovery codes",
                        refusal,
                    ))
                    .child(start("Replace by another app"))
                    .child((!factor.required).then(|| {
                        let action = "/account/factor/remove".to_owned();
                        button_form(action, "Remove", refusal)
                    })),
            ),
    }
}

fn enrolment_form(enrolment: &EnrolmentView, now: Timestamp) -> El {
    let image = el("img")
        .class("qr")
        .attr("src", "/api/v1/me/factor/qr.svg")
        .attr("alt", "QR code of the secret")
        .attr("width", "196")
        .attr("height", "196");
    let field = el("div")
        .class("field")
        .child(
            el("label")
                .attr("for", "factor-code")
                .child("Code that the app shows now"),
        )
        .child(
            el("input")
                .attr("id", "factor-code")
                .attr("name", "code")
                .attr("autocomplete", "one-time-code")
                .attr("inputmode", "numeric")
                .attr("maxlength", "10")
                .attr("required", ""),
        );
    let secret = fact_list(vec![
        ("Secret", code(enrolment.secret.clone()).into()),
        ("Expires in", countdown(enrolment.expires_at, now).into()),
    ]);
    el("div")
        .child(el("p").child(
            "Scan the code with an authenticator app, or enter the secret there. Your other sessions end when you confirm.",
        ))
        .child(image)
        .child(secret)
        .child(native_form(
            "/account/factor/confirm",
            vec![field],
            "Confirm",
            None,
        ))
}

/// A form that the browser submits itself, because its response is a page that is shown once. The script intercepts forms
/// whose own method is POST.
pub(super) fn native_form(
    action: &'static str,
    fields: Vec<El>,
    label: &str,
    refusal: Option<&str>,
) -> El {
    let button = el("button")
        .attr("type", "submit")
        .attr("formmethod", "post")
        .optional_attr("disabled", refusal.map(|_| ""))
        .child(label.to_owned());
    let why = refusal.map(|why| el("span").class("why-not").child(why.to_owned()));
    let form = el("form");
    let form = if fields.is_empty() {
        form
    } else {
        form.class("sheet")
    };
    form.attr("method", "get")
        .attr("action", action)
        .child(fields)
        .child(el("p").class("act").child(button).child(why))
}

fn password_section() -> El {
    let form = post_form("/account/password".to_owned())
        .child(secret_field(
            "current",
            "Current password",
            "current-password",
        ))
        .child(secret_field("new", "New password", "new-password"))
        .child(
            el("div")
                .class("acts")
                .child(button("Change password".to_owned(), None)),
        );
    el("section")
        .child(el("h2").child("Password"))
        .child(
            el("p").class("quiet").child(
                "At least 12 characters that are not easily guessed. Your other sessions end.",
            ),
        )
        .child(form)
}

fn secret_field(name: &'static str, label: &'static str, complete: &'static str) -> El {
    let id = format!("account-{name}");
    let input = el("input")
        .attr("type", "password")
        .attr("id", id.clone())
        .attr("name", name)
        .attr("autocomplete", complete)
        .attr("maxlength", "1024")
        .attr("required", "");
    el("div")
        .class("field")
        .child(el("label").attr("for", id).child(label))
        .child(input)
}

fn sessions_section(sessions: &[OwnSessionView], now: Timestamp) -> El {
    let rows = sessions.iter().map(|session| session_row(session, now));
    let table = data_table(
        "ledger sessions",
        "Sessions of your account",
        &COLUMNS,
        rows.collect(),
    );
    el("section")
        .child(el("h2").child("Sessions"))
        .child(table)
        .child(button_form(
            "/account/sessions/end".to_owned(),
            "Sign out everywhere",
            None,
        ))
}

fn session_row(session: &OwnSessionView, now: Timestamp) -> El {
    let from: Content = match &session.address {
        Some(address) => Content::Many(vec![
            address.clone().into(),
            sub(session.user_agent.clone().unwrap_or_default()).into(),
        ]),
        None => unknown().into(),
    };
    let end: Content = if session.current {
        quiet("This session").into()
    } else {
        let action = format!("/account/sessions/{}/end", encode_segment(&session.id));
        button_form(action, "End", None).into()
    };
    row(ticking_age(session.created_at, now))
        .child(cell("From", from))
        .child(cell("Expires in", countdown(session.expires_at, now)))
        .child(cell("Actions", end))
}

/// What happened to the account, so that its owner notices what another person did.
fn events_section(account: &OwnAccountView, now: Timestamp) -> El {
    let section = el("section").child(el("h2").child("Last changes to your account"));
    if account.recent_events.is_empty() {
        return section.child(
            el("p")
                .class("quiet")
                .child("No changes in the newest audit entries."),
        );
    }
    let rows = account.recent_events.iter().map(|event| {
        let by: Content = if event.actor == account.username {
            quiet("You").into()
        } else {
            event.actor.clone().into()
        };
        let detail: Vec<El> = event
            .detail
            .iter()
            .map(|(name, value)| {
                el("li").child(format!("{}: {}", humanize(name), list_text(name, value)))
            })
            .collect();
        row(ticking_age(event.at, now))
            .child(cell(EVENT_COLUMNS[1], humanize(&event.event)))
            .child(cell(EVENT_COLUMNS[2], by))
            .child(cell(
                EVENT_COLUMNS[3],
                el("ul").class("evidence").child(detail),
            ))
    });
    section.child(data_table(
        "ledger account-events",
        "Last changes to your account, newest first",
        &EVENT_COLUMNS,
        rows.collect(),
    ))
}

/// The field for the proof that `what` needs, in the form whose fields have ids that begin with `id`.
pub(super) fn proof_field(id: &str, what: &str) -> El {
    let id = format!("{id}-proof");
    let label = format!("Password or second-factor code {what}; blank if you entered one recently");
    let input = el("input")
        .attr("type", "password")
        .attr("id", id.clone())
        .attr("name", "proof")
        .attr("autocomplete", "off")
        .attr("maxlength", "1024");
    el("div")
        .class("field")
        .child(el("label").attr("for", id).child(label))
        .child(input)
}

#[cfg(test)]
mod tests;
