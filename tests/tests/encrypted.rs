//! Notifications over TLS: e-mail with STARTTLS and implicit TLS and with an account, webhooks over HTTPS; and the
//! errors if that fails.

use std::path::Path;
use std::time::Duration;

use acceptance::api::ConsoleClient;
use acceptance::lab::certificates::{CertificateAuthority, CertificateFiles, Validity};
use acceptance::lab::console::LabConsole;
use acceptance::lab::receivers::{HttpReceiver, SmtpReceiver, SmtpSecurity, titles};
use acceptance::{Lab, eventually};
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

/// Longest wait for a notification, including failed attempts and their delays.
const NOTIFICATION_TIMEOUT: Duration = Duration::from_secs(120);
const ACCOUNT: &str = "console:the-right-password";
const PASSWORD: &str = "the-right-password";

/// A lab of etcd alone: the cluster that consoles see is one that refuses connections.
async fn lab() -> Result<Lab> {
    Lab::builder().nodes(0).start().await
}

/// A console with these further arguments.
async fn console(lab: &Lab, more: &[&str]) -> Result<LabConsole> {
    let mut settings = lab.console_settings();
    settings.clusters = vec!["void=127.0.0.1:1".to_owned()];
    settings.extra_arguments = more.iter().map(|text| (*text).to_owned()).collect();
    settings
        .extra_arguments
        .extend(["--notify-allow".to_owned(), "127.0.0.1".to_owned()]);
    LabConsole::start(settings).await
}

/// A console that sends its e-mail to `port`.
async fn console_with_smtp(lab: &Lab, port: u16, more: &[&str]) -> Result<LabConsole> {
    let port = port.to_string();
    let own = ["--smtp-from", "console@example.org", "--smtp-port", &port];
    console(lab, &[&own, more].concat()).await
}

fn password(lab: &Lab, text: &str) -> Result<String> {
    let path = lab.directory().join("smtp.password");
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("the path is not UTF-8")
}

fn team() -> Value {
    json!({"name": "team", "type": "email", "to": ["dba@example.org"], "minimum_seconds": 0})
}

fn hook(url: &str) -> Value {
    json!({"name": "hook", "type": "webhook", "url": url, "secret": "0123456789abcdef0123456789abcdef",
        "minimum_seconds": 0})
}

async fn post(admin: &ConsoleClient, path: &str, body: &Value) -> Result<Value> {
    let answer = admin.request(Method::POST, path).json(body).send().await?;
    let (status, text) = (answer.status(), answer.text().await?);
    ensure!(status.is_success(), "{status}: {text}");
    Ok(serde_json::from_str(&text)?)
}

async fn add(admin: &ConsoleClient, target: &Value) -> Result<String> {
    let target = post(admin, "/api/v1/notifications/targets", target).await?;
    Ok(target["id"].as_str().context("no id")?.to_owned())
}

/// Adds a target without any events and sends a test notification.
async fn add_and_test(admin: &ConsoleClient, target: &Value) -> Result<Value> {
    let mut target = target.clone();
    target["enabled"] = false.into();
    let id = add(admin, &target).await?;
    post(
        admin,
        &format!("/api/v1/notifications/targets/{id}/test"),
        &json!({}),
    )
    .await
}

