//! Whether several messages may travel in one POST.
//!
//! In: how an endpoint answers. Out: how many messages the next POST may hold.

use crate::ship::ShipLimits;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerForm {
    /// The documented list: an entry of `data` for each message.
    List,
    /// Something else, or nothing.
    Other,
}

/// What is known of a destination.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    answers_in_lists: bool,
}

impl Batch {
    /// The most messages of the next POST.
    pub(crate) const fn most(&self, limits: &ShipLimits) -> usize {
        if self.answers_in_lists { limits.batch } else { 1 }
    }

    /// Learns from an answer.
    pub(crate) const fn note(&mut self, form: AnswerForm) {
        self.answers_in_lists = matches!(form, AnswerForm::List);
    }
}
