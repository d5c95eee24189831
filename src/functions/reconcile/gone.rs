//! Groups that Chat calls gone: each is asked about twice, and too many are not believed.

use std::collections::BTreeMap;
use std::time::SystemTime;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use super::ReconcileError;
use super::checkpoint::{Checkpoint, is_plausible};
use super::pass::Pass;
use super::piece::PARALLEL_GROUPS;
use crate::event::{Event, Facts};
use crate::store::Listed;
use crate::time::from_millis;

impl Pass<'_> {
    /// Asks a second time about the groups that Chat called gone, and destroys those that it still does.
    pub(super) async fn confirm_gone(&mut self) -> Result<(), ReconcileError> {
        let comparer = self.comparer;
        let since = SystemTime::now().duration_since(from_millis(self.checkpoint.gone_at.as_millis()));
        let wait = comparer.reconcile.confirm_after.saturating_sub(since.unwrap_or_default());
        if self.checkpoint.gone.is_empty() {
            return Ok(());
        }
        if Instant::now() + wait >= comparer.end {
            return Err(ReconcileError::OutOfTime);
        }
        sleep(wait).await;
        let events = self.still_gone().await?;
        let Checkpoint { destroyed, more_gone, groups, .. } = self.checkpoint;
        let gone = destroyed + events.len() as u64 + more_gone;
        if !is_plausible(gone, groups) && !comparer.request.allow_destroy {
            return Err(ReconcileError::TooManyGone { gone, groups });
        }
        let work = events.into_iter().map(async |event| {
            comparer.check_time()?;
            let id = event.key.group_id.clone();
            Ok::<_, ReconcileError>((id, comparer.write(event, BTreeMap::new()).await?))
        });
        let work: Vec<_> = work.collect();
        let mut work = stream::iter(work).buffer_unordered(PARALLEL_GROUPS);
        while let Some(destroyed) = work.next().await {
            let (id, correction) = destroyed?;
            self.checkpoint.gone.remove(&id);
            self.checkpoint.destroyed += 1;
            correction.iter().for_each(|correction| self.note_corrected(correction));
        }
        self.checkpoint.gone.clear();
        Ok(())
    }

    /// The destruction of those groups that the table still shows and Chat calls gone again, as of the first time.
    async fn still_gone(&mut self) -> Result<Vec<Event>, ReconcileError> {
        let gone = self.checkpoint.gone.clone();
        let mut groups = self.look_up(gone.keys().map(String::as_str)).await?;
        // A callback may have told of it meanwhile, or of a new life.
        groups.retain(|Listed { key, facts, .. }| facts.event_time() <= gone.get(&key.group_id).copied());
        groups.retain(Listed::is_there);
        let still_gone = self.compare_piece(groups).await?.into_iter();
        let destroyed = still_gone.filter_map(|(Listed { key, .. }, _)| {
            let group = Facts::destroyed(*gone.get(&key.group_id)?);
            Some(Event { key, group, members: BTreeMap::new() })
        });
        Ok(destroyed.collect())
    }
}
