"""The release binaries under the emulator: every file of events/, an outage, a loss, and the way back."""

import base64
import json
import re
import unittest

from emulator import MACHINE, Function, free_port
from metric_filter import matches
from services import TOKEN, LocalRun, Queues, environment
from template import ROOT, of_type, target, transformed

# Its version is 2.34.
AMAZON_LINUX_2023_GLIBC = 34

STORED = (200, 0, "stored")
EVENTS = {
    "alb": STORED,
    "base64": STORED,
    "function-url": STORED,
    "http-api": STORED,
    "members-500": STORED,
    "no-members": STORED,
    "no-owner": STORED,
    "real-body": STORED,
    "rest-api": STORED,
    "stale-request-time": (403, 120004, "rejected"),
    "unhandled-command": (200, 0, "ignored"),
    "unknown-fields": STORED,
    "unreadable-body": (400, 120001, "rejected"),
    "wrong-sdk-app-id": (403, 120003, "rejected"),
    "wrong-sign": (403, 120004, "rejected"),
}


def event(name):
    return json.loads((ROOT / f"events/{name}.json").read_text())


def body_of(event):
    body = event["body"]
    return json.loads(base64.b64decode(body) if event["isBase64Encoded"] else body)


def keys_of(body):
    pk = f"1400000001#{body['GroupId']}"
    return {(pk, "GROUP")} | {(pk, f"MEMBER#{member['Member_Account']}") for member in body["MemberList"]}


def bootstrap(name):
    return ROOT / f"target/lambda/{MACHINE}/{name}/bootstrap"


