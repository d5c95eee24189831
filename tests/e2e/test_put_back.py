"""`make put-back`: lost events and dead letters, as they really come, go back into their queues."""

import base64
import json
import os
import subprocess
import tempfile
import time
import unittest
import zlib
from pathlib import Path

from services import CREDENTIALS, Queues
from template import PROGRAM, transformed

# SQS refuses the first two, jq would write them as they are; an event of 200 KB is no argument of a shell command.
NAME = "\ufffe\uffff\u0000\U0001f980 " + "x" * 200_000


DAY = 86_400_000
NOW = int(time.time() * 1000)


def message(**fields):
    query = "CallbackCommand=Group.CallbackAfterCreateGroup&SdkAppid=1400000001"
    body = json.dumps({"GroupId": "g", "Name": NAME}, ensure_ascii=False)
    return {"body": body, "query": query, "received_at": NOW - DAY} | fields


def line(**fields):
    # As `webhook` writes it: without escapes.
    callback = {"outcome": "lost", "callback_command": "Group.CallbackAfterCreateGroup"}
    return json.dumps(callback | fields, ensure_ascii=False)


def parts(event, lost_id="one", size=40_000):
    """The lines that follow that of a lost event, as `webhook` writes them."""
    data = base64.b64encode(zlib.compress(json.dumps(event).encode(), 0)).decode()
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    part = {"outcome": "lost_part", "lost_id": lost_id, "parts": len(pieces)}
    return [json.dumps(part | {"part": n, "data": piece}) for n, piece in enumerate(pieces, 1)]


