//! A configuration of many entities: read within its bounds, and not again while nothing changes.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Fingerprint, Look, Source, client};
use crate::clock;
use crate::gateway::admin_api::tests::dialects;
use crate::gateway::snapshot::Snapshot;

const ROUTES: usize = 10_000;
const CONSUMERS: usize = 50_000;
/// Far above what it takes; a reading whose cost grows with the square of its size would not end by then.
const BUDGET: Duration = Duration::from_secs(120);

fn large() -> Value {
    let mut document = dialects::document("2.8.1");
    let many = |kind: &str, count: usize, change: fn(&mut Value, usize)| -> Vec<Value> {
        let one = document["lists"][kind][0].clone();
        let numbered = |n: usize| {
            let mut item = one.clone();
            item["id"] = json!(format!("00000000-0000-4000-8000-{n:012}"));
            change(&mut item, n);
            item
        };
        (0..count).map(numbered).collect()
    };
    let routes = many("routes", ROUTES, |item, n| {
        item["name"] = json!(format!("route-{n}"));
        item["paths"] = json!([format!("/area-{}/route-{n}", n % 100)]);
        item["hosts"] = Value::Null;
    });
    let consumers = many("consumers", CONSUMERS, |item, n| {
        item["username"] = json!(format!("consumer-{n}"));
    });
    document["lists"]["routes"] = json!(routes);
    document["lists"]["consumers"] = json!(consumers);
    document
}

#[tokio::test]
async fn ten_thousand_routes_and_fifty_thousand_consumers_are_read_once() {
    let gateway = dialects::serve(large(), 1000, Vec::new(), Vec::new()).await;
    let api = Source::AdminApi(client(format!("http://{}", gateway.address), None, BUDGET));
    let began = clock::instant();
    let Ok(Look::Changed(reading)) = api.look(&Fingerprint::default()).await else {
        panic!("the first look reads")
    };
    let read = clock::instant();
    assert_eq!(gateway.asked("/consumers"), CONSUMERS / 1000 + 1);
    let (snapshot, _) = Snapshot::build(reading.entities, &reading.profile);
    let built = clock::instant();
    assert_eq!(snapshot.sizes(), (1, ROUTES, CONSUMERS));
    let again = api.look(&reading.fingerprint).await;
    assert!(matches!(again, Ok(Look::Unchanged(..))), "{again:?}");
    assert_eq!(
        gateway.asked("/consumers"),
        CONSUMERS / 1000 + 1,
        "not read again"
    );
    let looked = clock::instant();
    assert!(looked - began < BUDGET, "{:?}", looked - began);
    // `cargo test -- --nocapture` shows what docs/benchmarks.md says.
    let figures = format!(
        "read {:?}, built {:?}, looked {:?}\n",
        read - began,
        built - read,
        looked - built
    );
    drop(std::io::Write::write_all(
        &mut std::io::stderr(),
        figures.as_bytes(),
    ));
}
