//! Groups that Chat calls gone: each is asked about twice, and too many are not believed.

use std::collections::BTreeMap;
use std::time::SystemTime;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use super::ReconcileError;
use super::pass::{CHUNK, LEFTOVERS, PARALLEL_GROUPS, Pass};
use crate::chat::Class;
use crate::event::{Event, Facts};
use crate::store::Listed;
use crate::time::{EventTime, from_millis};

/// A pass that destroys more groups than this, and more than a tenth, is not believed.
const GONE_MAX: u64 = 20;
const GONE_SHARE: u64 = 10;

impl Pass<'_> {
    /// Asks a second time about the groups that Chat called gone, and destroys those that it still does.
    pub(super) async fn confirm(&self) -> Result<(), ReconcileError> {
        let place = self.place();
        if place.gone.is_empty() {
            return Ok(());
        }
        let since = SystemTime::now().duration_since(from_millis(place.gone_at)).unwrap_or_default();
        let wait = self.reconcile.pace.confirm_after.saturating_sub(since);
        if Instant::now() + wait >= self.time.stop_at {
            return Err(ReconcileError::OutOfTime);
        }
        sleep(wait).await;
        let gone = self.still_gone(&place.gone).await?;
        let (count, groups) = (place.destroyed + gone.len() as u64 + place.more_gone, place.groups);
        if count > GONE_MAX && count * GONE_SHARE > groups && !self.request.allow_destroy {
            return Err(ReconcileError::TooManyGone { gone: count, groups });
        }
        let work: Vec<_> = gone.into_iter().map(|event| self.destroy(event)).collect();
        self.drain(stream::iter(work).buffer_unordered(PARALLEL_GROUPS), |()| {}).await?;
        self.with(|state| state.place.gone.clear());
        Ok(())
    }

    /// Those groups that the table still shows and Chat calls gone again: their destruction, as of the first time.
    async fn still_gone(&self, gone: &BTreeMap<String, u64>) -> Result<Vec<Event>, ReconcileError> {
        let gone_at = |group_id: &str| gone.get(group_id).copied().map(EventTime::from_millis);
        let ids: Vec<&str> = gone.keys().map(String::as_str).collect();
        let mut events = Vec::new();
        for ids in ids.chunks(CHUNK) {
            let mut groups = self.look_up(ids.iter().copied()).await?;
            // A callback may have told of it meanwhile, or of a new life.
            groups
                .retain(|group| group.is_there() && group.facts.event_time() <= gone_at(&group.key.group_id));
            let ids: Vec<&str> = groups.iter().map(Listed::group_id).collect();
            let mut infos = self.reconcile.chat.group_infos(&ids, None, self.time.end).await?.value;
            for Listed { key, .. } in groups {
                match infos.remove(&key.group_id) {
                    Some(Err(error)) if error.class() == Class::Gone => {
                        let group = gone_at(&key.group_id).map(Facts::destroyed).unwrap_or_default();
                        events.push(Event { key, group, members: BTreeMap::new() });
                    }
                    Some(Err(error)) => self.skip(&key.group_id, &error),
                    Some(Ok(_)) | None => {}
                }
            }
        }
        Ok(events)
    }

    async fn destroy(&self, event: Event) -> Result<(), ReconcileError> {
        let _room = self.room(LEFTOVERS).await;
        self.begin()?;
        let group_id = event.key.group_id.clone();
        let known = self.reconcile.store.read_partition(&event.key, self.deadline(LEFTOVERS)).await?;
        self.write(event, &known).await?;
        self.with(|state| {
            state.place.gone.remove(&group_id);
            state.place.destroyed += 1;
        });
        Ok(())
    }
}
