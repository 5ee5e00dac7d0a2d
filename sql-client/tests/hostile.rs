//! The client against a server that violates the protocol: every case ends in an error or within the caller's
//! deadline, and the password is never sent.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sql_client::hostile::{
    HostileServer, Misbehavior, PASSWORD, conversation, replay, replay_framed,
};
use sql_client::{Connection, Error, Login, Peer, Row, Tls, TlsSettings, connect_tcp};
use tokio::time::timeout;

/// Far more than any case needs that ends by itself.
const LONG: Duration = Duration::from_secs(120);

async fn ask(server: &HostileServer, tls: &Tls) -> Result<Vec<Row>, Error> {
    let stream = connect_tcp(&[server.address()]).await?;
    let peer = Peer::Network {
        host: "127.0.0.1",
        tls,
    };
    let login = Login {
        user: "console",
        password: PASSWORD,
    };
    let mut connection = Connection::open(stream, peer, login).await?;
    connection.query("SHOW GLOBAL STATUS").await
}

/// The result of a client without TLS, after the password was looked for in what it sent.
async fn outcome(misbehavior: Misbehavior) -> (Result<Vec<Row>, Error>, Vec<Vec<u8>>) {
    let server = HostileServer::start(misbehavior);
    let result = timeout(LONG, ask(&server, &Tls::Off)).await;
    assert!(!server.has_password(), "{misbehavior:?} got the password");
    (result.expect("no end"), server.received())
}

#[tokio::test]
async fn every_misbehavior_ends_in_an_error_or_at_the_deadline() {
    for &misbehavior in Misbehavior::ALL {
        if misbehavior.waits() {
            let server = HostileServer::start(misbehavior);
            let result = timeout(Duration::from_millis(300), ask(&server, &Tls::Off)).await;
            assert!(result.is_err(), "{misbehavior:?}: {result:?}");
            assert!(!server.has_password());
            continue;
        }
        let (result, _) = outcome(misbehavior).await;
        assert_eq!(
            result.is_ok(),
            misbehavior.answers(),
            "{misbehavior:?}: {result:?}"
        );
    }
}

#[tokio::test]
async fn errors_name_what_the_server_did() {
    for (misbehavior, words) in [
        (Misbehavior::EmptyGreeting, "shorter than its fields"),
        (Misbehavior::TruncatedGreeting, "shorter than its fields"),
        (Misbehavior::AnotherProtocol, "protocol version 83"),
        (
            Misbehavior::OversizedPacket,
            "16777215 bytes exceeds the limit of 1048576",
        ),
        (
            Misbehavior::WrongSequence,
            "packet 7 arrived instead of packet 0",
        ),
        (
            Misbehavior::EmptyAnswerToSignIn,
            "unexpected packet during sign-in",
        ),
        (
            Misbehavior::EmptyChallenge,
            "challenge has 0 bytes instead of 20",
        ),
        (
            Misbehavior::ShortChallenge,
            "challenge has 8 bytes instead of 32",
        ),
        (
            Misbehavior::LongChallenge,
            "challenge has 64 bytes instead of 20",
        ),
        (Misbehavior::UnknownPlugin, "\"from_outer_space\""),
        (Misbehavior::SwitchLoop, "second change"),
        (
            Misbehavior::EndlessSignIn,
            "unexpected packet during sign-in",
        ),
        (
            Misbehavior::FullAuthentication,
            "over verified TLS or a Unix socket only",
        ),
        (Misbehavior::Sha256Password, "\"sha256_password\""),
        (Misbehavior::ClearPassword, "\"mysql_clear_password\""),
        (Misbehavior::OldPassword, "\"mysql_old_password\""),
        (Misbehavior::Dialog, "\"dialog\""),
        (Misbehavior::ExpensiveParsec, "exponent 20"),
        (Misbehavior::Columns45, "35184372088832 columns"),
        (Misbehavior::Columns63, "9223372036854775808 columns"),
        (Misbehavior::NoColumns, "a result of 0 columns"),
        (Misbehavior::LocalFile, "asked for a file"),
        (Misbehavior::EndlessColumns, "more columns than announced"),
        (Misbehavior::EndlessRows, "more than 1000 rows"),
        (Misbehavior::EndlessEmptyRows, "more than 1000 rows"),
        (Misbehavior::EndlessResults, "another result follows"),
        (Misbehavior::ValueBeyondPacket, "shorter than its fields"),
        (
            Misbehavior::UnsolicitedError,
            "ended the connection: error 4031: idle",
        ),
        (Misbehavior::ClosesAfterColumns, "closed the connection"),
    ] {
        let (result, _) = outcome(misbehavior).await;
        let text = result.unwrap_err().to_string();
        assert!(text.contains(words), "{misbehavior:?}: {text}");
    }
}

/// With the server's key the answer would have the length of a signature of that key.
#[tokio::test]
async fn nothing_follows_a_demand_for_the_password() {
    for misbehavior in [
        Misbehavior::FullAuthentication,
        Misbehavior::FullAuthenticationWithBadKey,
    ] {
        let (result, received) = outcome(misbehavior).await;
        assert!(matches!(result, Err(Error::PasswordWithheld { .. })));
        let [sign_in, answer] = &received[..] else {
            panic!("{misbehavior:?}: {received:?}");
        };
        assert!(sign_in.len() < 120 && answer.len() == 32, "{received:?}");
    }
    for misbehavior in [
        Misbehavior::Sha256Password,
        Misbehavior::ClearPassword,
        Misbehavior::OldPassword,
        Misbehavior::Dialog,
        Misbehavior::LocalFile,
    ] {
        let (_, received) = outcome(misbehavior).await;
        let expected = 1 + usize::from(misbehavior == Misbehavior::LocalFile);
        assert_eq!(received.len(), expected, "{misbehavior:?}: {received:?}");
    }
}

