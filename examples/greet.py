"""A consumer: a Lambda function behind an SQS queue that a rule of the bus fills with `member.joined`. It greets who joins."""

import json


def handler(event, context):
    failures = []
    for record in event["Records"]:
        try:
            greet(json.loads(record["body"])["detail"])
        except Exception as error:
            print(f"{record['messageId']}: {error!r}")
            failures.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failures}


def greet(change):
    data = change["data"]
    # The first members of a group were not invited by anybody: the group began with them.
    if change["type"] == "member.joined" and data["after"].get("join_type") != "Created":
        # An event may come twice: the id keeps your own side from greeting twice.
        send(change["id"], data["group_id"], f"Welcome, {data['account']}!")


def send(id, group_id, text):
    """Replace it with a call of Chat's REST API, send_group_msg; MsgRandom made of the id drops a repetition."""
    print(json.dumps({"id": id, "group_id": group_id, "text": text}))
