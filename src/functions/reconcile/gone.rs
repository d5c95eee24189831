//! Groups that Chat calls gone: each is asked about twice, and too many are not believed.

use std::collections::BTreeMap;
use std::time::SystemTime;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use super::ReconcileError;
use super::checkpoint::is_plausible;
use super::pass::{PARALLEL_GROUPS, PIECE, Pass, State};
use crate::chat::Class;
use crate::event::{Event, Facts};
use crate::time::EventTime;

impl Pass<'_> {
    /// Asks a second time about the groups that Chat called gone, and destroys those that it still does.
    pub(super) async fn confirm_gone(&self, state: &mut State) -> Result<(), ReconcileError> {
        if state.checkpoint.gone.is_empty() {
            return Ok(());
        }
        let since = SystemTime::now().duration_since(state.checkpoint.gone_at).unwrap_or_default();
        let wait = self.reconcile.confirm_after.saturating_sub(since);
        if Instant::now() + wait >= self.end {
            return Err(ReconcileError::OutOfTime);
        }
        sleep(wait).await;
        let gone: Vec<(String, EventTime)> = state.checkpoint.gone.clone().into_iter().collect();
        let mut events = Vec::new();
        for gone in gone.chunks(PIECE) {
            events.extend(self.still_gone(state, gone).await?);
        }
        let checkpoint = &state.checkpoint;
        let (gone, groups) =
            (checkpoint.destroyed + events.len() as u64 + checkpoint.more_gone, checkpoint.groups);
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
        state.checkpoint.gone.clear();
        Ok(())
    }

    /// The destruction of those groups that the table still shows and Chat calls gone again, as of the first time.
    async fn still_gone(
        &self,
        state: &mut State,
        gone: &[(String, EventTime)],
    ) -> Result<Vec<Event>, ReconcileError> {
        let gone: BTreeMap<&str, EventTime> = gone.iter().map(|(id, as_of)| (id.as_str(), *as_of)).collect();
        let mut groups = self.look_up(gone.keys().copied()).await?;
        // A callback may have told of it meanwhile, or of a new life.
        groups.retain(|group| {
            let gone_at = gone.get(group.key.group_id.as_str()).copied();
            group.is_there() && group.facts.event_time() <= gone_at
        });
        let ids: Vec<&str> = groups.iter().map(|group| group.key.group_id.as_str()).collect();
        let mut infos = self.chat.group_infos(&ids, None).await?.value;
        let mut events = Vec::new();
        for group in groups {
            match infos.remove(&group.key.group_id) {
                Some(Err(error)) if error.class() == Class::NotFound => {
                    let gone_at = gone.get(group.key.group_id.as_str()).copied();
                    let facts = gone_at.map(Facts::destroyed).unwrap_or_default();
                    events.push(Event { key: group.key, group: facts, members: BTreeMap::new() });
                }
                Some(Err(error)) => self.note_skipped(state, &group.key.group_id, &error),
                Some(Ok(_)) | None => {}
            }
        }
        Ok(events)
    }
}
