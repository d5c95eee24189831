"""Reconcile against a stand-in for Chat's REST API: from a laptop, and on its schedule."""

import time
import unittest

from .shared import afresh
from .stack import SDK_APP_ID, SECRET_KEY, authority, wait_until
from .test_life import created

# The shortest period that a rule can have, and time for the call.
SCHEDULE = "rate(1 minute)"
SCHEDULE_SECONDS = 75
# Reconcile does not touch what is newer than its question.
EARLIER_MILLIS = 60_000


class Reconcile(unittest.TestCase):
    def setUp(self):
        parts = afresh()
        self.stack, self.chat = parts.stack, parts.chat
        self.chat.groups = {"never-announced": {"ana": "Owner", "ben": "Admin"}}

    def from_a_laptop(self, **settings):
        chat = {
            "SDK_APP_ID": SDK_APP_ID,
            "CHAT_API_URL": self.chat.url,
            "CHAT_ADMIN_ACCOUNT": "administrator",
            "CHAT_SECRET_KEY_ID": "chat-groups/secret-key",
            "AWS_CA_BUNDLE": str(authority().file),
        }
        said = self.stack.done("reconcile", **self.stack.outputs | chat | settings)
        self.assertNotIn(SECRET_KEY, said)
        return said

    def test_from_a_laptop_it_says_first_what_it_would_do_and_then_does_it(self):
        found = "added      never-announced: name, owner_account, type +ana +ben"
        said = self.from_a_laptop()
        for line in (found, "a dry run; APPLY=1 writes what differs", "differ: 1 added, 0 changed, 0 destroyed"):
            self.assertIn(line, said)
        self.assertEqual(self.stack.items("never-announced"), {})
        said = self.from_a_laptop(APPLY="1")
        for line in (found, "corrected: 1 added, 0 changed, 0 destroyed", "corrected: 2 added, 0 removed, 0 changed"):
            self.assertIn(line, said)
        self.assertEqual(set(self.stack.items("never-announced")), {"GROUP", "MEMBER#ana", "MEMBER#ben"})
        said = self.from_a_laptop(APPLY="1", MEMBERS="all")
        self.assertIn("1 listed, 1 compared, 0 skipped; corrected: 0 added, 0 changed, 0 destroyed", said)

    def test_its_schedule_calls_it(self):
        target = self.stack.outputs["RECONCILE_FUNCTION"]
        [rule] = self.stack.events.list_rule_names_by_target(TargetArn=target)["RuleNames"]
        before = self.stack.events.describe_rule(Name=rule)
        self.assertEqual(before["State"], "ENABLED")
        began = time.time() * 1000
        self.assertEqual(created(self.stack, "gone", began - EARLIER_MILLIS), (200, 0))
        self.stack.events.put_rule(Name=rule, ScheduleExpression=SCHEDULE, State="ENABLED")
        self.addCleanup(self.stack.events.put_rule, Name=rule, ScheduleExpression=before["ScheduleExpression"])
        [line] = wait_until(
            lambda: [line for line in self.stack.lines("reconcile", began) if line["outcome"] == "reconciled"],
            SCHEDULE_SECONDS,
            "a pass",
        )
        self.assertEqual((line["groups_added"], line["groups_destroyed"], line["finished"]), (1, 1, True))
        self.assertEqual(set(self.stack.items("never-announced")), {"GROUP", "MEMBER#ana", "MEMBER#ben"})
        self.assertEqual(set(self.stack.items("gone")), {"GROUP"})
