//! Questions about many names, which take several requests.

use std::cell::Cell;
use std::time::SystemTime;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::answer::{Answer, Results};
use super::error::{ChatError, Class};

/// How many questions of one batch are under way at once.
const PARALLEL_QUESTIONS: usize = 8;

/// Asks about names, at most `max` in one question. Each name has a result.
///
/// One name that Chat can't read makes it refuse the whole question. Such a name is found by halves, and the others are
/// asked again without it: that takes at most 2 + log2 of the names in place of one question. Names that would take more
/// share the last error. If Chat refuses several names and answers none, that error is the batch's own.
pub(super) async fn batched<T>(
    names: &[&str],
    max: usize,
    ask: impl AsyncFn(&[&str]) -> Result<Answer<Results<T>>, ChatError>,
) -> Result<Answer<Results<T>>, ChatError> {
    let more_questions = names.chunks(max).map(|part| 1 + log2(part.len())).sum();
    let batch = Batch { ask, more_questions: Cell::new(more_questions) };
    let parts: Vec<_> = names.chunks(max).map(|part| batch.results(part)).collect();
    let parts: Vec<_> = stream::iter(parts).buffered(PARALLEL_QUESTIONS).try_collect().await?;
    let asked_at = parts.iter().filter_map(|part| part.asked_at).min();
    if let (None, [_, _, ..]) = (asked_at, names) {
        let errors = parts.into_iter().flat_map(|part| part.results.into_values());
        return Err(errors.filter_map(Result::err).next_back().unwrap_or(ChatError::NotChat));
    }
    let value = parts.into_iter().flat_map(|part| part.results).collect();
    Ok(Answer { asked_at: asked_at.unwrap_or_else(SystemTime::now), value })
}

/// The logarithm to the base of 2, rounded up.
fn log2(count: usize) -> u32 {
    count.next_power_of_two().trailing_zeros()
}

struct Batch<F> {
    ask: F,
    /// How many questions more than one for each part may be asked after a refusal.
    more_questions: Cell<u32>,
}

/// The results for the names of one part.
struct Part<T> {
    /// When the first question that was answered was asked.
    asked_at: Option<SystemTime>,
    results: Results<T>,
}

impl<T> Part<T> {
    fn take(&mut self, answer: Answer<Results<T>>) {
        self.asked_at.get_or_insert(answer.asked_at);
        self.results.extend(answer.value);
    }

    fn fail(&mut self, names: &[&str], error: &ChatError) {
        let failed = names.iter().filter(|name| !self.results.contains_key(**name));
        let failed: Vec<_> = failed.map(|name| ((*name).to_owned(), Err(error.clone()))).collect();
        self.results.extend(failed);
    }
}

impl<F> Batch<F> {
    async fn results<T>(&self, names: &[&str]) -> Result<Part<T>, ChatError>
    where
        F: AsyncFn(&[&str]) -> Result<Answer<Results<T>>, ChatError>,
    {
        let mut part = Part { asked_at: None, results: Results::new() };
        let mut pending = vec![names.to_vec()];
        while let Some(names) = pending.pop() {
            match ((self.ask)(&names).await, names.as_slice()) {
                (Ok(answer), _) => part.take(answer),
                (Err(error), _) if !is_of_some_name(&error) => return Err(error),
                (Err(error), [_]) => part.fail(&names, &error),
                (Err(error), _) if error.class() == Class::TooLarge => {
                    let (first, second) = names.split_at(names.len() / 2);
                    pending.extend([second.to_vec(), first.to_vec()]);
                }
                (Err(error), _) => match self.find_refused(&names, error, &mut part).await? {
                    (Some(refused), error) => {
                        part.fail(&[refused], &error);
                        let is_open = |name: &&str| !part.results.contains_key(*name);
                        let rest: Vec<_> = names.into_iter().filter(is_open).collect();
                        match self.may_ask() {
                            _ if rest.is_empty() => {}
                            true => pending.push(rest),
                            false => part.fail(&rest, &error),
                        }
                    }
                    (None, error) => part.fail(&names, &error),
                },
            }
        }
        Ok(part)
    }

    /// Finds a name for which Chat refuses the question about all of these; none if that would take too many questions.
    async fn find_refused<'a, T>(
        &self,
        names: &[&'a str],
        mut error: ChatError,
        part: &mut Part<T>,
    ) -> Result<(Option<&'a str>, ChatError), ChatError>
    where
        F: AsyncFn(&[&str]) -> Result<Answer<Results<T>>, ChatError>,
    {
        let mut suspects = names;
        while suspects.len() > 1 {
            if !self.may_ask() {
                return Ok((None, error));
            }
            let (first, second) = suspects.split_at(suspects.len().div_ceil(2));
            suspects = match (self.ask)(first).await {
                Ok(answer) => {
                    part.take(answer);
                    second
                }
                Err(refusal) if is_of_some_name(&refusal) => {
                    error = refusal;
                    first
                }
                Err(other) => return Err(other),
            };
        }
        Ok((suspects.first().copied(), error))
    }

    fn may_ask(&self) -> bool {
        let left = self.more_questions.get();
        self.more_questions.set(left.saturating_sub(1));
        left > 0
    }
}

/// Whether a question about fewer names may be answered.
fn is_of_some_name(error: &ChatError) -> bool {
    matches!(error.class(), Class::TooLarge | Class::Permanent)
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
    async fn a_name_that_is_refused_is_found_by_halves_and_the_rest_is_asked_without_it() {
        let (answered, asked) = ask(&["a", "b", "c", "d", "e"], 4, &["b"]).await;
        assert_eq!(asked, ["abcd", "ab", "a", "cd", "e"]);
        assert_eq!(answered.unwrap(), ["a", "c", "d", "e"]);
        assert!(ask(&[], 4, &[]).await.0.unwrap().is_empty());
        assert!(ask(&["a"], 4, &["a"]).await.0.unwrap().is_empty(), "it alone is refused");
    }

    #[tokio::test]
    async fn one_refused_name_costs_at_most_2_and_log2_of_the_names_in_place_of_one_question() {
        let names: Vec<String> = (0..50).map(|number| format!("{number} ")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for refused in &names {
            let (answered, asked) = ask(&names, 50, &[refused]).await;
            assert_eq!(answered.unwrap().len(), 49, "{refused}");
            assert!(asked.len() <= 2 + 6, "{refused}: {asked:?}");
        }
    }

    #[tokio::test]
    async fn where_all_names_are_refused_the_batch_fails_soon() {
        let names: Vec<String> = (0..100).map(|number| format!("{number} ")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (answered, asked) = ask(&names, 50, &names).await;
        assert_eq!(answered.unwrap_err().class(), Class::Permanent);
        assert!(asked.len() <= 2 * (2 + 6), "{}", asked.len());
        // More are refused than there are questions to find them: the names that were answered stay.
        let (answered, asked) = ask(&names, 50, &names[..20]).await;
        let answered = answered.unwrap().len();
        assert!((50..80).contains(&answered) && asked.len() <= 2 * (2 + 6), "{answered} {asked:?}");
    }
}
