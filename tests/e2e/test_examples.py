"""The examples: three folds and the schema on the same vectors, and the readers on the embedded DynamoDB."""

import json
import re
import shutil
import subprocess
import sys
import time
import unittest

import boto3
import jsonschema
from moto.events.models import EventPattern

from services import CREDENTIALS, SDK_APP_ID, TABLE, LocalRun
from template import ROOT

EXAMPLES = ROOT / "examples"
VECTORS = [json.loads(line) for line in (ROOT / "tests/vectors/feed.jsonl").read_text().splitlines()]
SCHEMA = json.loads((ROOT / "docs/event.schema.json").read_text())
# With the AWS SDK beside it.
NODE = ROOT / ".tools/node"

sys.path.insert(0, str(EXAMPLES))

import fold  # noqa: E402
import greet  # noqa: E402
import reader  # noqa: E402

FOLD = """
import { Roster } from "./fold.mjs";
const cases = JSON.parse(await new Response(process.stdin).text());
const fold = ({ events, roster }) => {
  const folded = new Roster();
  events.forEach((event) => folded.apply(event));
  return Object.fromEntries(Object.keys(roster).map((id) => [id, folded.group(1400000001, id) ?? null]));
};
console.log(JSON.stringify(cases.map(fold)));
"""

READ = """
import { DynamoDB } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocument } from "@aws-sdk/lib-dynamodb";
import { Reader } from "./reader.mjs";
const [endpoint, table, sdkAppId, groupIds, accounts] = JSON.parse(await new Response(process.stdin).text());
const credentials = { accessKeyId: "test", secretAccessKey: "test" };
const client = DynamoDBDocument.from(new DynamoDB({ endpoint, region: "eu-west-1", credentials }));
const reader = new Reader(client, table, sdkAppId);
const groups = await Promise.all(groupIds.map((id) => reader.group(id)));
const members = groups.map((found) => found && [found.group.name, Object.keys(found.members).sort()]);
const owned = await Promise.all(accounts.map((account) => reader.groupsOf(account)));
console.log(JSON.stringify([members.map((found) => found ?? null), owned.map((found) => found.map((group) => group.group_id))]));
"""


def node(script, argument):
    """Runs a module beside the examples, with the argument as its input; returns its output."""
    for path in EXAMPLES.glob("*.mjs"):
        shutil.copy(path, NODE)
    (NODE / "test.mjs").write_text(script)
    run = subprocess.run(["node", "test.mjs"], cwd=NODE, input=json.dumps(argument), capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError(run.stderr)
    return json.loads(run.stdout)


class Folds(unittest.TestCase):
    def test_the_fold_in_python_gives_the_expected_groups(self):
        for case in VECTORS:
            with self.subTest(case["name"]):
                roster = fold.Roster()
                for event in case["events"]:
                    roster.apply(event)
                folded = {group_id: roster.group(int(SDK_APP_ID), group_id) for group_id in case["roster"]}
                self.assertEqual(folded, case["roster"])

    def test_the_fold_in_javascript_gives_the_expected_groups(self):
        self.assertEqual(node(FOLD, VECTORS), [case["roster"] for case in VECTORS])

    def test_every_event_of_the_vectors_is_valid(self):
        validator = jsonschema.Draft202012Validator(SCHEMA)
        validator.check_schema(SCHEMA)
        for case in VECTORS:
            for event in case["events"]:
                validator.validate(event)
                for broken in ({"type": "group.renamed"}, {"data": {}}, {"dataschema": "urn:chat-groups:event:2"}):
                    self.assertFalse(validator.is_valid(event | broken))

    def test_the_example_greets_who_joins_and_returns_what_it_can_not_read(self):
        events = [event for case in VECTORS[:1] for event in case["events"]]
        records = [
            {"messageId": str(number), "body": json.dumps({"detail": event})} for number, event in enumerate(events)
        ]
        sent = []
        greet.send = lambda *message: sent.append(message[1:])
        answer = greet.handler({"Records": [*records, {"messageId": "broken", "body": "{}"}]}, None)
        self.assertEqual(answer, {"batchItemFailures": [{"itemIdentifier": "broken"}]})
        self.assertEqual(sent, [("g", "Welcome, cleo!")])


class Docs(unittest.TestCase):
    """docs/events.md: its event, and its patterns on the events of the vectors."""

    TEXT = (ROOT / "docs/events.md").read_text()
    # In the order of the table.
    WANTED = [
        lambda event: event["type"] in ("member.joined", "member.left"),
        lambda event: event["type"] == "member.left" and event["data"]["after"].get("exit_type") == "Kicked",
        lambda event: "owner_account" in event["data"].get("changed", []),
        lambda event: event["data"].get("account") == "ben",
        lambda event: "account" not in event["data"],
    ]

    def test_the_event_is_valid(self):
        (block,) = re.findall(r'^    (\{"specversion".*?\}\}\})$', self.TEXT, re.MULTILINE | re.DOTALL)
        jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(block))

    def test_each_pattern_matches_what_it_is_for_and_nothing_else(self):
        patterns = re.findall(r"^\| .* \| `(\{.*\})` \|$", self.TEXT, re.MULTILINE)
        self.assertEqual(len(patterns), len(self.WANTED))
        events = [event for case in VECTORS for event in case["events"]]
        for pattern, is_wanted in zip(patterns, self.WANTED):
            matches = EventPattern.load(pattern).matches_event
            matched = [matches({"source": "chat-groups", "detail-type": event["type"], "detail": event}) for event in events]
            self.assertEqual(matched, [is_wanted(event) for event in events], pattern)
            self.assertIn(True, matched, pattern)


