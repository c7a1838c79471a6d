//! Ids for entities that were written down without one.
//!
//! In: an entity's kind and name. Out: the id that a DB-less Kong itself derives for it: UUIDv5 of the name within
//! UUIDv5 of the kind within a fixed namespace [Kong kong/db/schema/others/declarative_config.lua]. So these are the
//! gateway's own ids where it was given the very file, and merely stable ones where the file was synchronised into a
//! database; which is why they do not count as known.

use std::sync::Arc;

use uuid::Uuid;

/// Kong's namespace for derived entity ids.
const ENTITIES: Uuid = Uuid::from_u128(0xfd02_801f_0957_4a15_a55a_c8d9_606f_30b5);

/// The id of a named entity; `kind` is the collection's name, such as `services`.
#[must_use]
pub fn of_name(kind: &str, name: &str) -> Arc<str> {
    let namespace = Uuid::new_v5(&ENTITIES, kind.as_bytes());
    text(Uuid::new_v5(&namespace, name.as_bytes()))
}

/// An id for an entity without a name, from its own fields and its parent: the same text gives the same id. Kong gives such an
/// entity a random one.
#[must_use]
pub fn of_content(kind: &str, parent: &str, content: &str) -> Arc<str> {
    let namespace = Uuid::new_v5(&ENTITIES, kind.as_bytes());
    text(Uuid::new_v5(
        &namespace,
        format!("{parent}\n{content}").as_bytes(),
    ))
}

fn text(id: Uuid) -> Arc<str> {
    Arc::from(id.hyphenated().to_string())
}

#[cfg(test)]
mod tests {
    use super::of_name;

    #[test]
    fn derived_ids_are_those_that_a_real_gateway_derived() {
        for (kind, name, id) in [
            ("services", "plain-svc", "2259f1de-513e-5fcc-8c9c-9315ef9f0bc2"),
            ("routes", "plain-host", "1b06212c-3b7b-5b3c-b94d-5bf7b7ec206d"),
            ("consumers", "alice", "b32379d9-3d28-5683-a79c-72139be6e34f"),
        ] {
            assert_eq!(&*of_name(kind, name), id, "{kind} {name}");
        }
    }
}
