//! Consumer groups: Kong's table of 3.4, against a model that walks it for every world that is possible.

use std::collections::HashSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::{file, plugins};
use crate::gateway::entities::Reference;
use crate::gateway::router::RouterFlavor;
use crate::gateway::snapshot::{ConsumerMatch, KnownBy, Resolution, RouteMatch, Snapshot, UnknownRoute};
use crate::plugin::trace::Found;
use crate::plugin::{Decision, PluginSet, UnboundConfig};

const GATEWAY: &str = "
_format_version: '3.0'
services:
- {name: s, routes: [{name: r, paths: [/r]}, {name: r2, paths: [/r2]}]}
- {name: s2, routes: [{name: r3, paths: [/r3]}]}
routes: [{name: free, paths: [/free]}]
consumer_groups: [{name: beta, id: 00000000-0000-4000-8000-000000000001}, {name: alpha}]
consumers: [{username: both, groups: [{name: beta}, {name: alpha}]}, {username: one, groups: [alpha]}, {username: none}]
";

fn gateway(is_partial: bool) -> Snapshot {
    let mut entities = crate::gateway::declarative::read(&[file("kong.yml", GATEWAY)]).expect("it reads");
    entities.consumer_groups.is_partial = is_partial;
    Snapshot::build(entities, &RouterFlavor::TraditionalCompatible.into()).0
}

/// The table as Kong's documentation has it: Consumer, Group, Route, Service.
const TABLE: [&str; 12] = ["CRS", "GRS", "CR", "CS", "GR", "GS", "RS", "C", "G", "R", "S", ""];
/// Groups in the order of their names.
const GROUPS: [&str; 2] = ["alpha", "beta"];

/// What a configuration may be bound to: a row of the table, and for a group which.
fn slots() -> Vec<(&'static str, Option<&'static str>)> {
    let of_row = |row: &&'static str| {
        let groups: Vec<Option<&str>> = if row.contains('G') {
            GROUPS.iter().copied().map(Some).collect()
        } else {
            vec![None]
        };
        groups.into_iter().map(|group| (*row, group)).collect::<Vec<_>>()
    };
    TABLE.iter().flat_map(of_row).collect()
}

/// What may be true of an exchange.
#[derive(Clone, Debug)]
struct World {
    route: Option<&'static str>,
    service: Option<&'static str>,
    is_both: bool,
    groups: Vec<&'static str>,
}