/// Also shows that the search for the password finds it.
#[tokio::test]
async fn a_verified_server_gets_the_password_on_demand() {
    let server = HostileServer::start(Misbehavior::FullAuthentication);
    let stream = connect_tcp(&[server.address()]).await.unwrap();
    let login = Login {
        user: "console",
        password: PASSWORD,
    };
    let signed_in = timeout(LONG, Connection::open(stream, Peer::Socket, login)).await;
    assert!(
        signed_in.unwrap().is_err(),
        "the key that follows is refused"
    );
    assert!(server.has_password());
}

#[tokio::test]
async fn a_server_without_tls_gets_no_sign_in_when_tls_is_required() {
    let server = HostileServer::start(Misbehavior::FullAuthentication);
    let tls = Tls::Required(TlsSettings::new("/nonexistent/ca.pem"));
    let result = timeout(LONG, ask(&server, &tls)).await.unwrap();
    assert!(matches!(result, Err(Error::TlsNotOffered)), "{result:?}");
    assert_eq!(server.received(), Vec::<Vec<u8>>::new());
}

#[tokio::test]
async fn values_are_complete_and_valid_text() {
    let value = |text: &str| Some(text.to_owned());
    for (misbehavior, expected) in [
        (Misbehavior::ByteByByte, [value("name"), value("value")]),
        (Misbehavior::Warnings, [value("name"), value("value")]),
        (
            Misbehavior::InvalidUtf8,
            [value("n\u{fffd}me"), value("v\u{fffd}(")],
        ),
    ] {
        let (result, _) = outcome(misbehavior).await;
        assert_eq!(result.unwrap(), [expected.to_vec()], "{misbehavior:?}");
    }
}

#[tokio::test]
async fn a_server_may_close_at_any_byte() {
    let [sign_in, response] = conversation();
    for bytes in 0..sign_in.len() {
        let result = replay(&sign_in[..bytes], &[]).await;
        assert!(matches!(result, Err(Error::Closed)), "{bytes}: {result:?}");
    }
    for bytes in 0..response.len() {
        let result = replay(&sign_in, &response[..bytes]).await;
        assert!(matches!(result, Err(Error::Closed)), "{bytes}: {result:?}");
    }
    assert_eq!(replay(&sign_in, &response).await.unwrap().len(), 1);
    // The same over TCP, where closing may appear as a reset.
    for bytes in (0..sign_in.len() + response.len()).step_by(7) {
        let server = HostileServer::closing_after(bytes);
        let result = timeout(LONG, ask(&server, &Tls::Off)).await.unwrap();
        assert!(
            matches!(result, Err(Error::Closed | Error::Io(_))),
            "{bytes}: {result:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_before_the_statement_is_refused() {
    let [sign_in, response] = conversation();
    let result = replay(&[sign_in, response].concat(), &[]).await;
    let text = result.unwrap_err().to_string();
    assert!(text.contains("answers nothing"), "{text}");
}

#[tokio::test]
async fn a_dropped_call_makes_the_connection_unusable() {
    let server = HostileServer::start(Misbehavior::SilentAfterSignIn);
    let stream = connect_tcp(&[server.address()]).await.unwrap();
    let (peer, login) = (
        Peer::Socket,
        Login {
            user: "console",
            password: "",
        },
    );
    let mut connection = Connection::open(stream, peer, login).await.unwrap();
    let dropped = timeout(Duration::from_millis(50), connection.query("SELECT 1")).await;
    assert!(dropped.is_err());
    let next = connection.query("SELECT 1").await;
    assert!(matches!(next, Err(Error::Unusable)), "{next:?}");
}

/// Pinned, so that a failure is the same everywhere.
fn runner(cases: u32) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(
        config,
        TestRng::from_seed(RngAlgorithm::ChaCha, b"random bytes of a hostile server"),
    )
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn random_bytes_never_panic() {
    let bytes = proptest::collection::vec(any::<u8>(), 0..2_000);
    let [sign_in, _] = conversation();
    let tested = runner(2_000).run(&bytes, |bytes| {
        let _ = block_on(replay(&bytes, &bytes));
        let _ = block_on(replay(&sign_in, &bytes));
        let _ = block_on(replay_framed(&bytes));
        Ok(())
    });
    tested.unwrap();
}

#[test]
fn changed_conversations_never_panic() {
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
    let tested = runner(4_000).run(&changes, |changes| {
        let [mut sign_in, mut response] = conversation();
        for (index, byte) in changes {
            *index.get_mut(&mut sign_in) = byte;
            *index.get_mut(&mut response) = byte;
        }
        let [correct, _] = conversation();
        let _ = block_on(replay(&sign_in, &response));
        let _ = block_on(replay(&correct, &response));
        Ok(())
    });
    tested.unwrap();
}
