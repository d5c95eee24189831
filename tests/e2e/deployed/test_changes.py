"""Who changed what, and when: from the stream through publish to the queue of a rule on the bus, and to the history."""

import json
import unittest

from .shared import afresh
from .stack import SDK_APP_ID, wait_until
from .test_rights import life

SECONDS = 20
TYPES = {"group.created", "group.updated", "group.destroyed", "member.joined", "member.left"}


class Changes(unittest.TestCase):
    def setUp(self):
        parts = afresh()
        self.stack, self.queue = parts.stack, parts.changes

    def test_a_groups_life_is_told_on_the_bus_and_kept_in_the_history(self):
        for command, body in life("told"):
            self.assertEqual(self.stack.post(command, body), (200, 0))
        events = []

        def is_told():
            events.extend(self.stack.received(self.queue))
            return "group.destroyed" in {event["detail-type"] for event in events}

        wait_until(is_told, SECONDS, "the last event")
        self.assertEqual({event["source"] for event in events}, {"chat-groups"})
        details = [event["detail"] for event in events]
        self.assertEqual({detail["type"] for detail in details}, TYPES)
        self.assertEqual({detail["subject"] for detail in details}, {"told"})
        kept = self.stack.history("told")
        self.assertEqual({detail["id"] for detail in details}, {item["event_id"]["S"] for item in kept})
        self.assertEqual([item["sk"]["S"] for item in kept], sorted(item["sk"]["S"] for item in kept))
        # By whom: the one who renamed the group.
        renamed = [item for item in kept if item["type"]["S"] == "group.updated"]
        self.assertEqual({item["by"]["S"] for item in renamed}, {"ana"})

    def test_an_account_is_forgotten_in_table_and_history(self):
        command = "Group.CallbackAfterCreateGroup"
        body = {"CallbackCommand": command, "GroupId": "told", "Type": "Public", "Operator_Account": "wanda"}
        members = {"Owner_Account": "wanda", "MemberList": [{"Member_Account": "wanda"}, {"Member_Account": "ben"}]}
        self.assertEqual(self.stack.post(command, body | members), (200, 0))
        wait_until(lambda: self.named("wanda")[1], SECONDS, "the account in the history")
        self.assertIn("a dry run", self.forget("wanda"))
        self.assertTrue(all(self.named("wanda")))

        def is_forgotten():
            # A run makes a change itself, whose event names the account.
            return "nothing names the account" in self.forget("wanda", "--apply")

        wait_until(is_forgotten, SECONDS, "nothing that names the account")
        self.assertEqual(self.named("wanda"), ([], []))
        self.assertEqual(set(self.stack.items("told")), {"GROUP", "MEMBER#ben"})

    def forget(self, *arguments):
        return self.stack.program("forget", *arguments, SDK_APP_ID=SDK_APP_ID, **self.stack.outputs)

    def named(self, account):
        """The items of table and history that name an account."""
        items = self.stack.items("told").values(), self.stack.history("told")
        return tuple([item for item in found if account in json.dumps(item)] for found in items)
