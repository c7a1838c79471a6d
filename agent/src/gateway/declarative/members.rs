//! Who is in which consumer group, as files have it.
//!
//! In: a consumer with `groups` and a group with `consumers` (decK), `consumer_group_consumers` (Kong's own format). Out:
//! [`MemberForm`]s, to be resolved once all entities are known. Deliberately absent: `acls`, whose groups are no entities.

use std::sync::Arc;

use super::Origin;
use crate::gateway::entities::Reference;
use crate::gateway::fields::{Fields, Report};

/// A consumer in a group, as they are named.
#[derive(Debug)]
pub(super) struct MemberForm {
    pub(super) group: Reference,
    pub(super) consumer: Reference,
    /// Whether each is named in a field of its own, below the form's place; else the one that is named stands there.
    is_apart: bool,
}

impl MemberForm {
    /// Where the name is that `field` would have.
    pub(super) fn place_of(&self, path: &str, field: &str) -> String {
        if self.is_apart {
            format!("{path}.{field}")
        } else {
            path.to_owned()
        }
    }
}

/// All of one reading, each with the place that a mistake would name.
#[derive(Default)]
pub(super) struct MemberForms(Vec<(MemberForm, Origin)>);

impl MemberForms {
    /// `groups` of a consumer.
    pub(super) fn of_consumer(
        &mut self,
        fields: &Fields<'_>,
        id: &Arc<str>,
        workspace: Option<&Arc<str>>,
        report: &mut Report,
    ) {
        for (group, path) in fields.references("groups", report) {
            let consumer = Reference::Id(id.to_string());
            self.push(
                MemberForm {
                    group,
                    consumer,
                    is_apart: false,
                },
                path,
                workspace,
                report,
            );
        }
    }

    /// `consumers` of a group.
    pub(super) fn of_group(
        &mut self,
        fields: &Fields<'_>,
        id: &Arc<str>,
        workspace: Option<&Arc<str>>,
        report: &mut Report,
    ) {
        for (consumer, path) in fields.references("consumers", report) {
            let group = Reference::Id(id.to_string());
            self.push(
                MemberForm {
                    group,
                    consumer,
                    is_apart: false,
                },
                path,
                workspace,
                report,
            );
        }
    }

    /// `consumer_group_consumers` of a file.
    pub(super) fn apart(&mut self, root: &Fields<'_>, workspace: Option<&Arc<str>>, report: &mut Report) {
        for fields in root.objects("consumer_group_consumers", report) {
            let mut required = |name: &str| {
                if fields.get(name).is_none() {
                    report.wrong(&fields.path_of(name), "is required");
                }
                fields.reference(name, report)
            };
            if let (Some(group), Some(consumer)) = (required("consumer_group"), required("consumer")) {
                let path = fields.path.clone();
                self.push(
                    MemberForm {
                        group,
                        consumer,
                        is_apart: true,
                    },
                    path,
                    workspace,
                    report,
                );
            }
        }
    }

    fn push(&mut self, form: MemberForm, path: String, workspace: Option<&Arc<str>>, report: &Report) {
        let origin = Origin {
            file: Arc::clone(report.origin()),
            path,
            workspace: workspace.cloned(),
        };
        self.0.push((form, origin));
    }

    pub(super) fn finish(self) -> Vec<(MemberForm, Origin)> {
        self.0
    }
}
