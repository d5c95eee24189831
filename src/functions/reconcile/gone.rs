//! Groups that Chat calls gone: each is asked about twice, and too many are not believed.

use std::collections::BTreeMap;
use std::time::SystemTime;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use super::ReconcileError;
use super::checkpoint::{Checkpoint, is_plausible};
use super::pass::{PARALLEL_GROUPS, Pass, State};
use crate::chat::{ChatError, Class};
use crate::event::{Event, Facts};
use crate::store::Listed;
use crate::time::from_millis;

impl Pass<'_> {
    /// Asks a second time about the groups that Chat called gone, and destroys those that it still does. After a transient
    /// error it asks again.
    pub(super) async fn confirm_gone(&self, state: &mut State) -> Result<(), ReconcileError> {
        let mut errors = BTreeMap::new();
        while !state.checkpoint.gone.is_empty() {
            let result = self.confirm_once(state, &mut errors).await;
            if let Err(error) = &result
                && error.is_out_of_time(self.end)
                && !errors.is_empty()
            {
                for (group_id, error) in &errors {
                    if self.is_second_cut(state, group_id, error) {
                        state.checkpoint.gone.remove(group_id);
                    }
                }
            }
            result?;
        }
        Ok(())
    }

    /// Asks once. The groups that met a transient error stay, with their errors.
    async fn confirm_once(
        &self,
        state: &mut State,
        errors: &mut BTreeMap<String, ChatError>,
    ) -> Result<(), ReconcileError> {
        let since = SystemTime::now().duration_since(from_millis(state.checkpoint.gone_at.as_millis()));
        let wait = self.reconcile.confirm_after.saturating_sub(since.unwrap_or_default());
        if Instant::now() + wait >= self.end {
            return Err(ReconcileError::OutOfTime);
        }
        sleep(wait).await;
        let events = self.still_gone(state, errors).await?;
        let Checkpoint { destroyed, more_gone, groups, .. } = state.checkpoint;
        let gone = destroyed + events.len() as u64 + more_gone;
        if !is_plausible(gone, groups) && !self.request.allow_destroy {
            return Err(ReconcileError::TooManyGone { gone, groups });
        }
        let work = events.into_iter().map(async |event| {
            self.check_time()?;
            let group_id = event.key.group_id.clone();
            Ok::<_, ReconcileError>((group_id, self.write(event, BTreeMap::new()).await?))
        });
        let work: Vec<_> = work.collect();
        let mut work = stream::iter(work).buffer_unordered(PARALLEL_GROUPS);
        while let Some(destroyed) = work.next().await {
            let (group_id, correction) = destroyed?;
            state.checkpoint.gone.remove(&group_id);
            state.checkpoint.destroyed += 1;
            if let Some(correction) = correction {
                self.note_corrected(state, &correction);
            }
        }
        state.checkpoint.gone.retain(|group_id, _| errors.contains_key(group_id));
        state.checkpoint.gone_at = SystemTime::now().into();
        Ok(())
    }

    /// The destruction of those groups that the table still shows and Chat calls gone again, as of the first time.
    async fn still_gone(
        &self,
        state: &mut State,
        errors: &mut BTreeMap<String, ChatError>,
    ) -> Result<Vec<Event>, ReconcileError> {
        let gone = state.checkpoint.gone.clone();
        let gone_at = |group: &Listed| gone.get(&group.key.group_id).copied();
        let mut groups = self.look_up(gone.keys().map(String::as_str)).await?;
        // A callback may have told of it meanwhile, or of a new life.
        groups.retain(|group| group.is_there() && group.facts.event_time() <= gone_at(group));
        let ids: Vec<&str> = groups.iter().map(|group| group.key.group_id.as_str()).collect();
        let mut infos = self.chat.group_infos(&ids, None).await?.value;
        errors.clear();
        let mut events = Vec::new();
        for group in groups {
            match infos.remove(&group.key.group_id) {
                Some(Err(error)) if error.class() == Class::NotFound => {
                    events.extend(gone_at(&group).map(|time| {
                        let facts = Facts::destroyed(time);
                        Event { key: group.key, group: facts, members: BTreeMap::new() }
                    }));
                }
                Some(Err(error)) if error.is_transient() => {
                    errors.insert(group.key.group_id, error);
                }
                Some(Err(error)) => self.note_skipped(state, &group.key.group_id, &error),
                Some(Ok(_)) | None => {}
            }
        }
        Ok(events)
    }
}
