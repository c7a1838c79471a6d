//! How an Admin API is reached: headers, secrets in files, TLS of a private authority, unix sockets.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::get;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::{Behaviour, LONG, client, options, recorded, serve};
use crate::gateway::admin_api::AdminApi;
use crate::gateway::source::api_client::{ApiTls, Credential, SecretAt, Trust};

async fn root(
    State(wanted): State<Arc<[(&'static str, &'static str)]>>,
    headers: HeaderMap,
) -> axum::response::Response {
    let has = |(name, value): &(&str, &str)| headers.get(*name).is_some_and(|sent| sent == value);
    if wanted.iter().all(has) {
        axum::Json(recorded("root")).into_response()
    } else {
        StatusCode::UNAUTHORIZED.into_response()
    }
}

fn app(wanted: &[(&'static str, &'static str)]) -> axum::Router {
    axum::Router::new()
        .route("/", get(root))
        .with_state(Arc::from(wanted))
}

async fn plain(wanted: &[(&'static str, &'static str)]) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let app = app(wanted);
    drop(tokio::spawn(async move { axum::serve(listener, app).await }));
    url
}

#[tokio::test]
async fn headers_of_a_proxy_in_front_and_a_token_that_is_replaced_are_sent() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("token");
    let url = plain(&[("kong-admin-token", "new"), ("x-proxy-key", "k")]).await;
    let mut options = options(&url, Some(("X-Proxy-Key", "k")), LONG);
    let token = Credential {
        prefix: "",
        value: SecretAt::File(path.clone()),
    };
    options.headers.push(("kong-admin-token".to_owned(), token));
    let api = AdminApi::new(options, Vec::new()).expect("an address");
    let missing = api.facts().await.expect_err("no file yet").to_string();
    assert!(missing.ends_with("token: cannot be read"), "{missing}");
    for (text, expected) in [
        ("old", "answered 401"),
        ("", "token: is empty"),
        ("a\nb", "characters that no header may have"),
    ] {
        std::fs::write(&path, text).expect("written");
        let refused = api.facts().await.expect_err("not the token").to_string();
        assert!(refused.contains(expected), "{text:?}: {refused}");
    }
    std::fs::write(&path, "new\n").expect("written");
    assert_eq!(api.facts().await.expect("the right one").version, "3.9.1");
}

#[tokio::test]
async fn a_user_in_the_address_is_sent_and_not_shown() {
    // `user:hunter2` in base64
    let url = plain(&[("authorization", "Basic dXNlcjpodW50ZXIy")]).await;
    let url = url.replace("http://", "http://user:hunter2@");
    let api = client(url, None, LONG);
    assert!(api.facts().await.is_ok());
    assert!(!format!("{api}").contains("hunter2"), "{api}");
    let (address, _) = serve(Behaviour::NotFound, 1).await;
    let refused = client(format!("http://user:hunter2@{address}"), None, LONG)
        .facts()
        .await;
    let shown = refused.expect_err("404").to_string();
    assert!(!shown.contains("hunter2"), "{shown}");
    for wrong in ["user:hunter2@localhost", "ftp://user:hunter2@h"] {
        let refused = AdminApi::new(options(wrong, None, LONG), Vec::new()).expect_err("no address");
        assert!(!refused.to_string().contains("hunter2"), "{refused}");
    }
}

/// An authority and what it signed, as files.
struct Certificates {
    directory: tempfile::TempDir,
    server: rustls::ServerConfig,
}

