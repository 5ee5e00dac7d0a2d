//! The client against a real MariaDB server: accounts of every plugin that it has, and TLS.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod certificates;
mod server;

use std::net::SocketAddr;
use std::time::Duration;

use certificates::{Authority, Certificate};
use server::MariaDb;
use sql_client::{
    Connection, Error, Login, Peer, Tls, TlsSettings, Verify, connect_socket, connect_tcp,
};
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(120);
const PASSWORD: &str = "seeing-is-enough";

/// What a new connection's `SHOW STATUS` reports about TLS: a cipher, or empty text.
async fn cipher(
    address: SocketAddr,
    host: &str,
    tls: &Tls,
    user: &str,
    password: &str,
) -> Result<String, Error> {
    let opened = async {
        let stream = connect_tcp(&[address]).await?;
        let login = Login { user, password };
        let mut connection = Connection::open(stream, Peer::Network { host, tls }, login).await?;
        let mut rows = connection
            .query_pairs("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
            .await?;
        let (_, cipher) = rows.pop().expect("a row");
        assert_eq!(connection.encrypted(), !cipher.is_empty());
        Ok(cipher)
    };
    timeout(LONG, opened).await.expect("no end")
}

#[tokio::test]
async fn every_plugin_of_the_server_signs_in() {
    let mut server = MariaDb::start(&[]).await;
    server
        .execute(&[
            "INSTALL SONAME 'auth_ed25519'",
            &format!("CREATE USER native IDENTIFIED VIA mysql_native_password USING PASSWORD('{PASSWORD}')"),
            &format!("CREATE USER ed IDENTIFIED VIA ed25519 USING PASSWORD('{PASSWORD}')"),
            &format!("CREATE USER 'either' IDENTIFIED VIA ed25519 USING PASSWORD('other') OR mysql_native_password USING PASSWORD('{PASSWORD}')"),
            "CREATE USER empty",
        ])
        .await;
    let mut users = vec![("native", PASSWORD), ("ed", PASSWORD), ("empty", "")];
    // Since MariaDB 11.6.
    let parsec = format!("CREATE USER parsec IDENTIFIED VIA parsec USING PASSWORD('{PASSWORD}')");
    if server.has_plugin("auth_parsec.so") {
        server
            .execute(&["INSTALL SONAME 'auth_parsec'", &parsec])
            .await;
        users.push(("parsec", PASSWORD));
    }
    for (user, password) in users {
        let signed_in = cipher(server.address(), "127.0.0.1", &Tls::Off, user, password).await;
        assert_eq!(signed_in.unwrap(), "", "{user}");
        let refused = cipher(server.address(), "127.0.0.1", &Tls::Off, user, "wrong").await;
        let Err(Error::Server(error)) = refused else {
            panic!("{user}: {refused:?}");
        };
        assert!([1045, 1698].contains(&error.code), "{user}: {error}");
    }
    server.stop().await;
    let gone = cipher(server.address(), "127.0.0.1", &Tls::Off, "native", PASSWORD).await;
    assert!(matches!(gone, Err(Error::Io(_))), "{gone:?}");
}

#[tokio::test]
async fn statements_return_rows_or_the_servers_error() {
    let server = MariaDb::start(&[]).await;
    let stream = connect_socket(&server.socket()).await.unwrap();
    let login = Login {
        user: "root",
        password: "",
    };
    let mut connection = Connection::open(stream, Peer::Socket, login).await.unwrap();
    let text = |text: &str| Some(text.to_owned());
    let rows = connection
        .query("SELECT 1, NULL, '' UNION SELECT 2, 'ü', REPEAT('x', 300)")
        .await;
    assert_eq!(
        rows.unwrap(),
        [
            vec![text("1"), None, text("")],
            vec![text("2"), text("ü"), text(&"x".repeat(300))]
        ]
    );
    connection
        .execute("SET SESSION wait_timeout=60")
        .await
        .unwrap();
    let error = connection.execute("SELECT nonsense").await.unwrap_err();
    assert!(
        matches!(&error, Error::Server(error) if error.code == 1054),
        "{error}"
    );
    // A refused statement leaves the connection usable; several statements in one are refused.
    let error = connection.query("SELECT 1; SELECT 2").await.unwrap_err();
    assert!(
        matches!(&error, Error::Server(error) if error.code == 1064),
        "{error}"
    );
    let all = connection
        .query_pairs("SHOW GLOBAL STATUS LIKE 'Com_s%'")
        .await
        .unwrap();
    assert!(all.len() > 20, "{}", all.len());
    // The limits hold against a correct server as well.
    let large = "SELECT REPEAT('x', 2000000)";
    let error = connection.query(large).await.unwrap_err();
    assert!(error.to_string().contains("exceeds the limit"), "{error}");
}

#[tokio::test]
async fn tls_verifies_the_server() {
    let files = tempfile::tempdir().unwrap();
    let authority = Authority::new(files.path(), "authority");
    let other = Authority::new(files.path(), "other");
    let valid = authority.issue(Certificate::For("127.0.0.1"));
    let server = MariaDb::start(&MariaDb::tls(files.path(), &authority, &valid)).await;
    server
        .execute(&[
            &format!("CREATE USER native IDENTIFIED BY '{PASSWORD}'"),
            &format!("CREATE USER secure IDENTIFIED BY '{PASSWORD}' REQUIRE SSL"),
            &format!("CREATE USER mutual IDENTIFIED BY '{PASSWORD}' REQUIRE X509"),
        ])
        .await;
    let identity = TlsSettings::new(authority.file());
    let required = Tls::Required(identity.clone());
    let connect = async |host: &str, tls: &Tls, user: &str| {
        cipher(server.address(), host, tls, user, PASSWORD).await
    };
    let fails = async |host: &str, tls: &Tls, words: &str| {
        let error = connect(host, tls, "native").await.unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, Error::Tls(_)) && text.contains(words),
            "{words}: {text}"
        );
    };

    assert!(
        !connect("127.0.0.1", &required, "secure")
            .await
            .unwrap()
            .is_empty()
    );
    let preferred = Tls::Preferred(identity.clone());
    assert!(
        !connect("127.0.0.1", &preferred, "secure")
            .await
            .unwrap()
            .is_empty()
    );
    let refused = connect("127.0.0.1", &Tls::Off, "secure").await;
    assert!(matches!(refused, Err(Error::Server(_))), "{refused:?}");
    // Another name, another authority.
    fails("db.example.org", &required, "not valid for name").await;
    fails("db.example.org", &preferred, "not valid for name").await;
    fails("not a name", &required, "cannot be the name").await;
    let wrong = Tls::Required(TlsSettings::new(other.file()));
    fails("127.0.0.1", &wrong, "UnknownIssuer").await;
    let any_name = TlsSettings {
        verify: Verify::Authority,
        ..identity.clone()
    };
    let any_name = Tls::Required(any_name);
    assert!(
        !connect("db.example.org", &any_name, "native")
            .await
            .unwrap()
            .is_empty()
    );
    let wrong_authority = TlsSettings {
        verify: Verify::Authority,
        ..TlsSettings::new(other.file())
    };
    fails(
        "127.0.0.1",
        &Tls::Required(wrong_authority),
        "UnknownIssuer",
    )
    .await;
    // Files that cannot be used.
    for (content, words) in [(None, "does not exist"), (Some("text"), "it is not PEM")] {
        let path = files.path().join("broken.pem");
        let _ = std::fs::remove_file(&path);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        fails("127.0.0.1", &Tls::Required(TlsSettings::new(path)), words).await;
    }
    // A client's certificate.
    let client = authority.issue(Certificate::OfClient);
    let mutual = TlsSettings {
        identity: Some((client.certificate, client.key)),
        ..identity.clone()
    };
    mutual.check().unwrap();
    let refused = connect("127.0.0.1", &required, "mutual").await;
    assert!(matches!(refused, Err(Error::Server(_))), "{refused:?}");
    let mutual = Tls::Required(mutual);
    assert!(
        !connect("127.0.0.1", &mutual, "mutual")
            .await
            .unwrap()
            .is_empty()
    );
    // One that expired while the program runs: the server may only close the connection.
    let expired = authority.issue(Certificate::ExpiredOfClient);
    let expired = Tls::Required(TlsSettings {
        identity: Some((expired.certificate, expired.key)),
        ..identity.clone()
    });
    fails("127.0.0.1", &expired, "expired-client.pem expired at 2021").await;
    // An expired certificate, under either check.
    server
        .replace_certificate(&authority.issue(Certificate::Expired("127.0.0.1")))
        .await;
    fails("127.0.0.1", &required, "expired at 2021-01-01").await;
    fails("127.0.0.1", &any_name, "expired at 2021-01-01").await;
}

#[tokio::test]
async fn a_server_without_tls_is_refused_or_used_as_the_setting_says() {
    let files = tempfile::tempdir().unwrap();
    let authority = Authority::new(files.path(), "authority");
    let server = MariaDb::start(&["--skip-ssl".to_owned()]).await;
    let native = format!("CREATE USER native IDENTIFIED BY '{PASSWORD}'");
    server.execute(&[&native]).await;
    let settings = TlsSettings::new(authority.file());
    let connect =
        async |tls: Tls| cipher(server.address(), "127.0.0.1", &tls, "native", PASSWORD).await;
    let refused = connect(Tls::Required(settings.clone())).await;
    assert!(matches!(refused, Err(Error::TlsNotOffered)), "{refused:?}");
    assert_eq!(connect(Tls::Preferred(settings)).await.unwrap(), "");
}
