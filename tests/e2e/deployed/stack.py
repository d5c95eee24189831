"""A stack of the template on the emulated AWS, deployed and used through the project's own commands."""

import atexit
import contextlib
import functools
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from emulator import MACHINE
from template import ROOT

from .authority import Authority

sys.path.append(str(ROOT / "tools"))
from emulated import Emulator, post  # noqa: E402

SDK_APP_ID = "1400000001"
TOKEN = "xxxxyyyy"
# The vendor's published sample.
SECRET_KEY = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"


@functools.cache
def authority():
    """Signs the certificates of the stand-ins; the functions trust it."""
    return Authority()


@functools.cache
def emulator():
    """One for all tests."""
    started = Emulator(SSL_CERT_FILE=str(authority().file))
    atexit.register(started.stop)
    started.client("secretsmanager").create_secret(Name="chat-groups/secret-key", SecretString=SECRET_KEY)
    return started


class Stack:
    def __init__(self, name):
        self.name = name
        self.emulator = emulator()
        for service in ("cloudformation", "cloudwatch", "dynamodb", "events", "iam", "lambda", "logs", "sns", "sqs"):
            setattr(self, service.replace("lambda", "functions"), self.emulator.client(service))
        self.token = TOKEN
        self.emulator.client("secretsmanager").create_secret(Name=f"{name}/token", SecretString=TOKEN)

    def begin(self, *command, **variables):
        """Starts a command, whose output is to be read."""
        env = os.environ | self.emulator.env() | {"STACK_NAME": self.name} | variables
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, cwd=ROOT, env=env, text=True, **pipes)

    def make(self, *arguments, **variables):
        """Runs `make`, and returns its status and all that it said."""
        command = self.begin("make", "--no-print-directory", "--silent", *arguments, **variables)
        said, _ = command.communicate()
        return command.returncode, said

    def done(self, *arguments, **variables):
        """`make`, which must succeed."""
        code, said = self.make(*arguments, **variables)
        assert code == 0, f"make {arguments[0]}: {said}"
        return said

    def program(self, *arguments, **variables):
        """`./chat-groups`, which must succeed."""
        command = self.begin("./chat-groups", *arguments, **variables)
        said, _ = command.communicate()
        assert command.returncode == 0, f"chat-groups {arguments[0]}: {said}"
        return said

    def deploy(self, **parameters):
        settings = {"SDK_APP_ID": SDK_APP_ID, "CALLBACK_TOKEN_SECRET": f"{self.name}/token", "ARCHITECTURE": MACHINE}
        pairs = [shlex.quote(f"{name}={value}") for name, value in parameters.items()]
        said = self.done("deploy", **settings, PARAMETERS=" ".join(pairs))
        self.read_outputs()
        return said

    def read_outputs(self):
        """From `make outputs`, as a shell reads them."""
        env = {"OUTPUTS": self.done("outputs"), "PATH": os.environ["PATH"]}
        variables = subprocess.check_output(["sh", "-c", 'eval "$OUTPUTS" && env -0'], env=env, text=True)
        self.outputs = dict(pair.split("=", 1) for pair in variables.split("\0") if "=" in pair)
        self.url = self.emulator.url(self.outputs["CALLBACK_URL"])
        self.table = self.outputs["TABLE_NAME"]

    def physical(self, logical):
        return self.cloudformation.describe_stack_resource(StackName=self.name, LogicalResourceId=logical)[
            "StackResourceDetail"
        ]["PhysicalResourceId"]

    def post(self, command, body):
        """A callback as Chat sends it; the status and the ErrorCode of its answer."""
        status, answer = post(self.url, self.token, SDK_APP_ID, command, body)
        return status, answer.get("ErrorCode")

    def items(self, group=None):
        """The items of a group, or all, by their sort key."""
        found = self.dynamodb.scan(TableName=self.table, ConsistentRead=True)["Items"]
        pk = f"{SDK_APP_ID}#{group}"
        return {item["sk"]["S"]: item for item in found if group is None or item["pk"]["S"] == pk}

    def lines(self, function, since=0):
        """The log lines of a function's events, from a time in milliseconds."""
        group = self.outputs[f"{function.upper()}_LOG_GROUP"]
        pages = self.logs.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=int(since))
        messages = [event["message"] for page in pages for event in page["events"]]
        lines = [json.loads(message) for message in messages if message.startswith("{")]
        return [line for line in lines if "outcome" in line]

    def waiting(self, queue):
        """How many messages a queue holds, visible or not."""
        names = ["", "Delayed", "NotVisible"]
        names = [f"ApproximateNumberOfMessages{name}" for name in names]
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.outputs[queue], AttributeNames=names)["Attributes"]
        return sum(int(attributes[name]) for name in names)

    def received(self, queue):
        """Takes all that is in a queue, as JSON."""
        bodies = []
        while messages := self.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                self.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
                bodies.append(json.loads(message["Body"]))
        return bodies

    def history(self, group):
        """What the history has of a group, in order."""
        key = {":pk": {"S": f"{SDK_APP_ID}#{group}"}}
        asked = {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": key}
        return self.dynamodb.query(TableName=self.outputs["HISTORY_TABLE_NAME"], **asked)["Items"]

    def clear(self):
        """Empties the table and the queues."""
        for item in self.dynamodb.scan(TableName=self.table)["Items"]:
            self.dynamodb.delete_item(TableName=self.table, Key={"pk": item["pk"], "sk": item["sk"]})
        for name in self.outputs:
            if name.endswith("QUEUE_URL"):
                self.sqs.purge_queue(QueueUrl=self.outputs[name])

    def new_queue(self, name):
        """A queue of a test's own, into which anybody may send: its URL and its ARN."""
        anybody = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [anybody]})
        url = self.sqs.create_queue(QueueName=name, Attributes={"Policy": policy})["QueueUrl"]
        return url, self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def set_queue(self, queue, maxReceiveCount, **seconds):
        """Changes when a queue shows a message, and how often; returns the way back."""
        url = self.outputs[queue]
        before = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[*seconds, "RedrivePolicy"])["Attributes"]
        policy = json.loads(before["RedrivePolicy"]) | {"maxReceiveCount": maxReceiveCount}
        after = {name: str(value) for name, value in seconds.items()} | {"RedrivePolicy": json.dumps(policy)}
        self.sqs.set_queue_attributes(QueueUrl=url, Attributes=after)
        return lambda: self.sqs.set_queue_attributes(QueueUrl=url, Attributes=before)

    def alarm(self, title):
        """An alarm by what follows the stack's name in its own."""
        found = self.cloudwatch.describe_alarms(AlarmNames=[f"{self.name} {title}"])
        return found["MetricAlarms"][0]

    def set_alarm(self, title, **settings):
        """Changes how an alarm looks at its metric; returns the way back."""
        known = self.cloudwatch.meta.service_model.operation_model("PutMetricAlarm").input_shape.members
        before = {name: value for name, value in self.alarm(title).items() if name in known}
        self.cloudwatch.put_metric_alarm(**before | settings)
        return lambda: self.cloudwatch.put_metric_alarm(**before)

    def policy(self, role):
        """The one inline policy of a role: how it is addressed, and the document."""
        address = {"RoleName": self.physical(role)}
        [name] = self.iam.list_role_policies(**address)["PolicyNames"]
        address |= {"PolicyName": name}
        return address, self.iam.get_role_policy(**address)["PolicyDocument"]

    def rights(self, role):
        """The statements of a role's policy, split so that each has one action and one resource."""
        return [
            statement | {"Action": action, "Resource": resource}
            for statement in self.policy(role)[1]["Statement"]
            for action in listed(statement["Action"])
            for resource in listed(statement["Resource"])
        ]

    @contextlib.contextmanager
    def without(self, role, *actions, right=None):
        """Takes actions, or one right, away from a role for a while."""
        address, before = self.policy(role)
        left = [each for each in self.rights(role) if each != right and each["Action"] not in actions]
        self.iam.put_role_policy(**address, PolicyDocument=json.dumps(before | {"Statement": left}))
        try:
            yield
        finally:
            self.iam.put_role_policy(**address, PolicyDocument=json.dumps(before))


def listed(value):
    return value if isinstance(value, list) else [value]


def wait_until(condition, seconds, what):
    """Returns the first true value, or fails."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.1)
    return value


def token_file(token=TOKEN):
    folder = Path(tempfile.mkdtemp())
    (folder / "token").write_text(token)
    return str(folder / "token")
