//! Whose request id names an exchange: a receiver drops what comes under a name that it knows, so only the gateway's will do.

use bytes::Bytes;

use super::{exchange, headers, nowhere, value_of, with_upstream};
use crate::message::Profile;

const ID: &str = "bc7f4f6b9304d05aa419716376654c24";
const LINES: [(&str, &str); 1] = [("X-Kong-Request-Id", ID)];
const OTHERS: [(&str, &str); 1] = [("X-Kong-Request-Id", "another")];

/// Lines that the client sends, the gateway passes on, the service answers with: is `ID`, which ties them, taken for the name?
fn check(client: &[(&str, &str)], passed_on: &[(&str, &str)], answered: &[(&str, &str)], is_name: bool) {
    let mut joined = with_upstream(exchange("GET", "/a", client, "", 200, &LINES, ""), Some(200));
    let leg = joined.upstream.last_mut().unwrap();
    leg.request.as_mut().unwrap().headers = headers(passed_on);
    leg.response.as_mut().unwrap().headers = headers(answered);
    joined.request_id = Some(Bytes::from_static(ID.as_bytes()));
    let value = value_of(&joined, &nowhere(), true, Profile::Extended);
    let name = value["unique_identifier"].as_str().unwrap();
    assert_eq!(
        name == ID,
        is_name,
        "{client:?} {passed_on:?} {answered:?}: {name}"
    );
    assert_eq!(name.len(), 32);
}

#[test]
fn a_request_id_names_the_exchange_when_the_gateway_made_it() {
    check(&[], &LINES, &[], true);
    check(&[], &[], &[], true);
    // The gateway put its own in the place of the client's.
    check(&OTHERS, &LINES, &[], true);
    // The service says what it was told.
    check(&[], &LINES, &LINES, true);
}

#[test]
fn a_request_id_that_was_passed_on_names_nothing() {
    // A client may send the same one with every request.
    check(&LINES, &LINES, &[], false);
    check(&[OTHERS, LINES].concat(), &OTHERS, &[], false);
    // So may a service.
    check(&[], &[], &LINES, false);
    check(&[], &OTHERS, &LINES, false);
}
