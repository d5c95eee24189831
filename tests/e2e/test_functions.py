"""The release binaries under the emulator: every file of events/, and what they need of their surroundings."""

import json
import re
import statistics

from harness import STORED, FunctionCase, body_of, bootstrap, event
from services import TOKEN, LocalRun
from template import ROOT, of_type

# Its version is 2.34.
AMAZON_LINUX_2023_GLIBC = 34

# Lambda makes a batch no larger.
LAMBDA_PAYLOAD_MAX_BYTES = 6 * 1024 * 1024

# Of every file in events/, on an empty table: status, error_code, outcome and the number of items.
EXPECTED = json.loads((ROOT / "tests/expected.json").read_text())

# What is queued as well: what is to be swept, and a body that no retry can read.
QUEUED = {"destroyed": "RetryQueue", "unreadable-body": "DeadLetterQueue"}


class Functions(FunctionCase):
    def test_every_event_is_answered_stored_and_queued_as_it_should_be(self):
        files = {path.stem for path in (ROOT / "events").glob("*.json")}
        self.assertEqual(files, set(EXPECTED), "a file of events/ is not expected here, or missing")
        with self.function("webhook") as webhook:
            for name, expected in EXPECTED.items():
                with self.subTest(name):
                    self.setUp()
                    status, error_code, outcome = self.answer(webhook, event(name))
                    items = len(self.stored_keys())
                    found = {"status": status, "error_code": error_code, "outcome": outcome, "items": items}
                    self.assertEqual(found, expected)
                    queued = [queue for queue in self.queues.urls for _ in self.queues.receive(queue)]
                    self.assertEqual(queued, [QUEUED[name]] if name in QUEUED else [])
            lines = webhook.lines()
            self.assertEqual(len(lines), len(EXPECTED))
            self.assertEqual([line["cold_start"] for line in lines], [True] + [False] * (len(lines) - 1))
            self.assertNotIn(event("http-api")["queryStringParameters"]["Sign"], webhook.output())
            self.assertNotIn(TOKEN, webhook.output())
            self.metrics_take(lines, "WebhookLog")

    def test_the_binaries_start_where_lambda_runs_them(self):
        for name in map(str.lower, of_type(self.template, "AWS::Lambda::Function")):
            versions = re.findall(rb"GLIBC_2\.(\d+)", bootstrap(name).read_bytes())
            self.assertLessEqual(max(map(int, versions)), AMAZON_LINUX_2023_GLIBC)

    def test_a_passer_by_rings_no_alarm(self):
        browser, nothing = event("http-api"), event("http-api")
        browser["requestContext"]["http"]["method"] = "GET"
        nothing |= {"rawQueryString": "", "queryStringParameters": {}}
        with self.function("webhook") as webhook:
            self.assertEqual(self.answer(webhook, browser), (405, 120005, "rejected"))
            self.assertEqual(self.answer(webhook, nothing), (400, 120002, "rejected"))
            self.metrics_take(webhook.lines(), "WebhookLog")

    def test_a_stranger_costs_what_the_page_says(self):
        """docs/operate.md, A flood."""
        forged = event("wrong-sign")
        logged = re.compile("(CallbackCommand|OptPlatform|RequestID)=")
        with self.function("webhook") as webhook:
            for query, most_bytes in [
                ("", 320),
                (forged["rawQueryString"], 430),
                (logged.sub(r"\1=" + "x" * 5_000, forged["rawQueryString"]), 750),
                (logged.sub(r"\1=" + "%01" * 5_000, forged["rawQueryString"]), 2_700),
            ]:
                before = len(webhook.lines())
                for _ in range(50):
                    self.assertEqual(webhook.invoke(forged | {"rawQueryString": query})["statusCode"] // 100, 4)
                lines = webhook.lines()[before:]
                most = max(len(json.dumps(line, separators=(",", ":"))) for line in lines)
                median = statistics.median(line["duration_ms"] for line in lines)
                print(f"a refused request of {len(query)} bytes: {most} bytes of log, {median:.2f} ms", flush=True)
                self.assertLessEqual(most, most_bytes)
                # Lambda bills whole milliseconds.
                self.assertLess(median, 1)

    def test_a_repeat_changes_nothing(self):
        with self.function("webhook") as webhook:
            self.assertEqual(self.answer(webhook, event("http-api")), STORED)
            before = self.local_run.items()
            self.assertEqual(self.answer(webhook, event("rest-api")), (200, 0, "duplicate"))
            self.assertEqual(self.local_run.items(), before)

    def test_a_batch_of_the_largest_bodies_fits_into_redrives_memory(self):
        memory = of_type(self.template, "AWS::Lambda::Function")["Redrive"]["MemorySize"]
        records = [{"messageId": str(n), "body": json.dumps(largest(n))} for n in range(10)]
        while len(json.dumps({"Records": records})) > LAMBDA_PAYLOAD_MAX_BYTES:
            records.pop()
        # A table of its own: what this leaves there is no other test's.
        local_run = LocalRun()
        self.addCleanup(local_run.stop)
        with self.function("redrive", AWS_ENDPOINT_URL_DYNAMODB=local_run.dynamodb_url) as redrive:
            redrive.invoke({"Records": records})
            lines, peak = redrive.lines(), redrive.peak_memory()
        # Whether the local table takes so many members in time does not matter here.
        self.assertEqual([line["outcome"] in {"stored", "failed"} for line in lines], [True] * len(records))
        print(f"redrive, {len(records)} bodies of 512 KiB: {peak:.0f} MB of {memory}", flush=True)
        self.assertLess(peak, 0.8 * memory)


def largest(number):
    """A message with a creation of 512 KiB: more members than any group has."""
    members, size = [], 300
    while size < 512 * 1024 - 100:
        members.append({"Member_Account": f"member-{len(members):05}-of-the-largest"})
        size += len(json.dumps(members[-1])) + 2
    body = body_of(event("http-api")) | {"GroupId": f"largest-{number}", "MemberList": members}
    query = "SdkAppid=1400000001&CallbackCommand=Group.CallbackAfterCreateGroup"
    return {"received_at": 1700000000000, "query": query, "body": json.dumps(body), "pending": "table"}
