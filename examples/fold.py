"""What the events of docs/events.md say together: groups and members as readers of the table see them.

Events may come in any order, repeated, and some may be missing as long as the last one of each item came.
"""

from collections import defaultdict

FIELDS = ["type", "name", "introduction", "notification", "face_url", "owner_account", "role", "name_card"]

# A fact is (time, rank, value). At the same time, absent comes before left out, and that before text.
ABSENT, OMITTED, TEXT = 0, 1, 2


class Item:
    def __init__(self):
        self.began = self.ended = -1
        self.facts = {}

    def is_there(self):
        return self.began >= 0 and self.ended < self.began

    def view(self):
        """Facts of an earlier life count no more. Of those in `omitted`, the table has the values."""
        current = {name: fact for name, fact in self.facts.items() if fact[0] >= self.began}
        view = {
            "event_time": self.began,
            "fields": {name: value for name, (_, rank, value) in current.items() if rank == TEXT},
        }
        omitted = sorted(name for name, (_, rank, _) in current.items() if rank == OMITTED)
        return view | ({"omitted": omitted} if omitted else {})


class Roster:
    def __init__(self):
        # By application and group: items by account, the group itself by "".
        self.groups = defaultdict(lambda: defaultdict(Item))

    def apply(self, event):
        data = event["data"]
        after, times = data["after"], data["after"].get("changed_at", {})
        item = self.groups[data["sdk_app_id"], data["group_id"]][data.get("account", "")]
        item.began = max(item.began, after.get("event_time", -1))
        item.ended = max(item.ended, after.get("destroyed_at", after.get("left_at", -1)))
        said = {name: (ABSENT, "") for name in times}
        said |= {name: (TEXT, after[name]) for name in FIELDS if name in after}
        said |= {f"user_defined.{key}": (TEXT, value) for key, value in after.get("user_defined", {}).items()}
        said |= {name: (OMITTED, "") for name in data.get("omitted", [])}
        for name, (rank, value) in said.items():
            fact = (times.get(name, after.get("event_time", 0)), rank, value)
            item.facts[name] = max(item.facts.get(name, fact), fact)

    def group(self, sdk_app_id, group_id):
        """A group with its members; None if it is not there."""
        items = self.groups.get((sdk_app_id, group_id), {})
        group = items.get("", Item())
        if not group.is_there():
            return None
        members = {account: item for account, item in items.items() if account and item.is_there()}
        members = {account: item.view() for account, item in members.items() if item.began >= group.began}
        return group.view() | {"members": members}
