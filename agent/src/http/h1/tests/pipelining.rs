//! Several requests on one connection (RFC 9112 section 9.3.2).

use super::table::{END, check, check_upstream, empty, get, ok, post, refusal, req, res};

#[test]
fn answers_come_in_the_order_of_their_requests() {
    let three = &[
        "GET /1 [] -> 201 []",
        "GET /2 [] -> 202 []",
        "GET /3 [] -> 203 []",
    ];
    check(
        "one after the other",
        &[
            get("/1"),
            empty(201),
            get("/2"),
            empty(202),
            get("/3"),
            empty(203),
        ],
        three,
    );
    check(
        "all at once",
        &[
            get("/1"),
            get("/2"),
            get("/3"),
            empty(201),
            empty(202),
            empty(203),
        ],
        three,
    );
    check(
        "overlapping",
        &[
            get("/1"),
            get("/2"),
            empty(201),
            get("/3"),
            empty(202),
            empty(203),
        ],
        three,
    );
    check(
        "in one call each way",
        &[
            req(
                "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nabHEAD /3 HTTP/1.1\r\nHost: h\r\n\r\n",
            ),
            res(
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 204 X\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            ),
        ],
        &[
            "GET /1 [] -> 200 [1]",
            "POST /2 [ab] -> 204 []",
            "HEAD /3 [] -> 200 []",
        ],
    );
    check(
        "a body by chunks between them",
        &[
            post("Transfer-Encoding: chunked", "1\r\na\r\n0\r\n\r\n"),
            get("/b"),
            ok("Transfer-Encoding: chunked", "1\r\nA\r\n0\r\n\r\n"),
            ok("Content-Length: 1", "B"),
        ],
        &["POST /p [a] -> 200 [A]", "GET /b [] -> 200 [B]"],
    );
    check(
        "HTTP/1.0 with keep-alive",
        &[
            req("GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
            res("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n1"),
            req("GET /2 HTTP/1.0\r\n\r\n"),
            res("HTTP/1.0 200 OK\r\n\r\n2"),
            END,
        ],
        &["GET /1 [] -> 200 [1]", "GET /2 [] -> 200 [2]"],
    );
}

#[test]
fn requests_that_are_not_answered() {
    check(
        "the connection ends after the first",
        &[
            get("/1"),
            get("/2"),
            ok("Connection: close\r\nContent-Length: 1", "1"),
            END,
        ],
        &["GET /1 [] -> 200 [1]", "GET /2 [] -> *; response_absent"],
    );
    check(
        "the second is refused, the third is not read",
        &[
            get("/1"),
            post("Content-Length: x", ""),
            get("/3"),
            empty(200),
            refusal(400),
            END,
        ],
        &[
            "GET /1 [] -> 200 []",
            "POST /p [] -> 400 [!] ! bad_content_length",
        ],
    );
    check(
        "an error of the service's own is no refusal",
        &[
            post("Content-Length: 2\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
            get("/b"),
            empty(400),
            empty(200),
        ],
        &[
            "POST /p [] -> 400 [] ! content_length_and_transfer_encoding",
            "GET /b [] -> 200 []",
        ],
    );
}

#[test]
fn answers_that_nobody_asked_for() {
    check_upstream(
        "more than the length said",
        &[
            get("/a"),
            ok("Content-Length: 2", "ok and more"),
            get("/b"),
            empty(200),
        ],
        &["GET /a [] -> 200 []", "GET /b [] -> 200 []"],
    );
    check_upstream(
        "a body to HEAD",
        &[
            req("HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n"),
            ok("Content-Length: 2", "ok"),
            get("/b"),
            empty(200),
        ],
        &["HEAD /a [] -> 200 []", "GET /b [] -> 200 []"],
    );
    check_upstream(
        "408 on an idle connection, which servers send before they close it",
        &[get("/a"), empty(200), refusal(408), END],
        &["GET /a [] -> 200 []", "* -> 408 []; head_lost"],
    );
}
