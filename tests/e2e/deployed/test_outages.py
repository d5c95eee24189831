"""What fails comes back by itself or by hand: table, queue, downstream receiver, and bodies that can't be read."""

import hashlib
import json
import tempfile
import time
import unittest
from pathlib import Path
from urllib.parse import parse_qs

from alarm import World, mails
from template import monitoring

from .shared import afresh, shared
from .stack import TOKEN, wait_until
from .test_life import created

TABLE = ("dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PartiQLInsert", "dynamodb:PutItem", "dynamodb:Query")
QUEUES = {"RETRY_QUEUE_URL": "DEAD_LETTER_QUEUE_URL", "FORWARD_QUEUE_URL": "FORWARD_DEAD_LETTER_QUEUE_URL"}
SOON_SECONDS = 15
MESSAGE = "Group.CallbackAfterSendMsg"


class Outages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Twelve hours of tries every three minutes become two tries within seconds.
        for queue in QUEUES:
            cls.addClassCleanup(shared().stack.set_queue(queue, DelaySeconds=3, VisibilityTimeout=1, maxReceiveCount=2))
        # And the five minutes for which it rings become seconds.
        cls.addClassCleanup(shared().stack.set_alarm("lost an event", Period=10, EvaluationPeriods=1))
        cls.mail, queue = shared().stack.new_queue("mail")
        topic = shared().stack.outputs["ALARM_TOPIC_ARN"]
        shared().stack.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)

    def setUp(self):
        parts = afresh()
        self.stack, self.receiver = parts.stack, parts.receiver
        self.began = time.time() * 1000

    def comes(self, group):
        wait_until(lambda: "GROUP" in self.stack.items(group), SOON_SECONDS, f"{group} in the table")

    def becomes_dead(self, queue, count):
        wait_until(lambda: self.stack.waiting(QUEUES[queue]) == count, SOON_SECONDS, f"{count} dead letters of {queue}")
        self.assertEqual(self.stack.waiting(queue), 0)

    def put_back(self, **settings):
        return self.stack.done("put-back", **self.stack.outputs | settings)

    def alarms(self):
        """Those that would ring if all this happened twice within half an hour."""
        world = World(monitoring(), 40)
        for minute in (5, 15):
            for function in ("Webhook", "Redrive"):
                for line in self.stack.lines(function, self.began):
                    world.log(f"{function}Log", minute, **line)
            for queue, dead_letters in QUEUES.items():
                visible = ("ApproximateNumberOfMessagesVisible", logical(dead_letters))
                world.count(visible, minute, self.stack.waiting(dead_letters))
        return set(mails(monitoring(), world))

    def rings_and_mails_once(self, title):
        """An alarm without metric math: the metric of the real line, its state, and what its topic gets."""
        for state in ("ALARM", "OK"):
            wait_until(lambda: self.stack.alarm(title)["StateValue"] == state, SOON_SECONDS, f"{title}: {state}")
        mails = [json.loads(mail["Message"]) for mail in self.stack.received(self.mail)]
        mails = [(mail["AlarmName"], mail["NewStateValue"]) for mail in mails]
        self.assertEqual(mails, [(f"{self.stack.name} {title}", "ALARM")])

    def outcomes(self, function):
        return [line["outcome"] for line in self.stack.lines(function, self.began)]

    def test_what_the_table_does_not_take_is_redriven(self):
        with self.stack.without("WebhookRole", *TABLE):
            self.assertEqual(created(self.stack, "late"), (200, 0))
        self.assertEqual(self.stack.items("late"), {})
        self.comes("late")
        self.assertEqual(self.outcomes("webhook"), ["queued"])
        # It was forwarded at once, and once.
        self.assertEqual(len(self.receiver.requests), 1)
        self.assertEqual(self.alarms(), set())

    def test_what_fails_for_long_is_a_dead_letter_and_goes_back_once_the_cause_is_gone(self):
        with self.stack.without("WebhookRole", *TABLE), self.stack.without("RedriveRole", *TABLE):
            self.assertEqual(created(self.stack, "dead"), (200, 0))
            self.becomes_dead("RETRY_QUEUE_URL", 1)
        self.assertEqual(self.outcomes("redrive"), ["failed"] * 2)
        self.assertEqual(self.alarms(), {"Late", "DeadLetters"})
        self.assertIn("0 lost events and 1 dead letters put back", self.put_back())
        self.comes("dead")
        self.assertEqual(self.stack.waiting("DEAD_LETTER_QUEUE_URL"), 0)

    def test_a_body_that_cannot_be_read_is_a_dead_letter_however_often_it_goes_back(self):
        command = "Group.CallbackAfterCreateGroup"
        self.assertEqual(self.stack.post(command, {"CallbackCommand": command, "GroupId": 42}), (400, 120001))
        self.becomes_dead("RETRY_QUEUE_URL", 1)
        self.assertEqual(self.alarms(), {"DeadLetters"})
        self.put_back()
        self.becomes_dead("RETRY_QUEUE_URL", 1)
        self.assertEqual(self.outcomes("redrive"), ["rejected"])

    def test_what_neither_table_nor_queue_takes_is_in_the_log_and_is_put_back_from_there(self):
        with self.stack.without("WebhookRole", *TABLE, "sqs:SendMessage"):
            self.assertEqual(created(self.stack, "lost"), (503, 120007))
        self.assertEqual(self.alarms(), {"Lost"})
        self.rings_and_mails_once("lost an event")
        log = {"logGroupName": self.stack.outputs["WEBHOOK_LOG_GROUP"], "startTime": int(self.began)}
        events = self.stack.logs.filter_log_events(**log)["events"]
        lines = [event["message"] for event in events if '"lost' in event["message"]]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "lines.json"
            file.write_text(json.dumps(lines))
            self.assertIn("1 lost events and 0 dead letters put back", self.put_back(LINES=str(file)))
        self.comes("lost")

    def test_what_the_downstream_receiver_misses_comes_once_it_is_up_again(self):
        self.receiver.status = 503
        self.assertEqual(self.stack.post(MESSAGE, {"CallbackCommand": MESSAGE}), (200, 0))
        self.becomes_dead("FORWARD_QUEUE_URL", 1)
        self.assertEqual(self.stack.waiting("RETRY_QUEUE_URL"), 0)
        self.assertEqual(self.alarms(), {"Downstream", "DeadLetters"})
        self.receiver.status = 200
        self.receiver.requests.clear()
        put_back = time.time()
        self.put_back()
        wait_until(lambda: self.receiver.requests, SOON_SECONDS, "the callback at the receiver")
        [(path, query, body)] = self.receiver.requests
        self.assertEqual((path, json.loads(body)), ("/hook", {"CallbackCommand": MESSAGE}))
        self.assertTrue(query.startswith("own=1&"), query)
        # Its receiver checks that it is fresh.
        [sent], [sign] = (parse_qs(query)[name] for name in ("RequestTime", "Sign"))
        self.assertGreaterEqual(int(sent), int(put_back))
        self.assertEqual(sign, hashlib.sha256(f"{TOKEN}{sent}".encode()).hexdigest())

    def test_a_receiver_that_is_down_costs_the_table_nothing(self):
        self.receiver.status = 503
        self.assertEqual(created(self.stack, "kept"), (200, 0))
        self.assertIn("GROUP", self.stack.items("kept"))
        self.receiver.status = 200
        wait_until(lambda: self.stack.waiting("FORWARD_QUEUE_URL") == 0, SOON_SECONDS, "an empty queue")
        self.assertEqual(len(self.receiver.requests), 2)


def logical(output):
    """The name that the template gives to a queue."""
    return output.removesuffix("_URL").title().replace("_", "")
