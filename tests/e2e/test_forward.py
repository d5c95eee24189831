"""Forwarding, with the release binaries: taken, relayed, missed and delivered late."""

import hashlib
import json
import time
from urllib.parse import parse_qs

from emulator import free_port
from harness import STORED, FunctionCase, event
from services import TOKEN
from standins import OK, Receiver
from template import of_type

OTHER = "Group.CallbackAfterSendMsg"
DECISION = "Group.CallbackBeforeSendMsg"


def callback(command):
    """The sample event as another command."""
    return json.loads(json.dumps(event("http-api")).replace("Group.CallbackAfterCreateGroup", command))


class Forward(FunctionCase):
    def setUp(self):
        super().setUp()
        self.receiver = Receiver()
        self.addCleanup(self.receiver.stop)
        self.behind = {"ForwardUrl": f"{self.receiver.url}/hook?own=1"}
        self.nobody = {"ForwardUrl": f"http://127.0.0.1:{free_port()}/hook"}

    def test_a_kept_callback_is_stored_and_forwarded_as_it_came(self):
        sent = event("http-api")
        with self.function("webhook", self.behind) as webhook:
            self.assertEqual(self.answer(webhook, sent), STORED)
            self.assertEqual(webhook.lines()[-1]["forward"], "ok")
            self.metrics_take(webhook.lines(), "WebhookLog")
        [(path, query, body)] = self.receiver.requests
        self.assertEqual((path, body), ("/hook", sent["body"]))
        self.assertEqual(parse_qs(query), parse_qs("own=1&" + sent["rawQueryString"]))

    def test_another_command_is_the_receivers_to_answer(self):
        self.receiver.says = OK | {"MsgBody": []}
        with self.function("webhook", self.behind) as webhook:
            response = webhook.invoke(callback(OTHER))
            self.assertEqual((response["statusCode"], json.loads(response["body"])), (200, self.receiver.says))
            self.assertEqual(webhook.lines()[-1]["outcome"], "forwarded")
            self.metrics_take(webhook.lines(), "WebhookLog")

    def test_a_decision_is_never_invented_and_never_queued(self):
        self.receiver.says = {"ActionStatus": "OK", "ErrorInfo": "no", "ErrorCode": 1}
        with self.function("webhook", self.behind) as webhook:
            response = webhook.invoke(callback(DECISION))
            self.assertEqual((response["statusCode"], json.loads(response["body"])), (200, self.receiver.says))
        with self.function("webhook", self.nobody) as webhook:
            self.assertEqual(self.answer(webhook, callback(DECISION)), (503, 120008, "undecided"))
            self.metrics_take(webhook.lines(), "WebhookLog")
        self.assertFalse(self.queues.receive("ForwardQueue") + self.queues.receive("RetryQueue"))

    def test_what_the_receiver_missed_comes_late_with_a_fresh_sign(self):
        with self.function("webhook", self.nobody) as webhook:
            self.assertEqual(self.answer(webhook, event("http-api")), STORED)
            self.assertEqual(self.answer(webhook, callback(OTHER))[:2], (200, 0))
            self.assertEqual([line["forward"] for line in webhook.lines()], ["queued", "queued"])
            self.metrics_take(webhook.lines(), "WebhookLog")
        waiting = [json.loads(message["Body"]) for message in self.queues.receive("ForwardQueue")]
        self.assertEqual([message["pending"] for message in waiting], ["forward"] * 2)
        self.assertTrue(all("Sign=" not in message["query"] for message in waiting))
        self.assertFalse(self.queues.receive("RetryQueue"))

        with self.function("redrive", self.behind) as redrive:
            self.assertEqual(self.queues.deliver("ForwardQueue", redrive), (2, 0))
            self.assertEqual([line["outcome"] for line in redrive.lines()], ["forwarded"] * 2)
            self.metrics_take(redrive.lines(), "RedriveLog")
        self.assertEqual(len(self.receiver.requests), 2)
        for _, query, _ in self.receiver.requests:
            [request_time], [sign] = (parse_qs(query)[name] for name in ("RequestTime", "Sign"))
            self.assertLess(abs(time.time() - int(request_time)), 60)
            self.assertEqual(sign, hashlib.sha256((TOKEN + request_time).encode()).hexdigest())

    def test_what_the_receiver_misses_for_hours_is_a_dead_letter_of_its_own_queue(self):
        with self.function("webhook", self.nobody) as webhook:
            webhook.invoke(callback(OTHER))
        tries = of_type(self.template, "AWS::SQS::Queue")["ForwardQueue"]["RedrivePolicy"]["maxReceiveCount"]
        with self.function("redrive", self.nobody) as redrive:
            rounds = 0
            while (delivered := self.queues.deliver("ForwardQueue", redrive)) is not None:
                self.assertEqual(delivered, (1, 1))
                rounds += 1
        self.assertEqual(rounds, tries)
        self.assertEqual(len(self.queues.receive("ForwardDeadLetterQueue")), 1)
        self.assertFalse(self.queues.receive("DeadLetterQueue"))
