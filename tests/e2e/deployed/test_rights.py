"""What each function's role may do is enough, and no right is too much: without any one of them something breaks."""

import contextlib
import json
import time
import unittest

from .shared import afresh
from .stack import SDK_APP_ID, wait_until

CREATED = "Group.CallbackAfterCreateGroup"
UNREADABLE = {"CallbackCommand": CREATED, "GroupId": 42}
QUEUES = ("RETRY_QUEUE_URL", "FORWARD_QUEUE_URL")
# How long redrive may take for what it can do at once.
REDRIVE_SECONDS = 2
PUBLISH_SECONDS = 4
CATCH_UP_SECONDS = 20
# For batches that are too old: the emulator knows no bucket as a destination.
NOT_EMULATED = ("s3:ListBucket", "s3:PutObject")
# More than are written without a look at what is there.
CROWD = 30
NEWCOMERS = ("eve", "fay")
# Reconcile does not touch what is newer than its question.
EARLIER_MILLIS = 60_000
# Before the creation that Chat knows of.
YEARS_AGO = 1_600_000_000_000


class Rights(unittest.TestCase):
    def setUp(self):
        parts = afresh()
        self.stack, self.receiver, self.chat, self.changes = parts.stack, parts.receiver, parts.chat, parts.changes
        self.events = []

    def each_right_counts(self, role, works, besides=(), recover=lambda: None):
        """`works` returns the same whenever it is called, and something else without any of the role's rights."""
        expected = self.cleanly(works)
        needless = []
        for right in self.stack.rights(role):
            if right["Action"] in besides:
                continue
            with self.stack.without(role, right=right):
                if self.cleanly(works) == expected:
                    needless.append(right)
            recover()
        self.assertEqual(needless, [])
        self.assertEqual(self.cleanly(works), expected)

    def cleanly(self, works):
        """With empty table and queues."""
        self.stack.clear()
        return works(time.time() * 1000)

    def read_queues(self, enabled):
        """Lets redrive read its queues, or not."""
        functions = self.stack.functions
        found = functions.list_event_source_mappings(FunctionName=self.stack.physical("Redrive"))
        for mapping in found["EventSourceMappings"]:
            functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)

    def test_of_webhook(self):
        self.receiver.status = 503
        self.read_queues(False)
        self.addCleanup(self.read_queues, True)
        self.each_right_counts("WebhookRole", self.webhook)

    def webhook(self, began):
        """A life of a group, and a body that can't be read; the downstream receiver is down."""
        callbacks = [*life("a-group"), (CREATED, UNREADABLE)]
        answers = [self.stack.post(command, body) for command, body in callbacks]
        told = [(line["outcome"], line.get("forward")) for line in self.stack.lines("webhook", began)]
        return answers, told, set(self.stack.items("a-group")), self.waiting()

    def test_of_redrive(self):
        self.each_right_counts("RedriveRole", self.redrive)

    def redrive(self, began):
        """From the queue: a life of a group, a body that can't be read, a callback for the downstream receiver."""
        messages = [(QUEUES[0], *callback, "table") for callback in life("a-group")]
        messages.append((QUEUES[0], CREATED, UNREADABLE, "table"))
        # Twice, so that one finds somebody there who was missing when it read the group.
        messages += [(QUEUES[0], *joined(f"group-{number // 2}"), "table") for number in range(CROWD)]
        messages.append((QUEUES[1], *life("a-group")[0], "forward"))
        for message in messages:
            self.send(*message)

        def lines():
            return self.stack.lines("redrive", began)

        with contextlib.suppress(AssertionError):
            wait_until(lambda: len(lines()) >= len(messages), REDRIVE_SECONDS, "redrive's lines")
        time.sleep(0.2)
        failed = sum(line["outcome"] == "failed" for line in lines())
        return len(lines()) >= len(messages), failed, set(self.stack.items("a-group")), self.waiting()

    def waiting(self):
        return [self.stack.waiting(queue) for queue in (*QUEUES, "DEAD_LETTER_QUEUE_URL")]

    def send(self, queue, command, body, pending):
        message = {
            "received_at": int(time.time() * 1000),
            "query": f"SdkAppid={SDK_APP_ID}&CallbackCommand={command}",
            "body": json.dumps(body),
            "pending": pending,
        }
        self.stack.sqs.send_message(QueueUrl=self.stack.outputs[queue], MessageBody=json.dumps(message), DelaySeconds=0)

    def test_of_reconcile(self):
        self.each_right_counts("ReconcileRole", self.reconcile)

    def reconcile(self, began):
        """A group that is new, one that was created again, and one that others change meanwhile."""
        earlier = began - EARLIER_MILLIS
        self.stack.post(*life("again", YEARS_AGO)[0])
        self.stack.post(*life("changed", earlier)[0])
        self.chat.groups = {
            "new": {"ana": "Owner", "ben": "Admin"},
            "again": {"ana": "Owner"},
            "changed": {"ana": "Owner"} | dict.fromkeys(NEWCOMERS, "Member"),
        }
        # Those who are missing when reconcile reads the group have joined by the time that it writes.
        self.chat.asked_for_roles = lambda: self.stack.post(*joined("changed", earlier))
        # A new environment, which reads its secret key.
        function = self.stack.physical("Reconcile")
        self.stack.functions.update_function_configuration(FunctionName=function, Timeout=900)
        answer = self.stack.functions.invoke(FunctionName=function, Payload=json.dumps({"members": "all"}))
        told = [line["outcome"] for line in self.stack.lines("reconcile", began)]
        items = [set(self.stack.items(group)) for group in self.chat.groups]
        return answer.get("FunctionError"), told, items

    def test_of_publish(self):
        self.each_right_counts("PublishRole", self.publish, NOT_EMULATED, self.catch_up)

    def publish(self, began):
        """A life of a group that is told and kept, and snapshots of one group and of all."""
        group = f"told-{began}"
        for command, body in life(group):
            self.stack.post(command, body)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: "group.destroyed" in self.told(group), PUBLISH_SECONDS, "the last event")
        kept = self.stack.history(group)
        snapshots = [self.snapshot({"group_ids": [group]}), self.snapshot({})]
        return self.told(group), bool(kept), snapshots, bool(self.stack.lines("publish", began))

    def told(self, group):
        """The types of the events of a group."""
        self.events += self.stack.received(self.changes)
        return {event["detail-type"] for event in self.events if event["detail"]["subject"] == group}

    def snapshot(self, asked):
        payload = json.dumps({"snapshot": asked})
        answer = self.stack.functions.invoke(FunctionName=self.stack.outputs["PUBLISH_FUNCTION"], Payload=payload)
        return answer.get("FunctionError")

    def catch_up(self):
        """What failed for want of a right comes again."""
        self.stack.post(*life("after-that")[0])
        wait_until(lambda: self.told("after-that"), CATCH_UP_SECONDS, "an event")
        self.events.clear()