class PutBack(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.queues = Queues(transformed())
        cls.addClassCleanup(cls.queues.stop)

    def setUp(self):
        self.queues.clear()

    def put_back(self, text=None, **changed):
        urls = self.queues.urls
        env = {
            "RETRY_QUEUE_URL": urls["RetryQueue"],
            "DEAD_LETTER_QUEUE_URL": urls["DeadLetterQueue"],
            "FORWARD_QUEUE_URL": urls["ForwardQueue"],
            "FORWARD_DEAD_LETTER_QUEUE_URL": urls["ForwardDeadLetterQueue"],
            "AWS_ENDPOINT_URL_SQS": self.queues.endpoint,
            "AWS_REGION": CREDENTIALS["region_name"],
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        with tempfile.TemporaryDirectory() as folder:
            if text is not None:
                file = Path(folder) / "lines.json"
                file.write_text(text)
                env["LINES"] = str(file)
            program = [PROGRAM, "put-back"]
            ran = subprocess.run(program, env=os.environ | env | changed, capture_output=True, text=True)
        self.assertNotIn("xxx", ran.stdout + ran.stderr, "a body is shown")
        return ran.returncode, ran.stdout + ran.stderr

    def bodies(self, queue):
        return [json.loads(message["Body"]) for message in self.queues.receive(queue)]

    def test_large_events_with_characters_that_sqs_refuses_go_to_the_queue_that_they_are_due_in(self):
        table, forward = message(pending="table"), message(pending="forward")
        lines = [line(event=table), json.dumps({"outcome": "stored"}), line(event=forward)]
        code, said = self.put_back("\n".join(lines))
        self.assertEqual(code, 0, said)
        self.assertIn("2 lost events and 0 dead letters put back", said)
        received = time.strftime("%Y-%m-%dT%H:%M", time.gmtime((NOW - DAY) / 1000))
        self.assertIn(f"Group.CallbackAfterCreateGroup, received {received}", said)
        self.assertEqual(self.bodies("RetryQueue"), [table])
        self.assertEqual(self.bodies("ForwardQueue"), [forward])
        self.assertIn("\\ufffe\\uffff", self.queues.receive()[0]["Body"])

    def test_the_lines_may_be_an_array_of_strings_as_the_aws_cli_prints_them(self):
        without_pending = message()
        code, said = self.put_back(json.dumps([line(event=without_pending), json.dumps({"outcome": "queued"})]))
        self.assertEqual(code, 0, said)
        self.assertEqual(self.bodies("RetryQueue"), [without_pending])

    def test_dead_letters_go_back_each_into_its_own_queue(self):
        letters = [message(received_at=NOW + n) for n in range(25)]
        for letter in letters:
            self.queues.send("DeadLetterQueue", json.dumps(letter))
        self.queues.send("ForwardDeadLetterQueue", json.dumps(message(pending="forward")))
        code, said = self.put_back()
        self.assertEqual(code, 0, said)
        self.assertEqual(said.count("dead letter  Group.CallbackAfterCreateGroup"), 26)
        self.assertEqual((said.count("-> retry queue"), said.count("-> forward queue")), (25, 1))
        self.assertEqual(self.bodies("ForwardQueue"), [message(pending="forward")])
        self.assertFalse(self.bodies("DeadLetterQueue") + self.bodies("ForwardDeadLetterQueue"))
        received = []
        while messages := self.queues.receive():
            for one in messages:
                received.append(json.loads(one["Body"]))
                self.queues.delete("RetryQueue", one)
        self.assertEqual(sorted(one["received_at"] for one in received), [NOW + n for n in range(25)])

    def test_what_the_log_has_no_body_of_is_named(self):
        query = "CallbackCommand=C2C.CallbackAfterSendMsg"
        forwarded = line(event={"query": query, "received_at": NOW, "pending": "forward"})
        code, said = self.put_back("\n".join([forwarded, line(event=message())]))
        self.assertEqual(code, 1, said)
        self.assertRegex(said, "C2C.CallbackAfterSendMsg.* -> nowhere")
        self.assertEqual(len(self.bodies("RetryQueue")), 1)

    def test_the_parts_of_an_event_are_joined_to_the_byte(self):
        both = [message(pending="table"), message(pending="forward")]
        lines = parts(both)
        self.assertGreater(len(lines), 9)
        code, said = self.put_back("\n".join([line(lost_id="one"), *reversed(lines)]))
        self.assertEqual(code, 0, said)
        self.assertEqual(self.bodies("RetryQueue") + self.bodies("ForwardQueue"), both)

    def test_an_event_that_lacks_a_part_is_named_and_the_others_are_put_back(self):
        code, said = self.put_back("\n".join(parts(message(), "other")[1:] + parts(message())))
        self.assertEqual(code, 1, said)
        self.assertRegex(said, r"lost_id other -> nowhere: \d+ of its \d+ parts are in these lines")
        self.assertEqual(self.bodies("RetryQueue"), [message()])

    def test_what_is_older_than_the_tombstones_stays_unless_told_otherwise(self):
        letter, lost = message(received_at=NOW - 31 * DAY), message(received_at=NOW - 32 * DAY)
        self.queues.send("DeadLetterQueue", json.dumps(letter))
        code, said = self.put_back(line(event=lost))
        self.assertEqual(code, 1, said)
        self.assertEqual(said.count("nowhere: older than 30 days; --old puts it back all the same"), 2)
        self.assertIn("2 were not put back", said)
        self.assertFalse(self.bodies("RetryQueue"))
        code, said = self.put_back(line(event=lost), OLD="1")
        self.assertEqual((code, self.bodies("RetryQueue")), (0, [lost]), said)

    def test_nothing_is_sent_of_a_file_that_is_no_log(self):
        code, said = self.put_back(line(event=message()) + "\n2025-01-01 START")
        self.assertEqual(code, 1, said)
        self.assertIn("expected log lines in JSON", said)
        self.assertFalse(self.bodies("RetryQueue"))

    def test_a_missing_queue_is_named(self):
        code, said = self.put_back(FORWARD_QUEUE_URL="")
        self.assertEqual(code, 2, said)
        self.assertIn("--forward-queue-url", said)
