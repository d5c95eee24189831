"""The whole chain: callbacks, the table, its stream, `publish`, an EventBridge rule, an SQS queue, the fold."""

import json
import random
import sys
import unittest

import boto3
import jsonschema

from emulator import Function
from harness import bootstrap, event
from services import CREDENTIALS, SDK_APP_ID, TOKEN, LocalRun, Queues
from template import ROOT, transformed

sys.path.insert(0, str(ROOT / "examples"))

import fold  # noqa: E402
import reader  # noqa: E402

SCHEMA = json.loads((ROOT / "docs/event.schema.json").read_text())
# boto3 wants shard ids of 28 characters at least; the embedded DynamoDB makes them of the table's name.
TABLE, HISTORY, BUS = "groups-with-stream", "history-of-stream", "chat"

GROUPS, ACCOUNTS = ["g1", "g2", "g3"], ["ana", "ben", "cleo", "dan"]


def create_table(client, name, index_range, stream):
    keys = [("pk", "HASH"), ("sk", "RANGE")], [("account_key", "HASH"), (index_range, "RANGE")]
    primary, index = ([{"AttributeName": name, "KeyType": kind} for name, kind in key] for key in keys)
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "account_key")],
        KeySchema=primary,
        GlobalSecondaryIndexes=[
            {"IndexName": "by_account", "KeySchema": index, "Projection": {"ProjectionType": "ALL"}}
        ],
        **({"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}} if stream else {}),
    )


def members(accounts):
    return [{"Member_Account": account} for account in accounts]


def any_callback(rng, time):
    """A random callback of a random group."""
    some = members(rng.sample(ACCOUNTS, rng.randint(1, 3)))
    command, fields = rng.choice(
        [
            ("AfterCreateGroup", {"Name": f"at {time}", "Owner_Account": rng.choice(ACCOUNTS), "MemberList": some}),
            ("AfterNewMemberJoin", {"JoinType": "Invited", "NewMemberList": some}),
            ("AfterNewMemberJoin", {"JoinType": "Apply", "NewMemberList": some}),
            ("AfterMemberExit", {"ExitType": "Kicked", "ExitMemberList": some}),
            ("AfterGroupInfoChanged", {"Name": f"new {time}", "UserDefinedDataList": [{"Key": "k", "Value": str(time)}]}),
            ("AfterChangeGroupOwner", {"NewOwner_Account": rng.choice(ACCOUNTS)}),
            ("AfterMemberFieldChanged", {"Modified_Account": rng.choice(ACCOUNTS), "Role": "Admin", "NameCard": str(time)}),
            ("AfterGroupDestroyed", {}),
        ]
    )
    return {
        "CallbackCommand": f"Group.Callback{command}",
        "GroupId": rng.choice(GROUPS),
        "Type": "Public",
        "EventTime": time,
        "Operator_Account": rng.choice([*ACCOUNTS, ""]),
    } | fields


class Publish(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.local_run = LocalRun()
        cls.addClassCleanup(cls.local_run.stop)
        create_table(cls.local_run.client, TABLE, "pk", stream=True)
        create_table(cls.local_run.client, HISTORY, "sk", stream=False)
        cls.queues = Queues(transformed())
        cls.addClassCleanup(cls.queues.stop)
        cls.events = boto3.client("events", endpoint_url=cls.queues.endpoint, **CREDENTIALS)
        bus = cls.events.create_event_bus(Name=BUS)["EventBusArn"]
        cls.queues.urls["Changes"] = cls.queues.create("Changes", {})
        cls.events.put_rule(Name="all", EventBusName=BUS, EventPattern=json.dumps({"source": ["chat-groups"]}))
        target = {"Id": "queue", "Arn": cls.queues.arn("Changes")}
        cls.events.put_targets(Rule="all", EventBusName=BUS, Targets=[target])
        cls.env = {
            "AWS_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL_DYNAMODB": cls.local_run.dynamodb_url,
            "AWS_ENDPOINT_URL_EVENTBRIDGE": cls.queues.endpoint,
            "TABLE_NAME": TABLE,
            "SDK_APP_ID": SDK_APP_ID,
            "HISTORY_TABLE_NAME": HISTORY,
            "EVENT_BUS_ARN": bus,
            "CALLBACK_TOKENS": TOKEN,
            "MAX_REQUEST_AGE_SECONDS": "1000000000",
        }

    def records(self):
        """All records of the stream, as Lambda hands them over."""
        client = boto3.client("dynamodbstreams", endpoint_url=self.local_run.dynamodb_url, **CREDENTIALS)
        arn = client.list_streams(TableName=TABLE)["Streams"][0]["StreamArn"]
        shard = client.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
        asked = {"StreamArn": arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}
        iterator, records = client.get_shard_iterator(**asked)["ShardIterator"], []
        while True:
            answer = client.get_records(ShardIterator=iterator)
            if not answer["Records"]:
                return records
            for record in answer["Records"]:
                stream = record["dynamodb"]
                stream["ApproximateCreationDateTime"] = stream["ApproximateCreationDateTime"].timestamp()
                records.append({name: record[name] for name in ("eventID", "eventName", "eventSource", "dynamodb")})
            iterator = answer["NextShardIterator"]

    def told(self):
        """The events in the queue, each with its envelope."""
        told = []
        while messages := self.queues.receive("Changes"):
            for message in messages:
                told.append(json.loads(message["Body"]))
                self.queues.delete("Changes", message)
        return told

    def test_random_lives_reach_a_queue_and_fold_to_what_a_reader_finds(self):
        rng = random.Random(7)
        sample = event("http-api")
        query = sample["rawQueryString"]
        with Function(bootstrap("webhook"), self.env) as webhook:
            for number in range(150):
                body = any_callback(rng, 1_669_872_000_000 + rng.randint(0, 60) * 10)
                sample["rawQueryString"] = query.replace("Group.CallbackAfterCreateGroup", body["CallbackCommand"])
                sample["body"], sample["isBase64Encoded"] = json.dumps(body), False
                response = webhook.invoke(sample)
                self.assertEqual(json.loads(response["body"])["ErrorCode"], 0, response)
        records = self.records()
        with Function(bootstrap("publish"), self.env) as publish:
            for start in range(0, len(records), 100):
                answer = publish.invoke({"Records": records[start : start + 100]})
                self.assertEqual(answer, {"batchItemFailures": []})
            self.assertEqual({line["outcome"] for line in publish.lines()}, {"published"})
            told = self.told()
            snapshot = publish.invoke({"snapshot": {"group_ids": GROUPS}})
            self.assertTrue(snapshot["finished"])
            whole = self.told()
            self.assertIsNone(publish.invoke({"warm": True}))

        validator = jsonschema.Draft202012Validator(SCHEMA)
        for entry in told + whole:
            validator.validate(entry["detail"])
            self.assertEqual((entry["source"], entry["detail-type"]), ("chat-groups", entry["detail"]["type"]))
        changes = [entry["detail"] for entry in told]
        kinds = {"created", "updated", "destroyed"}, {"joined", "updated", "left"}
        expected = {f"group.{kind}" for kind in kinds[0]} | {f"member.{kind}" for kind in kinds[1]}
        self.assertEqual({change["type"] for change in changes}, expected)
        history = self.local_run.client.scan(TableName=HISTORY)["Items"]
        self.assertEqual(sorted(item["event_id"]["S"] for item in history), sorted(change["id"] for change in changes))

        resource = boto3.resource("dynamodb", endpoint_url=self.local_run.dynamodb_url, **CREDENTIALS)
        table = reader.Reader(resource.Table(TABLE), SDK_APP_ID)
        rng.shuffle(changes)
        for events in changes + changes[:50], [entry["detail"] for entry in whole]:
            roster = fold.Roster()
            for change in events:
                roster.apply(change)
            for group_id in GROUPS:
                self.assertEqual(seen(roster.group(int(SDK_APP_ID), group_id)), found(table.group(group_id)))


def seen(group):
    """A folded group, without what only the other side has."""
    return group and [group["event_time"], group["fields"], group["members"]]


def found(read):
    """The same of what a reader finds."""
    if read is None:
        return None
    group, items = read
    members = {
        account: {"event_time": item["event_time"], "fields": texts(item, ("role", "name_card"))}
        for account, item in items.items()
    }
    custom = {f"user_defined.{key}": value for key, value in group.get("user_defined", {}).items()}
    return [group["event_time"], texts(group, fold.FIELDS) | custom, members]


def texts(item, names):
    return {name: item[name] for name in names if name in item}


if __name__ == "__main__":
    unittest.main()
