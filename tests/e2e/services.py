"""What the functions talk to: the embedded DynamoDB of the local run, and moto's SQS."""

import hashlib
import json
import logging
import os
import re
import subprocess
import tempfile
import time

import boto3
import requests
from moto.server import ThreadedMotoServer

from template import PROGRAM, chosen, of_type, target

# moto's server would report every request.
logging.getLogger("werkzeug").setLevel(logging.ERROR)

TOKEN = "xxxxyyyy"
SDK_APP_ID = "1400000001"
TABLE = "groups"
HISTORY = "history"
CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "eu-west-1"}


class LocalRun:
    """`make run` on free ports, with a table of its own."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        env = os.environ | {"CARGO_TARGET_DIR": "", "PAGE_PORT": "0", "PORT": "0", "DYNAMODB_PORT": "0"}
        self.process = subprocess.Popen(
            [PROGRAM, "run"], cwd=self.folder.name, env=env, stdout=subprocess.PIPE, text=True
        )
        self.page_url = self.printed(r"^Page\s+(\S+)")
        self.url = self.printed(r"^Receiver\s+(\S+)")
        self.dynamodb_url = self.printed(r"^DynamoDB\s+(\S+)")
        self.printed("(Serving until)")
        self.client = boto3.client("dynamodb", endpoint_url=self.dynamodb_url, **CREDENTIALS)

    def printed(self, pattern):
        for line in self.process.stdout:
            if found := re.search(pattern, line):
                return found.group(1)
        raise RuntimeError("the local run ended")

    def post(self, command, body):
        """A callback as Chat sends it."""
        seconds = str(int(time.time()))
        query = {
            "CallbackCommand": command,
            "ClientIP": "203.0.113.7",
            "OptPlatform": "iOS",
            "RequestTime": seconds,
            "SdkAppid": SDK_APP_ID,
            "Sign": hashlib.sha256((TOKEN + seconds).encode()).hexdigest(),
            "contenttype": "json",
        }
        return requests.post(self.url, params=query, data=json.dumps(body))

    def items(self):
        return self.client.scan(TableName=TABLE, ConsistentRead=True)["Items"]

    def clear(self):
        for item in self.items():
            self.client.delete_item(TableName=TABLE, Key={"pk": item["pk"], "sk": item["sk"]})

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.folder.cleanup()


class Queues:
    """The template's queues, on moto."""

    def __init__(self, template):
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        host, port = self.server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        self.client = boto3.client("sqs", endpoint_url=self.endpoint, **CREDENTIALS)
        defined = of_type(template, "AWS::SQS::Queue")
        self.urls = {name: self.create(name, {}) for name, queue in defined.items() if "RedrivePolicy" not in queue}
        for name, queue in defined.items():
            if policy := queue.get("RedrivePolicy"):
                arn = self.arn(target(policy["deadLetterTargetArn"]))
                policy = json.dumps(policy | {"deadLetterTargetArn": arn})
                self.urls[name] = self.create(name, {"RedrivePolicy": policy})

    def create(self, name, attributes):
        return self.client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]

    def arn(self, name):
        asked = {"QueueUrl": self.urls[name], "AttributeNames": ["QueueArn"]}
        return self.client.get_queue_attributes(**asked)["Attributes"]["QueueArn"]

    def send(self, name, body):
        self.client.send_message(QueueUrl=self.urls[name], MessageBody=body)

    def delete(self, name, message):
        self.client.delete_message(QueueUrl=self.urls[name], ReceiptHandle=message["ReceiptHandle"])

    def receive(self, name="RetryQueue"):
        """Up to ten messages, which stay visible."""
        request = {"QueueUrl": self.urls[name], "MaxNumberOfMessages": 10, "VisibilityTimeout": 0}
        return self.client.receive_message(**request).get("Messages", [])

    def clear(self):
        for name in self.urls:
            while messages := self.receive(name):
                for message in messages:
                    self.delete(name, message)

    def stop(self):
        self.server.stop()


def environment(template, function, local_run, queues, **parameters):
    """A function's environment as the template sets it, with what stands in for AWS."""
    standing_in = {
        "Table": TABLE,
        "SdkAppId": SDK_APP_ID,
        "DeployedAt": "now",
        # The events' RequestTime is of 2022; that of the stale one is of 1970.
        "MaxRequestAgeSeconds": "1000000000",
    }
    defaults = {name: str(parameter.get("Default", "")) for name, parameter in template["Parameters"].items()}
    standing_in = defaults | standing_in | queues.urls | parameters
    variables = of_type(template, "AWS::Lambda::Function")[function]["Environment"]["Variables"]
    variables = {name: chosen(template, value, standing_in) for name, value in variables.items()}

    def text(value):
        if isinstance(value, str):
            return value
        return TOKEN if "Fn::Sub" in value else standing_in[target(value)]

    return {name: text(value) for name, value in variables.items() if value} | {
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL_DYNAMODB": local_run.dynamodb_url,
        "AWS_ENDPOINT_URL_SQS": queues.endpoint,
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": queues.endpoint,
    }
