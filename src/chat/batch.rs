//! Questions about many names, which take several requests.

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::SystemTime;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::answer::{Answer, Results};
use super::error::{ChatError, Class};

/// How many questions of one batch are under way at once.
const PARALLEL_QUESTIONS: usize = 8;

/// Asks about names, at most `max` in one question. Each name has a result.
///
/// One name that Chat can't read makes it refuse the whole question. If it is the only one, it is found with at most
/// 2 + log2 of the names in place of one question. If there are more, whatever is refused is asked again in halves: each of
/// them costs at most twice the logarithm, and all together never more than twice the names. If the first 2 + log2 questions
/// are all refused, Chat refuses every name, and that error is the batch's own. (Up to four of fifty are always told from
/// that. Of more the order decides, which is another one each time.)
pub(super) async fn batched<T>(
    names: &[&str],
    max: usize,
    ask: impl AsyncFn(&[&str]) -> Result<Answer<Results<T>>, ChatError>,
) -> Result<Answer<Results<T>>, ChatError> {
    let asked_at = Cell::new(None);
    let part = |count| Part {
        ask: &ask,
        asked_at: &asked_at,
        refusals_left: 2 + log2(count),
        results: Results::new(),
    };
    let parts: Vec<_> = names.chunks(max).map(|names| part(names.len()).answer(names.to_vec())).collect();
    let results: Vec<_> = stream::iter(parts).buffered(PARALLEL_QUESTIONS).try_collect().await?;
    let value = results.into_iter().flatten().collect();
    Ok(Answer { asked_at: asked_at.get().unwrap_or_else(SystemTime::now), value })
}

/// The logarithm to the base of 2, rounded up.
fn log2(count: usize) -> usize {
    count.next_power_of_two().ilog2() as usize
}

/// The names of one question.
struct Part<'a, T, F> {
    ask: &'a F,
    /// When the first question of the batch that was answered was asked.
    asked_at: &'a Cell<Option<SystemTime>>,
    /// How many refusals are taken for those of single names, as long as nothing in the batch was answered.
    refusals_left: usize,
    results: Results<T>,
}

