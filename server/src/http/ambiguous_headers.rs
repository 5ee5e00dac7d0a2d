//! Requests that name twice what decides about trust, or no valid host. A proxy in front may have checked the one, and the console would use
//! the other: such a request is refused, whatever the values are. hyper does the same for `Content-Length` and
//! `Transfer-Encoding`.

use axum::extract::Request;
use console_core::net::split_port;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, StatusCode, Uri, Version};

use super::AppContext;
use super::cookie;
use super::identity::InProcessRequest;
use super::origin::FETCH_SITE;
use super::problem::ApiError;
use super::request_log::{FORWARDED_FOR, untrusted_proxy};
use crate::allowed_hosts::strip_default_port;

/// The refusal of a request with an ambiguous header.
pub(super) fn refusal(app: &AppContext, request: &Request) -> Option<ApiError> {
    let forwarded_by_client = untrusted_proxy(request, &app.trusted_proxies).is_some();
    let (headers, uri) = (request.headers(), request.uri());
    let is_in_process = request.extensions().get::<InProcessRequest>().is_some();
    let detail = ambiguity(headers, uri, app.is_https(), forwarded_by_client)
        .or_else(|| invalid_host(request.version(), headers).filter(|_| !is_in_process))?;
    let status = StatusCode::BAD_REQUEST;
    Some(ApiError::new(
        status,
        "ambiguous_header",
        "Ambiguous request",
        detail,
    ))
}

/// What the request names more than once, with the remedy. `forwarded_by_client`: `X-Forwarded-For` comes from a peer that is
/// not a trusted proxy; a chain of proxies may send several.
fn ambiguity(
    headers: &HeaderMap,
    uri: &Uri,
    https: bool,
    forwarded_by_client: bool,
) -> Option<String> {
    for (name, shown) in [
        (&HOST, "Host"),
        (&ORIGIN, "Origin"),
        (&FETCH_SITE, "Sec-Fetch-Site"),
        (&AUTHORIZATION, "Authorization"),
    ] {
        let count = headers.get_all(name).iter().count();
        if count > 1 {
            return Some(format!(
                "The request has {count} {shown} headers; send one."
            ));
        }
    }
    if names_two_hosts(headers, uri) {
        let detail = "The Host header differs from the host in the request line; send the same.";
        return Some(detail.to_owned());
    }
    let name = cookie::name(https);
    let count = cookie::count(headers, name);
    if count > 1 {
        return Some(format!(
            "The Cookie header has {count} cookies {name}; delete the cookies of this host in the browser and sign in again."
        ));
    }
    let count = headers.get_all(&FORWARDED_FOR).iter().count();
    (count > 1 && forwarded_by_client).then(|| {
        format!(
            "The request has {count} X-Forwarded-For headers and comes from a peer that is not in --trusted-proxies; add the peer if it is a reverse proxy."
        )
    })
}

/// What is wrong with `Host`, with the remedy: RFC 9112, 3.2, requires a valid one in HTTP/1.1.
fn invalid_host(version: Version, headers: &HeaderMap) -> Option<String> {
    let Some(host) = headers.get(HOST) else {
        // HTTP/2 names it elsewhere, HTTP/1.0 need not name it.
        let is_required = version == Version::HTTP_11;
        return is_required.then(|| "The request has no Host header; send one.".to_owned());
    };
    let authority = Authority::try_from(host.as_bytes()).ok();
    let is_valid = authority.is_some_and(|authority| {
        let text = authority.as_str();
        let has_port = split_port(text).1.is_some();
        let has_host = !authority.host().is_empty() && !text.contains('@');
        has_host && (!has_port || authority.port_u16().is_some())
    });
    (!is_valid).then(|| "The Host header is not a host with an optional port; send one.".to_owned())
}

