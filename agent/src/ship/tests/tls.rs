//! Certificates and versions of HTTP.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::Version;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType, date_time_ymd,
};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::list_endpoint::{ListEndpoint, Reply};
use super::{Run, destination, dropped, fates, message, once};
use crate::clock;
use crate::plugin::Destination;
use crate::plugin::transport::HttpVersion;
use crate::ship::clients::Clients;
use crate::ship::tls::check_authorities;

/// An authority.
fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    SelfSigned,
    Expired,
    NotYetValid,
    WrongName,
    Good,
}

/// What an endpoint shows, and the versions that it agrees to.
fn server(shows: Shows, authority: &CertifiedIssuer<'_, KeyPair>, versions: &[&[u8]]) -> ServerConfig {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = if shows == Shows::WrongName {
        vec![SanType::DnsName("elsewhere.example".try_into().unwrap())]
    } else {
        vec![SanType::IpAddress("127.0.0.1".parse().unwrap())]
    };
    if shows == Shows::Expired {
        params.not_after = date_time_ymd(2001, 1, 1);
    }
    if shows == Shows::NotYetValid {
        params.not_before = date_time_ymd(2999, 1, 1);
        params.not_after = date_time_ymd(2999, 2, 1);
    }
    let certificate = if shows == Shows::SelfSigned {
        params.self_signed(&key).unwrap()
    } else {
        params.signed_by(&key, authority).unwrap()
    };
    let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = versions.iter().map(|version| version.to_vec()).collect();
    config
}

/// A file with what `pem` has.
fn file(pem: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(pem.as_bytes()).unwrap();
    file
}

