//! Who may listen: sign-in, sign-out, disabled accounts, made-up tokens, other origins.

use acceptance::api::{self, ConsoleClient};
use acceptance::lab::console::ConsoleUser;
use acceptance::live::{LiveClient, refusal_status};
use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode, header};
use serde_json::json;

use crate::shared;
use crate::views::PATIENCE;

const SESSION_ENDED: u16 = 4401;

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_closes_every_page_of_the_session() -> Result<()> {
    let lab = shared::lab().await?;
    let signed_in = lab.viewer().await?;
    let mut live = signed_in.live().await?;
    let mut other = lab.viewer().await?.live().await?;
    signed_in.sign_out().await?;
    ensure!(live.wait_for_close(PATIENCE).await? == SESSION_ENDED);
    let problem = signed_in
        .problem(signed_in.request(Method::GET, "/api/v1/clusters"))
        .await?;
    ensure!(problem.status == 401, "{problem:?}");
    other.subscribe(&["overview"]).await?;
    other
        .next(PATIENCE)
        .await
        .context("another session of the same account must stay open")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn disabling_an_account_ends_its_sessions_at_once() -> Result<()> {
    let lab = shared::lab().await?;
    let user = ConsoleUser::new("leaver", "viewer");
    lab.console.add_user(&user).await?;
    let api = ConsoleClient::new(&lab.console.url())?
        .sign_in(&user.name, &user.password)
        .await?;
    ensure!(api.session().await?.username == "leaver");
    let mut live = api.live().await?;
    lab.console
        .user_command(&["disable", "leaver"], None)
        .await?;
    ensure!(live.wait_for_close(PATIENCE).await? == SESSION_ENDED);
    let problem = api
        .problem(api.request(Method::GET, "/api/v1/clusters"))
        .await?;
    ensure!(problem.status == 401, "{problem:?}");
    let refused = ConsoleClient::new(&lab.console.url())?
        .sign_in(&user.name, &user.password)
        .await;
    ensure!(refused.is_err(), "a disabled account signs in");
    lab.console
        .user_command(&["remove", "leaver"], None)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_tokens_are_refused() -> Result<()> {
    let lab = shared::lab().await?;
    let signed_in = lab.viewer().await?;
    let cookie = signed_in.cookie().context("no cookie")?.to_owned();
    let (name, token) = cookie.split_once('=').context("no cookie value")?;
    let parts: Vec<_> = token.split('.').collect();
    ensure!(parts.len() == 3, "the token is not a JWT");
    // {"alg":"none","typ":"JWT"}
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", parts[1]);
    let mut signature = parts[2].to_owned();
    let middle = signature.len() / 2;
    let other = if signature[middle..].starts_with('A') {
        "B"
    } else {
        "A"
    };
    signature.replace_range(middle..=middle, other);
    let altered = format!("{}.{}.{signature}", parts[0], parts[1]);
    for forged in [
        unsigned.as_str(),
        &altered,
        "",
        "x.y.z",
        &"A".repeat(10_000),
    ] {
        let api = signed_in.clone().with_cookie(&format!("{name}={forged}"));
        let problem = api
            .problem(api.request(Method::GET, "/api/v1/clusters"))
            .await?;
        let expected = if forged.len() > 5_000 {
            problem.status == 401 || problem.status == 431
        } else {
            problem.status == 401
        };
        ensure!(expected, "{forged}: {problem:?}");
        let refused = api.live().await.err().context("a forged token listens")?;
        ensure!(
            matches!(refusal_status(&refused), Some(401 | 431)),
            "{refused:#}"
        );
    }
    ensure!(
        signed_in.session().await.is_ok(),
        "the valid session must stay open"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_another_origin_are_refused() -> Result<()> {
    let lab = shared::lab().await?;
    let signed_in = lab.viewer().await?;
    let cookie = signed_in.cookie();
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        let refused = LiveClient::connect(signed_in.base(), cookie, origin)
            .await
            .err()
            .context("it may listen")?;
        ensure!(
            refusal_status(&refused) == Some(403),
            "{origin}: {refused:#}"
        );
    }
    let refused = LiveClient::connect(signed_in.base(), None, signed_in.base())
        .await
        .err()
        .context("it may listen")?;
    ensure!(refusal_status(&refused) == Some(401), "{refused:#}");

    let foreign = reqwest::Client::new()
        .delete(format!("{}/api/v1/session", signed_in.base()))
        .header(header::COOKIE, cookie.context("no cookie")?)
        .header(header::ORIGIN, "http://evil.example");
    let problem = api::problem(foreign.send().await?).await?;
    ensure!(problem.status == 403, "{problem:?}");
    ensure!(
        signed_in.session().await.is_ok(),
        "the session must stay valid"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cookie_and_response_headers_are_strict() -> Result<()> {
    let lab = shared::lab().await?;
    let stranger = ConsoleClient::new(&lab.console.url())?;
    let user = lab.console.user("viewer")?;
    let wrong = json!({"username": user.name, "password": "wrong"});
    let unknown = json!({"username": "nobody", "password": "wrong"});
    let mut answers = Vec::new();
    for body in [wrong, unknown] {
        let problem = stranger
            .problem(
                stranger
                    .request(Method::POST, "/api/v1/session")
                    .json(&body),
            )
            .await?;
        ensure!(problem.status == 401, "{problem:?}");
        answers.push((problem.code, problem.title, problem.detail));
    }
    ensure!(
        answers[0] == answers[1],
        "the responses reveal which accounts exist: {answers:?}"
    );

    let body = json!({"username": user.name, "password": user.password});
    let answer = stranger
        .request(Method::POST, "/api/v1/session")
        .json(&body)
        .send()
        .await?;
    let cookie = answer
        .headers()
        .get(header::SET_COOKIE)
        .context("no cookie")?
        .to_str()?
        .to_owned();
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        ensure!(cookie.contains(attribute), "{cookie}");
    }
    for path in [
        "/api/v1/clusters",
        "/api/v1/clusters/lab",
        "/api/v1/clusters/lab/registry",
        "/api/v1/session",
    ] {
        let problem = stranger
            .problem(stranger.request(Method::GET, path))
            .await?;
        ensure!(problem.status == 401, "{path}: {problem:?}");
    }
    let signed_in = lab.viewer().await?;
    for path in [
        "/api/v1/clusters/nowhere",
        "/api/v1/clusters/nowhere/registry",
        "/api/v1/none",
    ] {
        let problem = signed_in
            .problem(signed_in.request(Method::GET, path))
            .await?;
        ensure!(problem.status == 404, "{path}: {problem:?}");
    }
    let page = stranger
        .request(Method::GET, "/clusters/lab")
        .send()
        .await?;
    ensure!(page.status() == StatusCode::SEE_OTHER, "{}", page.status());
    let to = page
        .headers()
        .get(header::LOCATION)
        .context("no location")?
        .to_str()?;
    ensure!(to.starts_with("/sign-in?next="), "{to}");
    Ok(())
}
