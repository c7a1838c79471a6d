//! Consumer groups, which Kong Enterprise and Konnect have: who is in which, and in which order they count.
//!
//! In: the [`ConsumerGroups`] of one reading. Out: each Consumer's [`Groups`]. Deliberately absent: the groups of the plugin `acl`
//! (`X-Consumer-Groups`), which are texts that a Consumer has and no entities; no configuration is bound to those.

use std::collections::HashMap;
use std::sync::Arc;

/// A group of Consumers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerGroup {
    /// Its id; derived from its name when a declarative file gives none.
    pub id: Arc<str>,
    /// Its name.
    pub name: Option<Arc<str>>,
}

impl ConsumerGroup {
    /// Its name, or its id without one.
    #[must_use]
    pub fn title(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }

    /// By what groups are put in order where several may apply: by name. Kong says that this may change.
    #[must_use]
    pub fn order(&self) -> (&str, &str) {
        (self.title(), &self.id)
    }
}

/// That a Consumer is in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The group's id.
    pub group_id: Arc<str>,
    /// The Consumer's id.
    pub consumer_id: Arc<str>,
}

/// What one reading gave of groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerGroups {
    /// Whether the gateway has such entities at all.
    pub exist: bool,
    /// The groups.
    pub groups: Vec<ConsumerGroup>,
    /// Who is in them.
    pub members: Vec<Membership>,
    /// Whether somebody may be in a group of which `members` does not say so.
    pub is_partial: bool,
}

/// The groups of one Consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// In the order in which they count.
    all: Arc<[Arc<ConsumerGroup>]>,
    is_partial: bool,
}

impl Groups {
    /// In the order in which they count.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ConsumerGroup>> {
        self.all.iter()
    }

    /// Whether this one is among them.
    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        self.all.iter().any(|group| *group.id == *id)
    }

    /// Whether there may be others, because members could not be read.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// Their names; none when not all of them are known.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let known = self.all.iter().filter(|_| !self.is_partial);
        known.map(|group| group.title()).collect()
    }
}

impl FromIterator<Arc<ConsumerGroup>> for Groups {
    /// Puts groups in their order, each once.
    fn from_iter<I: IntoIterator<Item = Arc<ConsumerGroup>>>(groups: I) -> Self {
        let mut all: Vec<_> = groups.into_iter().collect();
        all.sort_by(|one, other| one.order().cmp(&other.order()));
        all.dedup();
        Self {
            all: all.into(),
            is_partial: false,
        }
    }
}

/// Who is in which groups, by Consumer.
#[derive(Debug, Default)]
pub struct Members {
    of: HashMap<Arc<str>, Groups>,
    /// Of everybody else.
    others: Groups,
}

impl Members {
    /// Ties members to groups. A group that is not there (it was removed between two pages) is nobody's.
    #[must_use]
    pub fn of(
        members: Vec<Membership>,
        groups: &HashMap<Arc<str>, Arc<ConsumerGroup>>,
        is_partial: bool,
    ) -> Self {
        let mut lists: HashMap<Arc<str>, Vec<Arc<ConsumerGroup>>> = HashMap::new();
        for member in members {
            if let Some(group) = groups.get(&member.group_id) {
                lists
                    .entry(member.consumer_id)
                    .or_default()
                    .push(Arc::clone(group));
            }
        }
        let of_list = |list: Vec<Arc<ConsumerGroup>>| Groups {
            is_partial,
            ..list.into_iter().collect()
        };
        Self {
            of: lists.into_iter().map(|(id, list)| (id, of_list(list))).collect(),
            others: of_list(Vec::new()),
        }
    }

    /// The groups of a Consumer.
    #[must_use]
    pub fn groups_of(&mut self, consumer_id: &str) -> Groups {
        self.of.remove(consumer_id).unwrap_or_else(|| self.others.clone())
    }
}