/// The slot that Kong would use in a world.
fn obvious(states: &[u8], world: &World) -> Option<usize> {
    let slots = slots();
    let applies = |row: &str| {
        (!row.contains('R') || world.route == Some("r"))
            && (!row.contains('S') || world.service == Some("s"))
            && (!row.contains('C') || world.is_both)
    };
    for row in TABLE.into_iter().filter(|row| applies(row)) {
        let of_row = |group: Option<&str>| {
            let slot = slots.iter().position(|slot| *slot == (row, group));
            slot.filter(|slot| states[*slot] == 1)
        };
        let found = if row.contains('G') {
            GROUPS
                .into_iter()
                .filter(|group| world.groups.contains(group))
                .find_map(|group| of_row(Some(group)))
        } else {
            of_row(None)
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

fn configs(states: &[u8]) -> Vec<UnboundConfig> {
    let name = |bound: bool, name: &str| bound.then(|| Reference::Name(name.to_owned()));
    let of = |(number, (row, group)): (usize, &(&str, Option<&str>))| {
        let config = format!("{{access_token: T, bucket_key: B{number}}}");
        let text = format!("{{plugins: [{{name: runscope, config: {config}}}]}}");
        UnboundConfig {
            origin: number.to_string(),
            route: name(row.contains('R'), "r"),
            service: name(row.contains('S'), "s"),
            consumer: name(row.contains('C'), "both"),
            consumer_group: group.map(|group| Reference::Name(group.to_owned())),
            enabled: states[number] == 1,
            ..plugins(&text)[0].clone()
        }
    };
    let all = slots();
    let all = all.iter().enumerate().filter(|(number, _)| states[*number] > 0);
    all.map(of).collect()
}

/// Somebody who it may be: whether it is the consumer that configurations are bound to, and the groups.
type Person = (bool, Vec<&'static str>);

fn who(snapshot: &Snapshot, is_partial: bool) -> Vec<(ConsumerMatch, Vec<Person>)> {
    let known = |name: &str, groups: &[&'static str]| {
        let consumer = snapshot
            .consumer(&Reference::Name(name.to_owned()))
            .expect("a consumer");
        let mut worlds = vec![groups.to_vec()];
        if is_partial {
            worlds.extend(GROUPS.map(|group| [groups, &[group]].concat()));
            worlds.push(GROUPS.to_vec());
        }
        let worlds = worlds.into_iter().map(|groups| (name == "both", groups));
        (
            ConsumerMatch::Known(Arc::clone(consumer), KnownBy::Credentials),
            worlds.collect(),
        )
    };
    let anybody = vec![
        (false, vec![]),
        (true, vec![]),
        (true, vec!["alpha", "beta"]),
        (false, vec!["alpha"]),
        (false, vec!["beta"]),
    ];
    vec![
        known("both", &["alpha", "beta"]),
        known("one", &["alpha"]),
        known("none", &[]),
        (ConsumerMatch::Nobody, vec![(false, vec![])]),
        (ConsumerMatch::Unknown, anybody),
    ]
}

const ROUTES: [(Option<&str>, Option<&str>); 5] = [
    (Some("r"), Some("s")),
    (Some("r2"), Some("s")),
    (Some("r3"), Some("s2")),
    (Some("free"), None),
    (None, None),
];

fn check(states: &[u8], is_partial: bool) {
    let snapshot = gateway(is_partial);
    let set = PluginSet::bind(&configs(states), &snapshot);
    for (consumer, people) in who(&snapshot, is_partial) {
        let one = |place: &(Option<&'static str>, Option<&'static str>)| {
            let name = |name: &str| Reference::Name(name.to_owned());
            let route = place.0.and_then(|route| snapshot.route(&name(route)));
            let route = route.map_or(RouteMatch::NoRoute, |route| {
                RouteMatch::Matched(Arc::clone(route))
            });
            let service = place.1.and_then(|service| snapshot.service(&name(service)));
            (route, service.cloned(), vec![*place])
        };
        let mut cases: Vec<_> = ROUTES.iter().map(one).collect();
        // A consumer is only ever known where a route was found.
        let is_somewhere =
            |place: &&(Option<&str>, _)| place.0.is_some() || !matches!(consumer, ConsumerMatch::Known(..));
        let anywhere = ROUTES.iter().filter(is_somewhere).copied().collect();
        cases.push((RouteMatch::Unknown(UnknownRoute::Unsupported), None, anywhere));
        for (route, service, places) in cases {
            let worlds = places.iter().flat_map(|(route, service)| {
                people.iter().map(move |(is_both, groups)| World {
                    route: *route,
                    service: *service,
                    is_both: *is_both && route.is_some(),
                    groups: if route.is_some() {
                        groups.clone()
                    } else {
                        Vec::new()
                    },
                })
            });
            let expected: HashSet<_> = worlds.map(|world| obvious(states, &world)).collect();
            let resolution = Resolution {
                route,
                service,
                consumer: consumer.clone(),
                credentials: Arc::from([]),
                refusal: None,
                outer_port: None,
            };
            let said = format!("{states:?} {is_partial} {resolution:?}");
            let got = match set.decide(&resolution) {
                Decision::Use(config) => HashSet::from([Some(config.origin.parse().expect("a number"))]),
                Decision::None => HashSet::from([None]),
                Decision::RouteUnknown | Decision::ConsumerUnknown => {
                    assert!(expected.len() > 1, "it cannot differ: {said}");
                    continue;
                }
            };
            assert_eq!(got, expected, "{said}");
            let is_all_known = !is_partial
                && !matches!(resolution.route, RouteMatch::Unknown(_))
                && !matches!(resolution.consumer, ConsumerMatch::Unknown);
            if is_all_known {
                let traced = set.trace(&resolution).into_iter().find_map(|it| match it.found {
                    Found::InForce { origin } => Some(origin.parse::<usize>().expect("a number")),
                    Found::Nothing | Found::Disabled { .. } | Found::Weaker { .. } => None,
                    Found::NotApplicable | Found::Unknown => None,
                });
                assert_eq!(HashSet::from([traced]), expected, "{said}");
            }
        }
    }
}

#[test]
fn each_scope_of_the_table_yields_to_those_before_it() {
    let number = slots().len();
    assert_eq!(number, 16);
    for first in 0..number {
        let states: Vec<u8> = (0..number).map(|slot| u8::from(slot >= first)).collect();
        check(&states, false);
        // Disabled ones fall through.
        let disabled = (0..number).map(|slot| if slot >= first { 1 } else { 2 });
        check(&disabled.collect::<Vec<u8>>(), true);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn precedence_with_groups_is_kongs_table(states in proptest::collection::vec(0_u8..3, 16), is_partial: bool) {
        check(&states, is_partial);
    }
}

/// Reasons of what is inactive, for a list of plugins.
fn reasons(list: &str, gateway: &Snapshot) -> Vec<String> {
    let set = PluginSet::bind(&plugins(list), gateway);
    let said = set
        .inactive()
        .iter()
        .map(|it| format!("{} {}: {}", it.origin, it.scope, it.reason));
    said.collect()
}

#[test]
fn groups_are_named_in_every_way_and_missed_when_they_are_gone() {
    let config = "config: {access_token: T, bucket_key: B}";
    let list = format!(
        "plugins:
- {{name: runscope, consumer_group: alpha, {config}}}
- {{name: runscope, consumer_group: {{name: alpha}}, route: r, {config}}}
- {{name: runscope, consumer_group: {{id: 00000000-0000-4000-8000-000000000001}}, {config}}}
- {{name: runscope, consumer_group: gone, {config}}}
consumer_groups:
- {{name: beta, plugins: [{{name: runscope, service: s, {config}}}]}}
"
    );
    assert_eq!(
        reasons(&list, &gateway(false)),
        ["p.yml: plugins[3] consumer_group=gone: the gateway has no consumer group `gone`"]
    );
    let set = PluginSet::bind(&plugins(&list), &gateway(false));
    assert_eq!(set.active().count(), 4);
    // A gateway without groups, such as an open source Kong.
    let without = reasons(&list, &super::gateway());
    assert_eq!(without.len(), 5, "{without:?}");
    assert!(
        without
            .iter()
            .all(|it| it.contains("the gateway has no consumer group")),
        "{without:?}"
    );
}
