"""What the tests of the functions share: the release binaries under the emulator, with table and queues."""

import base64
import json
import unittest

from emulator import MACHINE, Function
from metric_filter import matches
from services import LocalRun, Queues, environment
from template import ROOT, TARGET, monitoring, of_type, target, transformed

STORED = (200, 0, "stored")


def event(name):
    return json.loads((ROOT / f"events/{name}.json").read_text())


def body_of(event):
    body = event["body"]
    return json.loads(base64.b64decode(body) if event["isBase64Encoded"] else body)


def keys_of(body):
    pk = f"1400000001#{body['GroupId']}"
    return {(pk, "GROUP")} | {(pk, f"MEMBER#{member['Member_Account']}") for member in body["MemberList"]}


def bootstrap(name):
    return TARGET / f"lambda/{MACHINE}/{name}/bootstrap"


DRIFT = "groups_added groups_changed groups_destroyed members_added members_removed members_changed".split()

# The number that each metric should take from a line, said without its pattern; 0 for none.
COUNTED = {
    "WebhookLog": {
        "Callbacks": lambda line: line["outcome"] != "lost_part",
        "Genuine": lambda line: line.get("error_code") in {0, 120001},
        "Forwards": lambda line: line.get("forward") is not None,
        "Duration": lambda line: line.get("duration_ms", 0),
        "Refused": lambda line: line.get("error_code") in {120003, 120004, 120006},
    },
    "ReconcileLog": {
        "ReconcileFailed": lambda line: line["outcome"] == "failed",
        "Finished": lambda line: (
            line["outcome"] == "reconciled" and line["finished"] and not line["dry_run"] and not line["named"]
        ),
        "Drift": lambda line: (
            sum(line[name] for name in DRIFT)
            if line["outcome"] in {"reconciled", "failed"} and not line["dry_run"] and not line.get("first_pass")
            else 0
        ),
    },
}


class FunctionCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.template = transformed()
        cls.filters = of_type(monitoring(), "AWS::Logs::MetricFilter").values()
        cls.local_run = LocalRun()
        cls.addClassCleanup(cls.local_run.stop)
        cls.queues = Queues(cls.template)
        cls.addClassCleanup(cls.queues.stop)

    def setUp(self):
        self.local_run.clear()
        self.queues.clear()

    def function(self, name, parameters={}, **changed):
        """A function with the template's environment, its parameters and some variables changed."""
        env = environment(self.template, name.capitalize(), self.local_run, self.queues, **parameters)
        return Function(bootstrap(name), env | changed)

    def stored_keys(self):
        return {(item["pk"]["S"], item["sk"]["S"]) for item in self.local_run.items()}

    def answer(self, function, event):
        response = function.invoke(event)
        answer = json.loads(response["body"])
        self.assertEqual(set(answer), {"ActionStatus", "ErrorInfo", "ErrorCode"})
        self.assertEqual(answer["ActionStatus"], "OK" if response["statusCode"] == 200 else "FAIL")
        # The parts of a lost event follow the callback's line.
        outcomes = [line["outcome"] for line in function.lines() if line["outcome"] != "lost_part"]
        return response["statusCode"], answer["ErrorCode"], outcomes[-1]

    def metrics_take(self, lines, log):
        """The filters on a log find their fields in what was really written, and count what they should."""
        counts = dict.fromkeys(COUNTED[log], 0)
        for properties in self.filters:
            if target(properties["LogGroupName"]) != log:
                continue
            metric = properties["MetricTransformations"][0]
            found = [line for line in lines if matches(properties["FilterPattern"], line)]
            value = metric["MetricValue"]
            counts[metric["MetricName"]] += sum(line[value[2:]] if value.startswith("$.") else 1 for line in found)
            for dimension in metric.get("Dimensions", []):
                self.assertTrue(all(isinstance(line[dimension["Value"][2:]], str) for line in found))
        expected = {name: sum(map(counted, lines)) for name, counted in COUNTED[log].items()}
        self.assertEqual(counts, expected)
