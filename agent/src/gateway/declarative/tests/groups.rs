//! Consumer groups in the forms of Kong's own format and of decK.

use super::file;
use crate::gateway::declarative::{Declared, read_with};
use crate::gateway::entities::Reference;
use crate::gateway::router::RouterProfile;
use crate::gateway::snapshot::{Snapshot, in_force};

fn read(text: &str) -> Declared {
    let declared = read_with(&[file("kong.yml", text)], |_| None);
    declared.unwrap_or_else(|mistakes| panic!("{text}\n{mistakes}"))
}

/// Each consumer of `alice`, `bob` with its groups.
fn said(declared: Declared) -> [String; 2] {
    let (snapshot, _) = Snapshot::build(declared.entities, &RouterProfile::default());
    ["alice", "bob"].map(|name| {
        let consumer = snapshot.consumer(&Reference::Name(name.to_owned()));
        consumer.expect("a consumer").groups.names().join(" ")
    })
}

const GOLD: &str = "00000000-0000-4000-8000-0000000000AA";

#[test]
fn members_stand_at_consumers_at_groups_or_apart() {
    let groups = format!("consumer_groups: [{{name: silver}}, {{name: gold, id: {GOLD}}}]");
    let consumers = "consumers: [{username: alice}, {username: bob, acls: [{group: gold}]}]";
    for (form, text) in [
        (
            "decK: by name and id",
            format!(
                "{groups}\nconsumers: [{{username: alice, groups: [{{name: silver}}, {{id: {GOLD}}}]}}, {{username: bob, groups: [silver]}}]"
            ),
        ),
        (
            "decK: with both",
            format!(
                "{groups}\nconsumers: [{{username: alice, groups: [{{name: silver}}, {{name: gold, id: {GOLD}}}]}}, {{username: bob, groups: [{{name: silver}}]}}]"
            ),
        ),
        (
            "at groups",
            format!(
                "consumer_groups: [{{name: silver, consumers: [{{username: alice}}, bob]}}, {{name: gold, id: {GOLD}, consumers: [alice]}}]\n{consumers}"
            ),
        ),
        (
            "Kong: apart",
            format!(
                "{groups}\n{consumers}\nconsumer_group_consumers: [{{consumer_group: silver, consumer: alice}}, {{consumer_group: {GOLD}, consumer: alice}}, {{consumer_group: silver, consumer: bob, created_at: 1}}]"
            ),
        ),
        (
            "twice is once",
            format!(
                "{groups}\nconsumers: [{{username: alice, groups: [silver, silver, gold]}}, {{username: bob, groups: [silver]}}]\nconsumer_group_consumers: [{{consumer_group: silver, consumer: bob}}]"
            ),
        ),
    ] {
        let declared = read(&format!("_format_version: '3.0'\n{text}"));
        assert!(declared.entities.consumer_groups.exist, "{form}");
        assert_eq!(said(declared), ["gold silver", "silver"], "{form}");
    }
    let without = read(&format!("_format_version: '3.0'\n{consumers}"));
    assert!(
        !without.entities.consumer_groups.exist,
        "acl's groups are no entities"
    );
    assert_eq!(said(without), ["", ""]);
}

#[test]
fn a_groups_own_plugins_are_bound_to_it() {
    let declared = read(
        "_format_version: '3.0'
consumer_groups: [{name: gold, plugins: [{name: rate-limiting-advanced, config: {}}, {name: cors, route: r}]}]
plugins: [{name: acl, consumer_group: gold}]
routes: [{name: r, paths: [/]}]",
    );
    let id = Some(&declared.entities.consumer_groups.groups[0].id);
    let plugins = &declared.entities.plugins;
    assert!(
        plugins
            .iter()
            .all(|plugin| plugin.scope.consumer_group_id.as_ref() == id)
    );
    let with_route = plugins.iter().filter(|plugin| plugin.scope.route_id.is_some());
    assert_eq!((plugins.len(), with_route.count()), (3, 1));
}

#[test]
fn an_auth_plugin_of_a_group_is_in_force_on_no_route() {
    let text = "_format_version: '3.0'
consumer_groups: [{name: gold}]
plugins: [{name: key-auth, consumer_group: gold}]";
    let plugins = read(text).entities.plugins;
    assert_eq!(in_force(&plugins.iter().collect::<Vec<_>>(), None), None);
}

#[test]
fn mistakes_name_their_places() {
    let text = "_format_version: '3.0'
consumer_groups: [{tags: [x]}, {name: gold}, {name: gold, consumers: {a: 1}}]
consumers: [{username: alice, groups: [7]}]
consumer_group_consumers: [{consumer: alice}]";
    let mistakes = read_with(&[file("kong.yml", text)], |_| None).expect_err("mistakes");
    let mistakes = mistakes.to_string();
    assert_eq!(
        mistakes.lines().collect::<Vec<_>>(),
        [
            "kong.yml: consumers[0].groups[0]: must be an id or a name, or a map with `id` or `name`",
            "kong.yml: consumer_groups[0]: needs a `name` or an `id`",
            "kong.yml: consumer_groups[2]: `gold` is defined twice",
            "kong.yml: consumer_groups[2].consumers: must be a list, not a map",
            "kong.yml: consumer_group_consumers[0].consumer_group: is required",
        ]
    );
}

#[test]
fn what_is_named_must_be_there_but_in_a_part_of_a_configuration() {
    let text = "consumers: [{username: alice, groups: [{name: gone}]}]
consumer_groups: [{name: gold, consumers: [nobody]}]
consumer_group_consumers: [{consumer_group: gold, consumer: nobody}]
plugins: [{name: cors, consumer_group: GROUP}]";
    let whole = format!("_format_version: '3.0'\n{}", text.replace("GROUP", "none"));
    let mistakes = read_with(&[file("kong.yml", &whole)], |_| None).expect_err("mistakes");
    let mistakes = mistakes.to_string();
    assert_eq!(
        mistakes.lines().collect::<Vec<_>>(),
        [
            "kong.yml: plugins[0].consumer_group: there is no consumer_group `none`",
            "kong.yml: consumers[0].groups[0]: there is no consumer_group `gone`",
            "kong.yml: consumer_groups[0].consumers[0]: there is no consumer `nobody`",
            "kong.yml: consumer_group_consumers[0].consumer: there is no consumer `nobody`",
        ]
    );
    let part = format!(
        "_format_version: '3.0'\n_info: {{select_tags: [x]}}\n{}",
        text.replace("GROUP", "gold")
    );
    assert!(read(&part).entities.consumer_groups.is_partial);
}

/// Names come again in each workspace.
#[test]
fn groups_are_of_their_workspace() {
    let of = |workspace: &str| {
        format!(
            "_format_version: '3.0'\n_workspace: {workspace}\nconsumer_groups: [{{name: gold}}]\nconsumers: [{{username: alice, groups: [gold]}}]"
        )
    };
    let [one, two] = ["one", "two"].map(of);
    let files = [file("one.yml", &one), file("two.yml", &two)];
    let groups = read_with(&files, |_| None)
        .expect("it reads")
        .entities
        .consumer_groups;
    assert_eq!((groups.groups.len(), groups.members.len()), (2, 2));
    for (group, member) in groups.groups.iter().zip(&groups.members) {
        assert_eq!(group.id, member.group_id);
    }
    assert_ne!(groups.members[0].consumer_id, groups.members[1].consumer_id);
}