async fn fate(destination: &Destination) -> ((u64, Vec<(&'static str, u64)>), String) {
    let run = Run::start(once());
    run.offer(message(destination, 10));
    let fates = fates(&run.settle().await);
    let errors = run.handle.stats().last_errors;
    run.stop().await;
    let details: Vec<_> = errors.iter().map(|error| error.detail.to_string()).collect();
    (fates, details.concat())
}

#[tokio::test]
async fn a_certificate_must_be_of_an_authority_of_the_name_and_of_today() {
    let (ours, other) = (authority("ours"), authority("other"));
    let (ours_file, other_file) = (file(&ours.pem()), file(&other.pem()));
    let check = async |shows: Shows, ca: Option<&Path>, problem: Option<&str>| {
        let server = server(shows, &ours, &[]);
        let endpoint =
            ListEndpoint::start_with(Some(server), Version::HTTP_11, |_| Reply::list(200, ["success"])).await;
        let mut destination = destination(&endpoint.url());
        destination.transport.tls_ca = ca.map(PathBuf::from);
        let (fates, detail) = fate(&destination).await;
        match problem {
            None => assert_eq!(fates, (1, vec![]), "{shows:?} {ca:?}: {detail}"),
            Some(problem) => {
                assert_eq!(fates, dropped("unreachable", 1), "{shows:?} {ca:?}");
                assert!(detail.contains(problem), "{shows:?} {ca:?}: {detail}");
            }
        }
        assert_eq!(
            endpoint.of_each(|_| ()).len(),
            usize::from(problem.is_none()),
            "{shows:?}"
        );
        // Whoever says so believes any of them.
        destination.transport.tls_ca = None;
        destination.tls_verify = false;
        assert_eq!(fate(&destination).await.0, (1, vec![]), "{shows:?}, not verified");
    };
    let (ours_path, other_path) = (Some(ours_file.path()), Some(other_file.path()));
    check(Shows::Good, ours_path, None).await;
    check(Shows::Good, other_path, Some("UnknownIssuer")).await;
    check(Shows::Good, None, Some("UnknownIssuer")).await;
    check(Shows::SelfSigned, ours_path, Some("certificate")).await;
    check(Shows::Expired, ours_path, Some("expired")).await;
    check(Shows::NotYetValid, ours_path, Some("not valid yet")).await;
    check(Shows::WrongName, ours_path, Some("not valid for name")).await;
}

#[tokio::test]
async fn a_file_of_authorities_that_cannot_be_used_is_told() {
    let empty = file("");
    let garbage = file("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let check = async |path: &Path, problem: &str| {
        let mut destination = destination("https://127.0.0.1:9/");
        destination.transport.tls_ca = Some(path.to_owned());
        let error = check_authorities(&destination).unwrap_err().to_string();
        assert!(
            error.contains(problem) && error.starts_with("tls_ca: /"),
            "{error}"
        );
        let (fates, detail) = fate(&destination).await;
        assert_eq!(fates, dropped("unreachable", 1));
        assert!(detail.contains(&error), "{detail}");
    };
    check(Path::new("/does/not/exist.pem"), "cannot be read").await;
    check(empty.path(), "has no certificate").await;
    check(garbage.path(), "cannot be used").await;
    assert!(check_authorities(&destination("https://127.0.0.1:9/")).is_ok());
}

#[tokio::test]
async fn authorities_are_read_again_when_their_file_changes() {
    let (ours, other) = (authority("ours"), authority("other"));
    let mut ca = file(&other.pem());
    let server = server(Shows::Good, &ours, &[]);
    let endpoint =
        ListEndpoint::start_with(Some(server), Version::HTTP_11, |_| Reply::list(200, ["success"])).await;
    let mut destination = destination(&endpoint.url());
    destination.transport.tls_ca = Some(ca.path().to_owned());
    let destination = Arc::new(destination);
    let mut clients = Clients::new(1);
    let start = clock::instant();
    let mut at = |milliseconds| {
        clients
            .endpoint(&destination, start + Duration::from_millis(milliseconds))
            .unwrap()
    };
    let first = at(0);
    assert!(Arc::ptr_eq(&first, &at(5000)), "nothing has changed");
    // Another length, whatever the granularity of the file's time.
    write!(ca, "\n{}", ours.pem()).unwrap();
    assert!(Arc::ptr_eq(&first, &at(5500)), "not looked at yet");
    let second = at(6000);
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(Arc::ptr_eq(&second, &at(8000)));
    let mut fates = Vec::new();
    for endpoint in [first, second] {
        let posted = super::send::post_by(&endpoint, &[message(&destination, 10)]).await;
        fates.push(posted.fates[0].is_ok());
    }
    assert_eq!(fates, [false, true]);
}

#[tokio::test]
async fn the_version_of_http_is_agreed_on_or_asked_for() {
    let ours = authority("ours");
    let ca = file(&ours.pem());
    let check =
        async |versions: Option<&[&[u8]]>, speaks: Version, wanted: HttpVersion, got: Option<Version>| {
            let server = versions.map(|versions| server(Shows::Good, &ours, versions));
            let what = format!("{versions:?} {speaks:?} {wanted:?}");
            let endpoint = ListEndpoint::start_with(server, speaks, |_| Reply::list(200, ["success"])).await;
            let mut destination = destination(&endpoint.url());
            destination.keepalive_ms = 60_000;
            destination.transport.tls_ca = versions.map(|_| ca.path().to_owned());
            destination.transport.http_version = wanted;
            let run = Run::start(once());
            for _ in 0..20 {
                run.offer(message(&destination, 10));
            }
            let fates = fates(&run.settle().await);
            run.stop().await;
            let Some(got) = got else {
                assert_eq!(
                    (fates.0, fates.1.iter().map(|it| it.1).sum::<u64>()),
                    (0, 20),
                    "{what}"
                );
                return;
            };
            assert_eq!(fates, (20, vec![]), "{what}");
            assert_eq!(endpoint.of_each(|it| it.head.version), [got; 20], "{what}");
            let bearer = endpoint.of_each(|it| it.head.headers["authorization"].clone());
            assert!(bearer.iter().all(|it| it == "Bearer token"), "{what}");
            if wanted == HttpVersion::Two {
                assert_eq!(endpoint.accepted(), 1, "{what}: one connection carries all");
            }
        };
    let both: &[&[u8]] = &[b"h2", b"http/1.1"];
    let old: &[&[u8]] = &[b"http/1.1"];
    let none: &[&[u8]] = &[];
    let (one, two) = (Version::HTTP_11, Version::HTTP_2);
    check(Some(both), one, HttpVersion::Auto, Some(two)).await;
    check(Some(old), one, HttpVersion::Auto, Some(one)).await;
    check(Some(none), one, HttpVersion::Auto, Some(one)).await;
    check(Some(both), one, HttpVersion::One, Some(one)).await;
    check(Some(both), one, HttpVersion::Two, Some(two)).await;
    check(Some(none), one, HttpVersion::Two, None).await;
    check(None, one, HttpVersion::Auto, Some(one)).await;
    check(None, two, HttpVersion::Two, Some(two)).await;
    check(None, one, HttpVersion::Two, None).await;
}