class Readers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.local_run = LocalRun()
        cls.addClassCleanup(cls.local_run.stop)
        cls.local_run.clear()
        now = int(time.time() * 1000)

        def post(command, group_id, time, **fields):
            body = {"CallbackCommand": f"Group.Callback{command}", "GroupId": group_id, "Type": "Public"}
            answer = cls.local_run.post(body["CallbackCommand"], body | {"EventTime": time} | fields)
            assert answer.json()["ErrorCode"] == 0, answer.text

        def members(*accounts):
            return [{"Member_Account": account} for account in accounts]

        for group_id, owner in ("a", "ana"), ("b", "ben"), ("gone", "ana"):
            post("AfterCreateGroup", group_id, now - 90, Name=group_id, Owner_Account=owner, MemberList=members("ben", "cleo"))
        post("AfterMemberExit", "a", now - 80, ExitType="Quit", ExitMemberList=members("cleo"))
        post("AfterGroupDestroyed", "gone", now - 70)
        # Its id is used again; `redrive` has not swept cleo and ben yet.
        post("AfterCreateGroup", "b", now - 60, Name="b again", Owner_Account="ben", MemberList=members("dan"))

    GROUPS = {"a": ["a", ["ben"]], "b": ["b again", ["dan"]], "gone": None, "none": None}
    GROUPS_OF = {"ana": ["a"], "ben": ["a", "b"], "cleo": [], "dan": ["b"], "nobody": []}

    def test_the_reader_in_python_knows_the_three_rules(self):
        resource = boto3.resource("dynamodb", endpoint_url=self.local_run.dynamodb_url, **CREDENTIALS)
        table = reader.Reader(resource.Table(TABLE), SDK_APP_ID)
        for group_id, expected in self.GROUPS.items():
            found = table.group(group_id)
            self.assertEqual(found and [found[0]["name"], sorted(found[1])], expected)
        for account, expected in self.GROUPS_OF.items():
            self.assertEqual([group["group_id"] for group in table.groups_of(account)], expected)

    def test_the_reader_in_javascript_knows_the_three_rules(self):
        argument = [self.local_run.dynamodb_url, TABLE, SDK_APP_ID, list(self.GROUPS), list(self.GROUPS_OF)]
        self.assertEqual(node(READ, argument), [list(self.GROUPS.values()), list(self.GROUPS_OF.values())])


if __name__ == "__main__":
    unittest.main()
