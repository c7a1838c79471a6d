//! OpenSSL calls, of a real nginx and of `openssl s_client`, both with the system's libssl.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use kongtap_common::counter;

use super::{BUDGET, Capture, Seen, pattern, skip};
use crate::capture::libraries::placements_in;
use crate::capture::placement::stepped;
use crate::capture::symbols::TlsFunction;
use crate::capture::tls::TlsProbePlan;
use crate::clock;

/// Bytes of the file that nginx serves: several TLS records, several socket calls.
const FILE_BYTES: usize = 300_000;

/// One nginx process: a TLS server that proxies, over TLS, to another one of its own.
struct Nginx {
    process: Child,
    front: u16,
    directory: tempfile::TempDir,
}

impl Nginx {
    fn start() -> Option<Self> {
        for tool in ["nginx", "openssl"] {
            if Command::new(tool).arg("-v").output().is_err() {
                skip(&format!("no {tool}"));
                return None;
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        make_certificate(path);
        let body: Vec<u8> = pattern(FILE_BYTES, 7)
            .into_iter()
            .map(|byte| b'a' + byte % 26)
            .collect();
        std::fs::write(path.join("file"), body).unwrap();
        let (front, back) = (free_port(), free_port());
        std::fs::write(path.join("nginx.conf"), configuration(path, front, back)).unwrap();
        let process = Command::new("nginx")
            .arg("-p")
            .arg(path)
            .args(["-c", "nginx.conf"])
            .spawn()
            .unwrap();
        let nginx = Self {
            process,
            front,
            directory,
        };
        let begin = clock::instant();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, front)).is_err() {
            assert!(begin.elapsed() < BUDGET, "nginx does not listen");
            std::thread::yield_now();
        }
        Some(nginx)
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }

    /// `s_client` connected to it, with its standard streams as the connection.
    fn client(&self) -> Client {
        Client::start(Command::new("openssl").args(client_arguments(self.front)))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn client_arguments(port: u16) -> Vec<String> {
    ["s_client", "-quiet", "-no_ign_eof", "-connect"]
        .into_iter()
        .map(str::to_owned)
        .chain([format!("127.0.0.1:{port}")])
        .collect()
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn make_certificate(path: &Path) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-days",
            "2",
            "-keyout",
            "key",
            "-out",
            "certificate",
        ])
        .current_dir(path)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

fn configuration(path: &Path, front: u16, back: u16) -> String {
    let tls = "ssl_certificate certificate; ssl_certificate_key key;";
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {}/{name};\n", path.display()))
        .collect();
    format!(
        "daemon off; master_process off; pid pid; error_log stderr crit;
        events {{ worker_connections 256; }}
        http {{
            access_log off;
            {temporary}
            upstream back {{ server 127.0.0.1:{back}; keepalive 4; }}
            server {{
                listen 127.0.0.1:{front} ssl; {tls}
                location / {{
                    proxy_pass https://back; proxy_http_version 1.1; proxy_set_header Connection '';
                }}
            }}
            server {{
                listen 127.0.0.1:{back} ssl; {tls}
                root {}; location /short {{ return 200 short; }}
            }}
        }}",
        path.display()
    )
}

struct Client {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    sent: Vec<u8>,
    received: Vec<u8>,
}

impl Client {
    fn start(command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self {
            process,
            input,
            output,
            sent: Vec::new(),
            received: Vec::new(),
        }
    }