impl<T, F: AsyncFn(&[&str]) -> Result<Answer<Results<T>>, ChatError>> Part<'_, T, F> {
    async fn answer(mut self, names: Vec<&str>) -> Result<Results<T>, ChatError> {
        let mut pending = VecDeque::from([names]);
        let mut is_first_refusal = true;
        while let Some(names) = pending.pop_front() {
            let Some(error) = self.question(&names).await? else { continue };
            if let [name] = *names {
                self.results.insert(name.to_owned(), Err(error));
            } else if is_first_refusal && error.class() == Class::Permanent {
                is_first_refusal = false;
                let rest = self.find_refused(names, error).await?;
                // Nothing but an answer about some of them tells that Chat does not refuse them all.
                let parts = if self.asked_at.get().is_some() { 1 } else { self.refusals_left };
                pending.extend(rest.chunks(rest.len().div_ceil(parts).max(1)).map(<[_]>::to_vec));
            } else {
                let (first, second) = names.split_at(names.len() / 2);
                pending.extend([first.to_vec(), second.to_vec()]);
            }
        }
        Ok(self.results)
    }

    /// Finds a name for which Chat refuses the question about all of these. Returns those of the others that were in no
    /// question which was answered.
    async fn find_refused<'n>(
        &mut self,
        mut names: Vec<&'n str>,
        mut error: ChatError,
    ) -> Result<Vec<&'n str>, ChatError> {
        fastrand::shuffle(&mut names);
        let mut rest = Vec::new();
        while names.len() > 1 {
            // As many names as the questions that are left can search, once there is an answer; else fewer than half, so
            // that some questions are left for the rest.
            let others = names.split_off(names.len() - names.len().next_power_of_two() / 2);
            match self.question(&names).await? {
                None => names = others,
                Some(refusal) => {
                    error = refusal;
                    rest.extend(others);
                }
            }
        }
        self.results.extend(names.into_iter().map(|name| (name.to_owned(), Err(error.clone()))));
        Ok(rest)
    }

    /// Asks about these names, and takes the answer. Returns the error that concerns some of them alone.
    async fn question(&mut self, names: &[&str]) -> Result<Option<ChatError>, ChatError> {
        match (self.ask)(names).await {
            Ok(answer) => {
                let asked_at = self.asked_at.get().unwrap_or(answer.asked_at);
                self.asked_at.set(Some(asked_at.min(answer.asked_at)));
                self.results.extend(answer.value);
                Ok(None)
            }
            Err(error) if error.class() == Class::TooLarge => Ok(Some(error)),
            Err(error) if error.class() == Class::Permanent => {
                self.refusals_left = self.refusals_left.saturating_sub(1);
                let is_of_all = self.refusals_left == 0 && self.asked_at.get().is_none();
                if is_of_all { Err(error) } else { Ok(Some(error)) }
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::chat::Command;

    /// Asks about names of which some are refused. The names that were answered, and the questions.
    async fn ask(
        names: &[&str],
        max: usize,
        refused: &[&str],
    ) -> (Result<Vec<String>, ChatError>, Vec<String>) {
        let asked = RefCell::new(Vec::new());
        let ask = async |part: &[&str]| {
            asked.borrow_mut().push(part.concat());
            if part.iter().any(|name| refused.contains(name)) {
                return Err(ChatError::refused(Command::Role, 10004, ""));
            }
            let value = part.iter().map(|name| ((*name).to_owned(), Ok(()))).collect();
            Ok(Answer { asked_at: SystemTime::now(), value })
        };
        let results = batched(names, max, ask).await.map(|answer| {
            assert_eq!(answer.value.len(), names.len(), "each name has a result");
            answer.value.into_iter().filter(|(_, result)| result.is_ok()).map(|(name, _)| name).collect()
        });
        (results, asked.into_inner())
    }

    #[tokio::test]
    async fn a_name_that_is_refused_is_found_and_the_rest_is_asked_without_it() {
        for refused in ["a", "b", "c", "d"] {
            let (answered, asked) = ask(&["a", "b", "c", "d", "e"], 4, &[refused]).await;
            assert_eq!(answered.unwrap().len(), 4);
            assert!(asked.len() <= 2 + 2 + 1, "{asked:?}");
        }
        assert!(ask(&[], 4, &[]).await.0.unwrap().is_empty());
        assert!(ask(&["a"], 4, &["a"]).await.0.unwrap().is_empty(), "it alone is refused");
    }

    /// Names for one question of fifty, or for two.
    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("{number} ")).collect()
    }

    #[tokio::test]
    async fn one_refused_name_costs_at_most_2_and_log2_of_the_names_in_place_of_one_question() {
        for count in 1..=50 {
            let names = names(count);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            for refused in &names {
                let (answered, asked) = ask(&names, 50, &[refused]).await;
                assert_eq!(answered.unwrap().len(), count - 1, "{refused}");
                assert!(asked.len() <= 2 + log2(count), "{refused}: {asked:?}");
            }
        }
    }

    #[tokio::test]
    async fn of_fifty_names_all_good_ones_are_answered_though_several_are_refused() {
        fastrand::seed(1);
        let names = names(50);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for (refused, most) in [(2, 20), (3, 32), (4, 44), (5, 56), (25, 100)] {
            let mut unclear = 0;
            for _ in 0..300 {
                let refused: Vec<&str> = fastrand::choose_multiple(names.iter().copied(), refused);
                let (answered, asked) = ask(&names, 50, &refused).await;
                assert!(asked.len() <= most, "{} for {refused:?}", asked.len());
                match answered {
                    Ok(answered) => assert_eq!(answered.len(), 50 - refused.len()),
                    Err(_) => unclear += 1,
                }
            }
            let limit = match refused {
                ..=4 => 0,
                5 => 9,
                _ => 300,
            };
            assert!(unclear <= limit, "{unclear} of 300 times, {refused} were taken for all");
        }
    }

    #[tokio::test]
    async fn where_all_names_are_refused_the_batch_fails_soon() {
        for count in [2, 3, 20, 50] {
            let names = names(count);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let (answered, asked) = ask(&names, 50, &names).await;
            assert_eq!(answered.unwrap_err().class(), Class::Permanent);
            assert!(asked.len() <= 2 + log2(count), "{}", asked.len());
        }
        let names = names(100);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (answered, asked) = ask(&names, 50, &names).await;
        assert!(answered.is_err() && asked.len() <= 2 * (2 + 6), "{}", asked.len());
        // An answer about others tells that not all are refused.
        let (answered, asked) = ask(&names, 50, &names[50..]).await;
        assert_eq!(answered.unwrap().len(), 50);
        assert!(asked.len() <= 2 * 50 + 8, "{}", asked.len());
    }
}