impl Certificates {
    /// For `127.0.0.1`; wants a client certificate of the same authority if `mutual`.
    fn new(mutual: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let signed = |name: &str| {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
            let certificate = params.signed_by(&key, &issuer).expect("a certificate");
            (certificate, key)
        };
        let write = |name: &str, text: String| {
            std::fs::write(directory.path().join(name), text).expect("written");
        };
        let (client, client_key) = signed("kongtap");
        write("ca.pem", issuer.pem());
        write("client.pem", client.pem());
        write("client.key", client_key.serialize_pem());
        let (certificate, key) = signed("127.0.0.1");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(issuer.der().clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = if mutual {
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let server = builder
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a certificate");
        Self { directory, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Answers each connection with the recorded `/`.
    async fn serve(&self) -> String {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(self.server.clone()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!("https://{}", listener.local_addr().expect("an address"));
        let body = recorded("root").to_string();
        drop(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that does not trust the certificate goes away.
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut asked = [0; 4096];
                if tokio::io::AsyncReadExt::read(&mut stream, &mut asked)
                    .await
                    .is_err()
                {
                    continue;
                }
                let head = format!(
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                for part in [head.as_bytes(), body.as_bytes()] {
                    tokio::io::AsyncWriteExt::write_all(&mut stream, part)
                        .await
                        .expect("written");
                }
                drop(tokio::io::AsyncWriteExt::shutdown(&mut stream).await);
            }
        }));
        url
    }
}

async fn version_by(url: &str, tls: ApiTls) -> Result<String, String> {
    let mut options = options(url, None, LONG);
    options.tls = tls;
    let api = AdminApi::new(options, Vec::new()).map_err(|error| error.to_string())?;
    let facts = api.facts().await.map_err(|error| error.to_string())?;
    Ok(facts.version)
}

#[tokio::test]
async fn a_private_authority_is_believed_when_it_is_named_and_only_then() {
    let certificates = Certificates::new(false);
    let url = certificates.serve().await;
    let with = |trust| ApiTls {
        trust,
        identity: None,
    };
    let ca = certificates.path("ca.pem");
    assert_eq!(
        version_by(&url, with(Trust::Only(ca))).await.as_deref(),
        Ok("3.9.1")
    );
    assert_eq!(
        version_by(&url, with(Trust::Anybody)).await.as_deref(),
        Ok("3.9.1")
    );
    let other = Certificates::new(false);
    for trust in [Trust::Host, Trust::Only(other.path("ca.pem"))] {
        let refused = version_by(&url, with(trust)).await.expect_err("not trusted");
        assert!(refused.contains("is its certificate trusted?"), "{refused}");
    }
    for (name, expected) in [
        ("client.key", "has no certificate in PEM form"),
        ("none.pem", "cannot be read"),
    ] {
        let refused = version_by(&url, with(Trust::Only(certificates.path(name)))).await;
        let refused = refused.expect_err("no certificate");
        assert!(refused.contains(expected), "{name}: {refused}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let certificates = Certificates::new(true);
    let url = certificates.serve().await;
    let trust = Trust::Only(certificates.path("ca.pem"));
    let named = |certificate: &str| Some((certificates.path(certificate), certificates.path("client.key")));
    let with = |identity| ApiTls {
        trust: trust.clone(),
        identity,
    };
    assert_eq!(
        version_by(&url, with(named("client.pem"))).await.as_deref(),
        Ok("3.9.1")
    );
    assert!(version_by(&url, with(None)).await.is_err());
    let broken = version_by(&url, with(named("client.key")))
        .await
        .expect_err("no certificate");
    assert!(
        broken.contains("client.key: cannot be used as a certificate"),
        "{broken}"
    );
}

#[tokio::test]
async fn a_unix_socket_is_asked_by_either_way_of_writing_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("admin.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("a socket");
    let inner = app(&[("host", "localhost")]);
    let app = axum::Router::new().nest("/team", inner.clone()).merge(inner);
    drop(tokio::spawn(async move { axum::serve(listener, app).await }));
    let path = path.display();
    for url in [
        format!("unix:{path}"),
        format!("http://unix:{path}"),
        format!("http://unix:{path}:/team"),
    ] {
        let api = client(url.clone(), None, LONG);
        assert_eq!(
            api.facts().await.map(|facts| facts.version).ok().as_deref(),
            Some("3.9.1"),
            "{url}"
        );
        assert!(api.to_string().starts_with(&format!("unix:{path}")), "{api}");
    }
    let nobody = client(format!("unix:{path}.none"), None, LONG).facts().await;
    assert!(
        nobody
            .expect_err("no socket")
            .to_string()
            .contains("cannot be reached")
    );
}