    /// Sends a request and reads its response whole.
    fn get(&mut self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.input
            .as_mut()
            .unwrap()
            .write_all(request.as_bytes())
            .unwrap();
        self.sent.extend_from_slice(request.as_bytes());
        let mut length = 0;
        loop {
            let mut line = Vec::new();
            self.output.read_until(b'\n', &mut line).unwrap();
            assert!(!line.is_empty(), "the connection ended within a response's head");
            self.received.extend_from_slice(&line);
            let line = String::from_utf8(line).unwrap().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.output.read_exact(&mut body).unwrap();
        self.received.extend_from_slice(&body);
    }

    /// Waits for `bytes`, which must come next.
    fn expect(&mut self, bytes: &[u8]) {
        let mut got = vec![0; bytes.len()];
        self.output.read_exact(&mut got).unwrap();
        assert_eq!(got, bytes);
    }

    /// Closes the connection from this side.
    fn close(mut self) -> (Vec<u8>, Vec<u8>) {
        drop(self.input.take());
        self.process.wait().unwrap();
        (std::mem::take(&mut self.sent), std::mem::take(&mut self.received))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.input.take());
        drop(self.process.kill());
        self.process.wait().unwrap();
    }
}

/// The system's libssl.
fn system_libssl() -> PathBuf {
    [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
    ]
    .iter()
    .map(|directory| PathBuf::from(directory).join("libssl.so.3"))
    .find(|path| path.exists())
    .expect("the system's libssl")
}

/// The functions of the system's libssl that are in `functions`, where they cost least.
fn plan(functions: &[TlsFunction]) -> TlsProbePlan {
    let path = system_libssl();
    let mut placements = placements_in(&path).unwrap();
    placements.retain(|function, _| functions.contains(function));
    TlsProbePlan { path, placements }
}

/// What a gateway gets: everything but the handshake.
fn gateway_plan() -> TlsProbePlan {
    let functions: Vec<TlsFunction> = TlsFunction::ALL
        .iter()
        .copied()
        .filter(|function| {
            use TlsFunction::{Accept, Connect, DoHandshake, Shutdown};
            !matches!(function, DoHandshake | Accept | Connect | Shutdown)
        })
        .collect();
    plan(&functions)
}

#[test]
fn plaintext_of_both_legs_is_exact() {
    plaintext_is_exact(&gateway_plan());
}

#[test]
fn on_first_instructions_it_is_the_same() {
    let mut plan = gateway_plan();
    plan.placements = stepped(&plan.placements, "");
    plaintext_is_exact(&plan);
}

fn plaintext_is_exact(plan: &TlsProbePlan) {
    let Some(nginx) = Nginx::start() else { return };
    let Some(mut capture) = Capture::start() else {
        return;
    };
    capture.probes.watch(nginx.pid()).unwrap();
    let attached = capture.probes.attach_tls(nginx.pid(), plan).unwrap();
    assert_eq!(attached.probed.len(), plan.placements.len(), "{attached:?}");
    let mut client = nginx.client();
    for path in ["/short", "/file", "/short", "/file"] {
        client.get(path);
    }
    let (sent, received) = client.close();
    // The client's connection, and both ends of the pooled one behind it, which stays open.
    capture.until("the client's connection to close", |capture| {
        capture.conns.values().any(|seen| seen.closed)
    });
    assert_eq!(capture.conns.len(), 3, "{}", capture.describe());
    let client_leg = capture.conns.values().find(|seen| seen.closed).unwrap();
    assert!(client_leg.ingress.contiguous() == sent, "what the client sent");
    assert!(
        client_leg.egress.contiguous() == received,
        "what the client received"
    );
    let back: Vec<&Seen> = capture.conns.values().filter(|seen| !seen.closed).collect();
    for (one, other) in [(back[0], back[1]), (back[1], back[0])] {
        assert!(
            one.ingress.contiguous() == other.egress.contiguous(),
            "one end's bytes are the other's"
        );
    }
    for seen in capture.conns.values() {
        let open = seen.open.unwrap();
        assert!(open.tls && !open.late, "{open:?}");
    }
    let counters = capture.probes.counters().unwrap();
    assert!(counters.is_balanced(), "{counters:?}");
    assert_eq!(
        counters.get(counter::SEEN_BYTES),
        counters.get(counter::COPIED_BYTES)
    );
    assert_eq!(counters.get(counter::TLS_BINDING_DISAGREEMENTS), 0);
    assert!(
        counters.get(counter::CIPHERTEXT_BYTES) > counters.get(counter::SEEN_BYTES),
        "{counters:?}"
    );
}

#[test]
fn a_connection_older_than_the_probes_is_bound_by_its_socket_calls() {
    let Some(nginx) = Nginx::start() else { return };
    let Some(mut capture) = Capture::start() else {
        return;
    };
    let mut client = nginx.client();
    client.get("/short");
    client.get("/file");
    let (sent, received) = (
        std::mem::take(&mut client.sent),
        std::mem::take(&mut client.received),
    );
    assert!(!sent.is_empty() && !received.is_empty());
    capture.probes.watch(nginx.pid()).unwrap();
    capture.probes.attach_tls(nginx.pid(), &gateway_plan()).unwrap();
    client.get("/file");
    client.get("/short");
    let (sent, received) = client.close();
    capture.until("the client's connection to close", |capture| {
        capture.conns.values().any(|seen| seen.closed)
    });
    let seen = capture.conns.values().find(|seen| seen.closed).unwrap();
    assert!(seen.ingress.contiguous() == sent, "what the client sent");
    assert!(seen.egress.contiguous() == received, "what the client received");
    for seen in capture.conns.values() {
        let open = seen.open.unwrap();
        assert!(open.tls && open.late, "{open:?}");
    }
    let counters = capture.probes.counters().unwrap();
    assert!(counters.is_balanced(), "{counters:?}");
    assert_eq!(
        counters.get(counter::SEEN_BYTES),
        counters.get(counter::COPIED_BYTES),
        "{counters:?}"
    );
}

/// `s_server` gives its TLS object a BIO of its own instead of calling `SSL_set_fd`, and shakes hands before it reads.
fn an_object_without_set_fd(functions: &[TlsFunction], late: bool, conns: usize) {
    let Some(nginx) = Nginx::start() else { return };
    let Some(mut capture) = Capture::start() else {
        return;
    };
    // The same process before and after `exec`, so the probes are there before its first call.
    let port = free_port();
    let script = format!(
        "read go && exec openssl s_server -quiet -naccept 1 -accept 127.0.0.1:{port} -cert certificate -key key"
    );
    let mut server = Client::start(
        Command::new("sh")
            .args(["-c", &script])
            .current_dir(nginx.directory.path()),
    );
    let pid = server.process.id();
    capture.probes.watch(pid).unwrap();
    capture.probes.attach_tls(pid, &plan(functions)).unwrap();
    server.input.as_mut().unwrap().write_all(b"go\n").unwrap();
    let mut client = connected(port);
    client
        .input
        .as_mut()
        .unwrap()
        .write_all(b"from the client\n")
        .unwrap();
    server.expect(b"from the client\n");
    server
        .input
        .as_mut()
        .unwrap()
        .write_all(b"from the server\n")
        .unwrap();
    client.expect(b"from the server\n");
    client.close();
    let counters = capture.finish(conns);
    let seen = capture
        .conns
        .values()
        .find(|seen| seen.open.unwrap().tls)
        .unwrap();
    assert_eq!(seen.open.unwrap().late, late);
    assert_eq!(seen.ingress.contiguous(), b"from the client\n");
    assert_eq!(seen.egress.contiguous(), b"from the server\n");
    assert_eq!(counters.get(counter::LOST_TLS_UNBOUND_BYTES), 0, "{counters:?}");
}

/// `s_client` connected to a server that may not listen yet.
fn connected(port: u16) -> Client {
    let begin = clock::instant();
    loop {
        let mut client = Client::start(Command::new("openssl").args(client_arguments(port)));
        while client.process.try_wait().unwrap().is_none() {
            if is_connected(port) {
                return client;
            }
            assert!(begin.elapsed() < BUDGET, "nobody listens on {port}");
            std::thread::yield_now();
        }
    }
}

/// Whether a connection to `port` is established, without making one.
fn is_connected(port: u16) -> bool {
    const ESTABLISHED: &str = "01";
    let remote = format!("0100007F:{port:04X}");
    std::fs::read_to_string("/proc/net/tcp")
        .unwrap()
        .lines()
        .any(|line| {
            let mut fields = line.split_whitespace().skip(2);
            fields.next() == Some(&remote) && fields.next() == Some(ESTABLISHED)
        })
}

#[test]
fn an_object_without_set_fd_is_bound_by_its_handshake() {
    an_object_without_set_fd(TlsFunction::ALL, false, 1);
}

#[test]
fn without_the_handshake_it_is_bound_late_and_its_ciphertext_was_a_stream_of_its_own() {
    let functions: Vec<TlsFunction> = TlsFunction::ALL
        .iter()
        .copied()
        .filter(|function| {
            use TlsFunction::{Accept, Connect, DoHandshake, Shutdown};
            !matches!(function, DoHandshake | Accept | Connect | Shutdown)
        })
        .collect();
    an_object_without_set_fd(&functions, true, 2);
}

#[test]
fn detached_probes_see_nothing_and_sockets_are_plain_again() {
    let Some(nginx) = Nginx::start() else { return };
    let Some(mut capture) = Capture::start() else {
        return;
    };
    capture.probes.watch(nginx.pid()).unwrap();
    capture.probes.attach_tls(nginx.pid(), &gateway_plan()).unwrap();
    capture.probes.detach_tls(nginx.pid()).unwrap();
    let mut client = nginx.client();
    client.get("/short");
    client.close();
    capture.until("the client's connection to close", |capture| {
        capture.conns.values().any(|seen| seen.closed)
    });
    for seen in capture.conns.values() {
        assert!(!seen.open.unwrap().tls);
    }
    assert_eq!(
        capture.probes.counters().unwrap().get(counter::CIPHERTEXT_BYTES),
        0
    );
}

#[test]
fn a_plan_without_functions_is_refused() {
    let Some(nginx) = Nginx::start() else { return };
    let Some(mut capture) = Capture::start() else {
        return;
    };
    let nothing = TlsProbePlan {
        path: plan(&[]).path,
        placements: BTreeMap::new(),
    };
    let error = capture.probes.attach_tls(nginx.pid(), &nothing).unwrap_err();
    assert!(error.to_string().starts_with("no function of "), "{error}");
}