/// Whether the request line is an absolute URL of another host than `Host`.
fn names_two_hosts(headers: &HeaderMap, uri: &Uri) -> bool {
    let (Some(host), Some(target)) = (headers.get(HOST), uri.authority()) else {
        return false;
    };
    let default_port = if uri.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    let target = strip_default_port(target.as_str(), default_port);
    host.to_str().map_or(true, |host| {
        strip_default_port(host, default_port) != target
    })
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderName, HeaderValue};

    use super::*;

    /// The request line, the headers, whether the peer forwards for others unasked, and what is in the refusal; empty for none.
    type Case = (
        &'static str,
        &'static [(&'static str, &'static str)],
        bool,
        &'static str,
    );

    const CASES: [Case; 21] = [
        ("/", &[("host", "a")], false, ""),
        ("/", &[], false, ""),
        (
            "/",
            &[("host", "a"), ("host", "a")],
            false,
            "2 Host headers",
        ),
        ("/", &[("host", "a"), ("host", "b")], true, "2 Host headers"),
        ("http://a/", &[("host", "A")], false, ""),
        ("http://a:80/", &[("host", "a")], false, ""),
        ("http://a/", &[], false, ""),
        ("http://b/", &[("host", "a")], false, "request line"),
        ("http://a:81/", &[("host", "a")], false, "request line"),
        ("/", &[("origin", "http://a")], false, ""),
        (
            "/",
            &[("origin", "http://a"), ("origin", "http://a")],
            false,
            "2 Origin headers",
        ),
        (
            "/",
            &[
                ("sec-fetch-site", "none"),
                ("sec-fetch-site", "same-origin"),
            ],
            false,
            "2 Sec-Fetch-Site headers",
        ),
        (
            "/",
            &[
                ("authorization", "Bearer a"),
                ("authorization", "Bearer b"),
                ("authorization", "Bearer b"),
            ],
            false,
            "3 Authorization headers",
        ),
        ("/", &[("cookie", "SESSION=1; t=2")], false, ""),
        (
            "/",
            &[("cookie", "SESSION=1; SESSION=1")],
            false,
            "2 cookies",
        ),
        (
            "/",
            &[("cookie", "SESSION=1"), ("cookie", "t=2;SESSION=2")],
            false,
            "2 cookies",
        ),
        // One that is not text hides none.
        (
            "/",
            &[("cookie", "SESSION=1"), ("cookie", "\u{e4}=1; SESSION=2")],
            false,
            "2 cookies",
        ),
        ("/", &[("cookie", "other_SESSION=1; SESSION=2")], false, ""),
        ("/", &[("x-forwarded-for", "10.0.0.1")], true, ""),
        (
            "/",
            &[
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-for", "10.0.0.2"),
            ],
            true,
            "2 X-Forwarded-For headers",
        ),
        (
            "/",
            &[
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-for", "10.0.0.2"),
            ],
            false,
            "",
        ),
    ];

    #[test]
    fn http_1_1_names_a_valid_host() {
        let found = |version, hosts: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, HeaderValue::from_bytes(host).unwrap());
            }
            invalid_host(version, &headers)
        };
        for version in [Version::HTTP_10, Version::HTTP_2, Version::HTTP_3] {
            assert_eq!(found(version, &[]), None);
        }
        assert!(found(Version::HTTP_11, &[]).unwrap().contains("no Host"));
        for valid in [
            "a",
            "a.test:3000",
            "10.1.2.3",
            "[::1]:80",
            "a_b.test",
            "xn--a",
        ] {
            assert_eq!(
                found(Version::HTTP_11, &[valid.as_bytes()]),
                None,
                "{valid}"
            );
        }
        let invalid: [&[u8]; 14] = [
            b"", b" ", b"a b", b"a/b", b"a<b>", b"a@b", b"@", b":80", b"a:x", b"a:65536",
            b"a:80:80", b"[::1", b"a\\b", b"\xe4",
        ];
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            for host in invalid {
                let found = found(version, &[host]).unwrap_or_default();
                assert!(found.contains("not a host"), "{host:?}: {found}");
            }
        }
    }

    #[test]
    fn what_decides_about_trust_is_named_once() {
        for (uri, headers, forwarded_by_client, expected) in CASES {
            for https in [false, true] {
                let mut map = HeaderMap::new();
                for (name, value) in headers {
                    let name = HeaderName::from_static(name);
                    let value = value.replace("SESSION", cookie::name(https));
                    let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
                    map.append(name, value);
                }
                let uri: Uri = uri.parse().unwrap();
                let found = ambiguity(&map, &uri, https, forwarded_by_client);
                let found = found.unwrap_or_default();
                assert_eq!(
                    found.is_empty(),
                    expected.is_empty(),
                    "{headers:?}: {found}"
                );
                assert!(found.contains(expected), "{headers:?}: {found}");
            }
        }
    }
}
