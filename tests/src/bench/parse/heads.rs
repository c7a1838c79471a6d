//! The messages of the scenarios: fields and order as Kong 3.9.1 sent them (`testdata/kong-3.9.1`), with the credentials and the
//! tracing fields of a usual client.

/// The gateway's listener.
pub const LISTENER_PORT: u16 = 8000;

/// The gateway's configuration: that of the recorded gateway.
pub const KONG_YML: &str = include_str!("../../../../testdata/kong-yml/lab-3.9.1/kong.yml");

/// What a client asks for.
#[must_use]
pub fn request(number: usize) -> Vec<u8> {
    format!(
        "GET /plain/orders/{number}?expand=lines&page=2 HTTP/1.1\r\n\
         Host: api.example.com\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
         Accept: application/json\r\n\
         Accept-Language: en-US,en;q=0.5\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\n\
         Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n\
         Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-{number:016x}-01\r\n\
         Connection: keep-alive\r\n\r\n"
    )
    .into_bytes()
}

/// What the gateway asks the service for.
#[must_use]
pub fn passed_on(number: usize) -> Vec<u8> {
    format!(
        "GET /orders/{number}?expand=lines&page=2 HTTP/1.1\r\n\
         Via: 1.1 kong/3.9.1\r\n\
         Host: 127.0.0.1:9100\r\n\
         Connection: keep-alive\r\n\
         X-Forwarded-For: 127.0.0.1\r\n\
         X-Forwarded-Proto: http\r\n\
         X-Forwarded-Host: api.example.com\r\n\
         X-Forwarded-Port: 8000\r\n\
         X-Forwarded-Path: /plain/orders/{number}\r\n\
         X-Forwarded-Prefix: /plain\r\n\
         X-Real-IP: 127.0.0.1\r\n\
         X-Kong-Request-Id: {}\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
         Accept: application/json\r\n\
         Accept-Language: en-US,en;q=0.5\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\n\
         Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n\
         Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-{number:016x}-01\r\n\r\n",
        request_id(number)
    )
    .into_bytes()
}

/// The head of the service's answer.
#[must_use]
pub fn service_answer(body_bytes: usize) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\n\
         Content-Type: application/json\r\n\
         Content-Length: {body_bytes}\r\n\
         Date: Sun, 22 Nov 2026 09:59:39 GMT\r\n\
         Connection: keep-alive\r\n\
         Keep-Alive: timeout=5\r\n\r\n"
    )
    .into_bytes()
}

/// The head of the gateway's answer.
#[must_use]
pub fn answer(number: usize, body_bytes: usize) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\n\
         Content-Type: application/json\r\n\
         Content-Length: {body_bytes}\r\n\
         Connection: keep-alive\r\n\
         Date: Sun, 22 Nov 2026 09:59:39 GMT\r\n\
         Server: kong/3.9.1\r\n\
         X-Kong-Upstream-Latency: 2\r\n\
         X-Kong-Proxy-Latency: 0\r\n\
         Via: 1.1 kong/3.9.1\r\n\
         X-Kong-Request-Id: {}\r\n\r\n",
        request_id(number)
    )
    .into_bytes()
}

/// Text of so many bytes, as a service would send it.
#[must_use]
pub fn body(bytes: usize) -> Vec<u8> {
    let line = br#"{"id":1042,"sku":"A-17","name":"Bracket, 40 mm","quantity":3,"price":"12.50"},"#;
    line.iter().copied().cycle().take(bytes).collect()
}

/// 32 hexadecimal digits, as Kong's are, and as even in each of them.
fn request_id(number: usize) -> String {
    let mixed = u128::try_from(number)
        .unwrap_or_default()
        .wrapping_add(1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    format!("{mixed:032x}")
}
