//! What each entry of the `traditional` router makes of one request.

use super::entry::{Answer, Asking, Entry};
use super::{Engine, host, kinds};
use crate::gateway::router::considered::{Considered, Criterion, Fit};
use crate::gateway::router::request::Prepared;

impl Engine {
    pub(in crate::gateway::router) fn explain(&self, request: &Prepared<'_>) -> Vec<Considered<'_>> {
        let host = host::Asked::of(request, self.era);
        let worlds = self.index.hits(request, &host, self.era, &self.entries);
        // Of several possible orders one is shown; whether they agree is the search's to say.
        let hits = worlds
            .and_then(|worlds| worlds.into_iter().next())
            .unwrap_or_default();
        let asking = Asking {
            request,
            host: &host,
            hits: &hits,
            era: self.era,
        };
        let numbers = self.categories.iter().flat_map(|category| &category.all);
        let entries = numbers.filter_map(|number| self.entries.get(*number));
        entries.map(|entry| considered(entry, &asking)).collect()
    }
}

fn considered<'a>(entry: &'a Entry, asking: &Asking<'_>) -> Considered<'a> {
    let mut criteria = entry.criteria(asking);
    if entry.kinds == u8::MAX {
        criteria = vec![(Criterion::Expression, Fit::Perhaps)];
    }
    // What the search itself would say: criteria that are told apart here must come to the same.
    debug_assert_eq!(
        criteria.iter().any(|(_, fit)| *fit == Fit::Fails),
        matches!(entry.matches(asking), Answer::No),
        "the criteria are the match's"
    );
    let kinds = [
        kinds::HOST,
        kinds::HEADER,
        kinds::PATH,
        kinds::METHOD,
        kinds::SNI,
        kinds::SOURCE,
        kinds::DESTINATION,
    ];
    let used = kinds.into_iter().filter(|kind| entry.kinds & kind != 0).count();
    let mut standing = vec![
        ("kinds of attributes", i64::try_from(used).unwrap_or(i64::MAX)),
        (
            "the kinds themselves (hosts, headers, paths, methods, in this order)",
            i64::from(entry.kinds),
        ),
    ];
    standing.extend(entry.standing());
    Considered {
        route: &entry.route,
        criteria,
        standing,
    }
}
