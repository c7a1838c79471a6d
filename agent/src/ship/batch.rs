//! Whether several messages may travel in one POST.
//!
//! In: how an endpoint answers. Out: how many messages the next POST may hold. No clock.

use std::time::{Duration, Instant};

use crate::ship::ShipLimits;

/// How long lists, or long ones, are not tried again after one was refused.
const CAREFUL_FOR: Duration = Duration::from_mins(10);

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerForm {
    /// The documented list: an entry of `data` for each message.
    List,
    /// Something else, or nothing.
    Other,
    /// The endpoint does not take lists.
    ListRefused,
    /// It took a list, and did not say what became of each message.
    ListUnclear,
    /// A list of so many messages was too large.
    ListTooLarge {
        /// The messages of that list.
        messages: usize,
    },
    /// No answer, or an error that says nothing of the form.
    Unknown,
}

/// What is known of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    answers_in_lists: bool,
    careful: Option<Careful>,
}

#[derive(Clone, Copy, Debug)]
struct Careful {
    most: usize,
    until: Instant,
}

impl Batch {
    /// The most messages of the next POST.
    pub(crate) fn most(&self, limits: &ShipLimits, now: Instant) -> usize {
        if !self.answers_in_lists {
            return 1;
        }
        match self.careful {
            Some(careful) if now < careful.until => limits.batch.min(careful.most),
            Some(_) | None => limits.batch,
        }
    }

    /// Learns from an answer.
    pub(crate) fn note(&mut self, form: AnswerForm, now: Instant) {
        let most = match form {
            AnswerForm::List => {
                self.answers_in_lists = true;
                return;
            }
            AnswerForm::Other => {
                self.answers_in_lists = false;
                return;
            }
            AnswerForm::Unknown => return,
            AnswerForm::ListRefused | AnswerForm::ListUnclear => 1,
            AnswerForm::ListTooLarge { messages } => (messages / 2).max(1),
        };
        let until = now + CAREFUL_FOR;
        let earlier = self.careful.filter(|careful| now < careful.until);
        let most = earlier.map_or(most, |earlier| earlier.most.min(most));
        self.careful = Some(Careful { most, until });
    }

    /// Whether anything would be forgotten with it that cost a message's time to learn.
    pub(crate) fn is_worth_keeping(&self, now: Instant) -> bool {
        self.careful.is_some_and(|careful| now < careful.until)
    }
}

#[cfg(test)]
mod tests {
    use super::{AnswerForm, Batch, CAREFUL_FOR};
    use crate::clock;
    use crate::ship::ShipLimits;

    #[test]
    fn lists_follow_answers_in_list_form_and_shrink_where_they_are_refused() {
        let limits = ShipLimits {
            batch: 100,
            ..ShipLimits::default()
        };
        let now = clock::instant();
        let mut batch = Batch::default();
        let mut check = |form: AnswerForm, most: usize| {
            batch.note(form, now);
            assert_eq!(batch.most(&limits, now), most, "{form:?}");
            let later = batch.most(&limits, now + CAREFUL_FOR);
            assert!(later == 1 || later == 100, "{form:?}: {later}");
        };
        check(AnswerForm::Unknown, 1);
        check(AnswerForm::Other, 1);
        check(AnswerForm::List, 100);
        check(AnswerForm::Unknown, 100);
        check(AnswerForm::ListTooLarge { messages: 80 }, 40);
        check(AnswerForm::List, 40);
        check(AnswerForm::ListTooLarge { messages: 90 }, 40);
        check(AnswerForm::ListTooLarge { messages: 3 }, 1);
        check(AnswerForm::ListRefused, 1);
        check(AnswerForm::ListUnclear, 1);
        check(AnswerForm::List, 1);
        check(AnswerForm::Other, 1);
        assert!(batch.is_worth_keeping(now) && !batch.is_worth_keeping(now + CAREFUL_FOR));
    }
}