def life(group, at=None):
    """Callbacks from a group's creation to its end."""
    now = int(at or time.time() * 1000)

    def body(name, **fields):
        command = f"Group.CallbackAfter{name}"
        return command, {"CallbackCommand": command, "GroupId": group, "Type": "Public", "EventTime": now} | fields

    members = [{"Member_Account": account} for account in ("ana", "ben")]
    crowd = [{"Member_Account": f"one-of-many-{number}"} for number in range(CROWD)]
    creation = body("CreateGroup", Operator_Account="ana", Owner_Account="ana", Name=group, MemberList=members)
    return [
        creation,
        # Again, so that all is there already.
        creation,
        body("NewMemberJoin", EventTime=now + 1, JoinType="Apply", Operator_Account="eve", NewMemberList=crowd),
        body("MemberExit", EventTime=now + 2, ExitType="Quit", Operator_Account="ben", ExitMemberList=members[1:]),
        body("GroupInfoChanged", EventTime=now + 3, Operator_Account="ana", Name="other"),
        body("GroupInfoChanged", EventTime=now + 4, Operator_Account="ana", Introduction="other"),
        body("GroupInfoChanged", EventTime=now + 5, Operator_Account="ana", Notification="other"),
        body("GroupDestroyed", EventTime=now + 6, Name=group, Owner_Account="ana", MemberList=members),
    ]


def joined(group, at=None):
    command = "Group.CallbackAfterNewMemberJoin"
    members = [{"Member_Account": account} for account in NEWCOMERS]
    return command, {
        "CallbackCommand": command,
        "GroupId": group,
        "Type": "Public",
        "EventTime": int(at or time.time() * 1000) + 1,
        "JoinType": "Apply",
        "Operator_Account": "ana",
        "NewMemberList": members,
    }