class Functions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.template = transformed()
        cls.local_run = LocalRun()
        cls.addClassCleanup(cls.local_run.stop)
        cls.queues = Queues(cls.template)
        cls.addClassCleanup(cls.queues.stop)

    def setUp(self):
        self.local_run.clear()
        self.queues.clear()

    def function(self, name, **changed):
        env = environment(self.template, name.capitalize(), self.local_run, self.queues)
        return Function(bootstrap(name), env | changed)

    def stored_keys(self):
        return {(item["pk"]["S"], item["sk"]["S"]) for item in self.local_run.items()}

    def answer(self, function, event):
        response = function.invoke(event)
        answer = json.loads(response["body"])
        self.assertEqual(set(answer), {"ActionStatus", "ErrorInfo", "ErrorCode"})
        self.assertEqual(answer["ActionStatus"], "OK" if response["statusCode"] == 200 else "FAIL")
        return response["statusCode"], answer["ErrorCode"], function.lines()[-1]["outcome"]

    def test_every_event_is_answered_stored_and_queued_as_it_should_be(self):
        files = {path.stem for path in (ROOT / "events").glob("*.json")}
        self.assertEqual(files, set(EVENTS), "a file of events/ is not expected here, or missing")
        with self.function("webhook") as webhook:
            for name, expected in EVENTS.items():
                with self.subTest(name):
                    self.setUp()
                    sent = event(name)
                    self.assertEqual(self.answer(webhook, sent), expected)
                    keys = keys_of(body_of(sent)) if expected == STORED else set()
                    self.assertEqual(self.stored_keys(), keys)
                    self.assertEqual(len(self.queues.receive()), int(name == "unreadable-body"))
            lines = webhook.lines()
            self.assertEqual(len(lines), len(EVENTS))
            self.assertEqual([line["cold_start"] for line in lines], [True] + [False] * (len(lines) - 1))
            self.assertNotIn(event("http-api")["queryStringParameters"]["Sign"], webhook.output())
            self.assertNotIn(TOKEN, webhook.output())
            self.metrics_take(lines, "WebhookLog")

    def test_the_binaries_start_where_lambda_runs_them(self):
        for name in ("webhook", "redrive"):
            versions = re.findall(rb"GLIBC_2\.(\d+)", bootstrap(name).read_bytes())
            self.assertLessEqual(max(map(int, versions)), AMAZON_LINUX_2023_GLIBC)

    def test_a_repeat_changes_nothing(self):
        with self.function("webhook") as webhook:
            self.assertEqual(self.answer(webhook, event("http-api")), STORED)
            before = self.local_run.items()
            self.assertEqual(self.answer(webhook, event("rest-api")), (200, 0, "duplicate"))
            self.assertEqual(self.local_run.items(), before)

    def test_what_the_table_does_not_take_comes_back_through_the_queue(self):
        nobody = f"http://127.0.0.1:{free_port()}"
        with self.function("webhook", AWS_ENDPOINT_URL_DYNAMODB=nobody) as webhook:
            self.assertEqual(self.answer(webhook, event("http-api")), (200, 0, "queued"))
            self.assertEqual(self.answer(webhook, event("unreadable-body"))[:2], (400, 120001))
            self.metrics_take(webhook.lines(), "WebhookLog", only={"queued", "rejected"})
        messages = self.queues.receive()
        self.assertEqual(len(messages), 2)
        self.assertTrue(all("Sign=" not in message["Body"] for message in messages))
        unreadable = next(message for message in messages if '\\"GroupId\\": 42' in message["Body"])

        with self.function("redrive") as redrive:
            records = [{"messageId": message["MessageId"], "body": message["Body"]} for message in messages]
            response = redrive.invoke({"Records": records})
            failures = [{"itemIdentifier": unreadable["MessageId"]}]
            self.assertEqual(response, {"batchItemFailures": failures})
            self.assertEqual({line["outcome"] for line in redrive.lines()}, {"stored", "failed"})
            self.metrics_take(redrive.lines(), "RedriveLog")
        self.assertEqual(self.stored_keys(), keys_of(body_of(event("http-api"))))

    def test_what_fails_ten_times_is_a_dead_letter(self):
        with self.function("webhook") as webhook:
            webhook.invoke(event("unreadable-body"))
        receives = 0
        while self.queues.receive():
            receives += 1
        self.assertEqual(receives, 10)
        self.assertEqual(len(self.queues.receive("DeadLetterQueue")), 1)

    def test_what_neither_table_nor_queue_takes_stands_in_the_log(self):
        nobody = f"http://127.0.0.1:{free_port()}"
        down = {"AWS_ENDPOINT_URL_DYNAMODB": nobody, "AWS_ENDPOINT_URL_SQS": nobody}
        with self.function("webhook", **down) as webhook:
            self.assertEqual(self.answer(webhook, event("http-api")), (503, 120007, "lost"))
            lost = webhook.lines()[-1]
            self.assertEqual(json.loads(lost["event"]["body"]), body_of(event("http-api")))
            self.metrics_take([lost], "WebhookLog", only={"lost"})

    def metrics_take(self, lines, log, only=None):
        """The filters on a log find their field in what was really written, and count it as named."""
        filters = of_type(self.template, "AWS::Logs::MetricFilter")
        counts = {}
        for properties in filters.values():
            if target(properties["LogGroupName"]) != log:
                continue
            metric = properties["MetricTransformations"][0]
            found = [line for line in lines if matches(properties["FilterPattern"], line)]
            counts[metric["MetricName"]] = len(found)
            value = metric["MetricValue"]
            if value.startswith("$."):
                self.assertTrue(all(isinstance(line[value[2:]], float) for line in found))
            for dimension in metric.get("Dimensions", []):
                self.assertEqual({line[dimension["Value"][2:]] for line in found}, only or {line["outcome"] for line in lines})
        if log == "RedriveLog":
            self.assertEqual(counts, {"Redriven": len(lines)})
        else:
            refused = {120001, 120003, 120004, 120006}
            self.assertEqual(
                counts,
                {
                    "Callbacks": len(lines),
                    "Duration": len(lines),
                    "ColdStarts": sum(line["cold_start"] for line in lines),
                    "Refused": sum(line["outcome"] == "rejected" and line["error_code"] in refused for line in lines),
                },
            )
