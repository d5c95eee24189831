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
        self.assertIn("never-announced", self.from_a_laptop())
        self.assertEqual(self.stack.items("never-announced"), {})
        self.assertIn("never-announced", self.from_a_laptop(APPLY="1"))
        self.assertEqual(set(self.stack.items("never-announced")), {"GROUP", "MEMBER#ana", "MEMBER#ben"})
        self.assertNotIn("never-announced", self.from_a_laptop())

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
