"""Reads the table of docs/table.md, by its three rules: is_there, is_member, is_owner.

    reader = Reader(boto3.resource("dynamodb").Table(name), sdk_app_id)
"""

from boto3.dynamodb.conditions import Key

BATCH_MAX_KEYS = 100


def is_there(group):
    return "event_time" in group and "destroyed_at" not in group


def is_member(item, group):
    return "left_at" not in item and item.get("event_time", -1) >= group["event_time"]


def is_owner(account, group):
    return group.get("owner_account") == account


class Reader:
    def __init__(self, table, sdk_app_id):
        self.table, self.sdk_app_id = table, sdk_app_id

    def group(self, group_id):
        """A group's item and those of its members by account; None if the group is not there."""
        key = Key("pk").eq(f"{self.sdk_app_id}#{group_id}")
        # The group item comes first, and after it all members that it had then.
        items = list(self._query(KeyConditionExpression=key, ConsistentRead=True))
        if not items or items[0]["sk"] != "GROUP" or not is_there(items[0]):
            return None
        group = items[0]
        return group, {item["account"]: item for item in items[1:] if is_member(item, group)}

    def groups_of(self, account):
        """The items of the groups that an account owns or is a member of."""
        key = Key("account_key").eq(f"{self.sdk_app_id}#{account}")
        entries = list(self._query(IndexName="by_account", KeyConditionExpression=key))
        memberships = {entry["pk"]: entry for entry in entries if entry["sk"] != "GROUP"}
        groups = self._groups(sorted({entry["pk"] for entry in entries}))
        there = [(group, memberships.get(group["pk"], {})) for group in groups if is_there(group)]
        return [group for group, entry in there if is_owner(account, group) or is_member(entry, group)]

    def _groups(self, pks):
        name = self.table.name
        for start in range(0, len(pks), BATCH_MAX_KEYS):
            pending = {name: {"Keys": [{"pk": pk, "sk": "GROUP"} for pk in pks[start : start + BATCH_MAX_KEYS]]}}
            while pending:
                answer = self.table.meta.client.batch_get_item(RequestItems=pending)
                yield from answer["Responses"].get(name, [])
                pending = answer.get("UnprocessedKeys")

    def _query(self, **request):
        while request:
            page = self.table.query(**request)
            yield from page["Items"]
            last = page.get("LastEvaluatedKey")
            request = last and request | {"ExclusiveStartKey": last}