/// The test notification fails with an error that contains these `words`.
async fn ensure_test_fails(admin: &ConsoleClient, target: &Value, words: &str) -> Result<()> {
    let delivery = add_and_test(admin, target).await?;
    let error = delivery["tries"][0]["error"].as_str().unwrap_or_default();
    ensure!(
        delivery["state"] == "failed" && error.contains(words),
        "{words}: {delivery}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_is_sent_encrypted_and_authenticated() -> Result<()> {
    let lab = lab().await?;
    let authority = CertificateAuthority::create(lab.directory(), "authority")?;
    let identity = authority.issue("localhost", Validity::Now)?;
    let file = password(&lab, PASSWORD)?;
    for (tls, implicit) in [("starttls", false), ("implicit", true)] {
        let security = SmtpSecurity {
            identity: Some(&identity),
            implicit,
            account: Some(ACCOUNT),
        };
        let smtp = SmtpReceiver::start_secured(lab.directory(), security).await?;
        let ca = text(authority.certificate())?;
        let more = ["--smtp-host", "localhost", "--smtp-tls", tls];
        let account = ["--smtp-user", "console", "--smtp-password-file", &file];
        let console = console_with_smtp(
            &lab,
            smtp.port(),
            &[&more[..], &account, &["--notify-ca", ca]].concat(),
        )
        .await?;
        let admin = console.sign_in("admin").await?;
        let delivery = add_and_test(&admin, &team()).await?;
        ensure!(delivery["state"] == "delivered", "{tls}: {delivery}");
        add(&admin, &team()).await?;
        eventually("both messages", NOTIFICATION_TIMEOUT, async || {
            let mails = smtp.mails()?;
            let subjects: Vec<&str> = mails.iter().map(|mail| mail.subject.as_str()).collect();
            ensure!(subjects.len() == 2, "{tls}: {subjects:?}");
            ensure!(subjects[1] == "[critical] void is down", "{subjects:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_delivery_failures_are_reported() -> Result<()> {
    let lab = lab().await?;
    let authority = CertificateAuthority::create(lab.directory(), "authority")?;
    let ca = text(authority.certificate())?;
    let identity = authority.issue("localhost", Validity::Now)?;
    let other = authority.issue("mail.example.org", Validity::Now)?;
    let guarded = async |identity, implicit| {
        let account = None;
        let security = SmtpSecurity {
            identity,
            implicit,
            account,
        };
        SmtpReceiver::start_secured(lab.directory(), security).await
    };
    let plain = guarded(None, false).await?;
    let starttls = guarded(Some(&identity), false).await?;
    let implicit = guarded(Some(&identity), true).await?;
    let misnamed = guarded(Some(&other), false).await?;
    let trusting = ["--notify-ca", ca];
    let foreign = "unknown authority; if it is yours, add it with --notify-ca";
    for (smtp, tls, more, words) in [
        (&starttls, "starttls", &[][..], foreign),
        (&implicit, "implicit", &[], foreign),
        (
            &misnamed,
            "starttls",
            &trusting,
            "its certificate is for mail.example.org, not for that name",
        ),
        // Never in clear text if encryption is configured, and vice versa.
        (&plain, "starttls", &trusting, "STARTTLS"),
        (&starttls, "none", &[], "530"),
        (
            &starttls,
            "implicit",
            &trusting,
            "the server does not speak TLS",
        ),
    ] {
        let own = ["--smtp-host", "localhost", "--smtp-tls", tls];
        let console = console_with_smtp(&lab, smtp.port(), &[&own, more].concat()).await?;
        let admin = console.sign_in("admin").await?;
        ensure_test_fails(&admin, &team(), words).await?;
        ensure!(smtp.mails()?.is_empty(), "{tls}: {:?}", smtp.mails()?);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_account_loses_no_mail() -> Result<()> {
    let lab = lab().await?;
    let authority = CertificateAuthority::create(lab.directory(), "authority")?;
    let identity = authority.issue("localhost", Validity::Now)?;
    let security = SmtpSecurity {
        identity: Some(&identity),
        implicit: false,
        account: Some(ACCOUNT),
    };
    let smtp = SmtpReceiver::start_secured(lab.directory(), security).await?;
    let file = password(&lab, "an-old-password")?;
    let more = [
        "--smtp-host",
        "localhost",
        "--smtp-user",
        "console",
        "--smtp-password-file",
        &file,
        "--notify-ca",
        text(authority.certificate())?,
    ];
    let console = console_with_smtp(&lab, smtp.port(), &more).await?;
    let admin = console.sign_in("admin").await?;
    ensure_test_fails(
        &admin,
        &team(),
        "check --smtp-user and --smtp-password-file",
    )
    .await?;
    let target = add(&admin, &team()).await?;
    let path = format!("/api/v1/notifications/deliveries?target={target}");
    // A message that is refused for its own sake is given up by now.
    eventually("five attempts", NOTIFICATION_TIMEOUT, async || {
        let list: Value = admin.get(&path).await?;
        let delivery = &list["deliveries"][0];
        ensure!(delivery["attempts"].as_u64() >= Some(5), "{list}");
        ensure!(delivery["state"] == "waiting", "{list}");
        ensure!(delivery["tries"][0]["status"] == 535, "{list}");
        ensure!(!list.to_string().contains("an-old-password"), "{list}");
        Ok(())
    })
    .await?;
    console.stop().await?;
    password(&lab, PASSWORD)?;
    console.launch()?;
    console.wait_until_ready().await?;
    eventually(
        "the message with the new password",
        NOTIFICATION_TIMEOUT,
        async || {
            let mails = smtp.mails()?;
            ensure!(mails.len() == 1, "{mails:?}");
            ensure!(mails[0].subject == "[critical] void is down", "{mails:?}");
            Ok(())
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_verify_the_https_certificate() -> Result<()> {
    let lab = lab().await?;
    let authority = CertificateAuthority::create(lab.directory(), "authority")?;
    let good = HttpReceiver::start_encrypted(&authority.issue("127.0.0.1", Validity::Now)?).await?;
    let trusting = console(&lab, &["--notify-ca", text(authority.certificate())?]).await?;
    let admin = trusting.sign_in("admin").await?;
    add(&admin, &hook(good.url())).await?;
    eventually("the cluster's verdict", NOTIFICATION_TIMEOUT, async || {
        let notified = titles(&good.messages())?;
        ensure!(notified == ["void is down"], "{notified:?}");
        Ok(())
    })
    .await?;

    let misnamed =
        HttpReceiver::start_encrypted(&authority.issue("hooks.example.org", Validity::Now)?)
            .await?;
    let expired =
        HttpReceiver::start_encrypted(&authority.issue("127.0.0.1", Validity::Expired)?).await?;
    let own = CertificateFiles::self_signed(lab.directory(), "127.0.0.1")?;
    let own = HttpReceiver::start_encrypted(&own).await?;
    let plain = HttpReceiver::start().await?;
    let disguised = plain.url().replace("http://", "https://");
    for (receiver, url, words) in [
        (
            &misnamed,
            misnamed.url(),
            "its certificate is for hooks.example.org, not for that name",
        ),
        (
            &expired,
            expired.url(),
            "its certificate expired at 2021-01-01T00:00:00",
        ),
        (&own, own.url(), "self-signed"),
        (&plain, disguised.as_str(), "the server does not speak TLS"),
    ] {
        ensure_test_fails(&admin, &hook(url), words).await?;
        ensure!(receiver.messages().is_empty(), "{words}");
    }

    // Without the file the authority is a stranger's.
    let strict = console(&lab, &[]).await?;
    let admin = strict.sign_in("admin").await?;
    let words =
        "TLS handshake with 127.0.0.1 failed: its certificate is signed by an unknown authority";
    ensure_test_fails(&admin, &hook(good.url()), words).await?;
    ensure!(good.messages().len() == 1, "{:?}", good.messages());
    Ok(())
}
