"""`chat-groups status`, `set` and `rotate`, against an emulator of CloudFormation, Secrets Manager, CloudWatch, Logs, SNS
and SQS."""

import json
import os
import re
import runpy
import subprocess
import sys
import time
import unittest
from datetime import datetime, timedelta, timezone
from unittest import mock

import boto3
import requests
from botocore.stub import Stubber
from moto.server import ThreadedMotoServer
from services import CREDENTIALS
from template import PROGRAM, ROOT

sys.path.insert(0, str(ROOT / "tools"))
import update  # noqa: E402

OLD = "the-old-token"
QUEUES = ["RetryQueue", "ForwardQueue", "DeadLetterQueue", "ForwardDeadLetterQueue"]
LOGS = ["WebhookLogGroup", "ReconcileLogGroup"]
PARAMETERS = {"LogRetentionDays": "30", "DeployedAt": "1", "Architecture": "x86_64", "ChatSecretKeyArn": "arn:aws:…"}


def template(parameters):
    """A stack with as much as these commands read of one; its topic has the name that a parameter gives."""
    resources = {name: {"Type": "AWS::SQS::Queue"} for name in QUEUES}
    resources["Deployed"] = {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": {"Ref": "DeployedAt"}}}
    resources["AlarmTopic"] = {"Type": "AWS::SNS::Topic"}
    outputs = {f"{name}Url": {"Ref": name} for name in QUEUES}
    # The emulator forgets the names of log groups when it updates a stack.
    outputs |= {name: name for name in LOGS}
    outputs |= {"AlarmTopicArn": {"Ref": "AlarmTopic"}, "Commit": "c0ffee"}
    return {
        "Parameters": {name: {"Type": "String"} for name in parameters},
        "Resources": resources,
        "Outputs": {name: {"Value": value} for name, value in outputs.items()},
    }


class Operate(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        cls.addClassCleanup(server.stop)
        cls.endpoint = "http://{}:{}".format(*server.get_host_and_port())

    def setUp(self):
        self.stack = self.id().rsplit(".", 1)[1].replace("_", "-")[:60]
        requests.post(f"{self.endpoint}/moto-api/reset")
        parameters = PARAMETERS | {"CallbackTokenSecret": self.stack}
        self.client("secretsmanager").create_secret(Name=self.stack, SecretString=OLD)
        for name in LOGS:
            self.client("logs").create_log_group(logGroupName=name)
        self.client("cloudformation").create_stack(
            StackName=self.stack,
            TemplateBody=json.dumps(template(parameters)),
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        )

    def client(self, service):
        return boto3.client(service, endpoint_url=self.endpoint, **CREDENTIALS)

    def environment(self):
        return os.environ | {
            "STACK_NAME": self.stack,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": CREDENTIALS["region_name"],
            "AWS_DEFAULT_REGION": CREDENTIALS["region_name"],
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }

    def run_program(self, *args, typed=""):
        ran = subprocess.run([PROGRAM, *args], env=self.environment(), input=typed, capture_output=True, text=True)
        return ran.returncode, ran.stdout + ran.stderr

    def described(self):
        return self.client("cloudformation").describe_stacks(StackName=self.stack)["Stacks"][0]

    def parameters(self):
        return {entry["ParameterKey"]: entry["ParameterValue"] for entry in self.described()["Parameters"]}

    def output(self, name):
        return next(entry["OutputValue"] for entry in self.described()["Outputs"] if entry["OutputKey"] == name)

    def log(self, group, *lines):
        client = self.client("logs")
        stream = f"s{time.time_ns()}"
        client.create_log_stream(logGroupName=group, logStreamName=stream)
        events = [{"timestamp": int(time.time() * 1000), "message": json.dumps(line)} for line in lines]
        client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)

    def tokens(self, label="AWSCURRENT"):
        client = self.client("secretsmanager")
        try:
            return client.get_secret_value(SecretId=self.stack, VersionStage=label)["SecretString"].split()
        except client.exceptions.ResourceNotFoundException:
            return []


class Set(Operate):
    def test_without_a_change_nothing_is_deployed(self):
        code, said = self.run_program("set", "LogRetentionDays=30")
        self.assertEqual((code, said), (0, "the stack has these values already\n"))
        self.assertEqual(self.parameters()["DeployedAt"], "1")

    def test_without_a_name_the_parameters_are_shown(self):
        code, said = self.run_program("set")
        self.assertEqual(code, 0, said)
        self.assertIn("LogRetentionDays=30\n", said)

    def test_what_the_template_does_not_take_is_refused(self):
        for pair, expected in {
            "LogRetention=14": "LogRetention: expected one of .*LogRetentionDays",
            "Architecture=arm64": "Architecture: expected another parameter",
            "LogRetentionDays": "expected Name=value",
        }.items():
            code, said = self.run_program("set", pair)
            self.assertEqual(code, 1)
            self.assertRegex(said, f"^error: {expected}")
        self.assertEqual(self.parameters()["DeployedAt"], "1")

    def test_a_stack_that_is_not_there_is_named(self):
        code, said = self.run_program("set", "--stack-name", "elsewhere", "LogRetentionDays=14")
        self.assertEqual((code, said), (1, "error: there is no stack elsewhere in this account and region\n"))


class Failure(unittest.TestCase):
    def test_an_update_that_failed_says_why(self):
        at = datetime.now(timezone.utc)

        def event(name, status, reason, minutes=0):
            return {
                "StackId": "a", "EventId": name, "StackName": "a", "Timestamp": at - timedelta(minutes=minutes),
                "LogicalResourceId": name, "ResourceStatus": status, "ResourceStatusReason": reason,
            }

        newest_first = [
            event("a", "UPDATE_ROLLBACK_IN_PROGRESS", "The following resources failed"),
            event("Redrive", "UPDATE_FAILED", "Resource update cancelled"),
            event("Webhook", "UPDATE_FAILED", "no such secret"),
            event("Table", "CREATE_FAILED", "long ago", minutes=10),
        ]
        client = boto3.client("cloudformation", **CREDENTIALS)
        with Stubber(client) as stubber:
            stubber.add_response("describe_stack_events", {"StackEvents": newest_first})
            found = update.failures(client, at - timedelta(minutes=1))
        self.assertEqual(found, ["Webhook: no such secret", "Redrive: Resource update cancelled"])


class Rotate(Operate):
    def rotate(self, enters, wait=0):
        """Presses Enter so often, and then stops."""
        return self.run_program("rotate", "--wait", str(wait), typed="\n" * enters)

    def new_token(self, said):
        return re.search(r"^    ([0-9a-f]{64})$", said, re.MULTILINE).group(1)

    def deployments(self):
        return self.parameters()["DeployedAt"] != "1"

    def test_the_new_token_is_shown_before_anything_is_deployed(self):
        code, said = self.rotate(0)
        self.assertEqual(code, 1)
        self.assertIn("run this again to go on", said)
        new = self.new_token(said)
        self.assertEqual((self.tokens(), self.tokens("AWSPENDING")), ([OLD], [OLD, new]))
        self.assertFalse(self.deployments())
        # The next run goes on with the same token: the receiver may have it by now.
        self.assertEqual(self.new_token(self.rotate(0)[1]), new)

    def test_both_are_deployed_until_a_callback_is_signed_with_the_new_one(self):
        code, said = self.rotate(2)
        new = self.new_token(said)
        self.assertEqual(code, 1)
        self.assertIn("none has come. Both tokens are accepted", said)
        self.assertEqual(self.tokens(), [OLD, new])
        self.assertTrue(self.deployments())

        # It goes on at the console, and a callback that the old one signed is none of those it waits for.
        self.log("WebhookLogGroup", {"outcome": "stored", "token": "last"}, {"outcome": "stored", "token": "first"})
        code, said = self.rotate(1)
        self.assertEqual((code, self.tokens()), (1, [OLD, new]), said)
        self.assertNotIn("1. The new token", said)

    def test_a_rotation_whose_last_deployment_is_missing_is_finished(self):
        self.rotate(1)
        both = self.tokens()
        secrets = self.client("secretsmanager")
        secrets.put_secret_value(SecretId=self.stack, SecretString=both[1], VersionStages=["AWSCURRENT"])
        code, said = self.rotate(0)
        self.assertEqual(code, 0, said)
        self.assertEqual((self.tokens(), self.tokens("AWSPENDING")), (both[1:], []))

    def test_two_tokens_that_were_set_by_hand_are_gone_on_with(self):
        self.client("secretsmanager").put_secret_value(SecretId=self.stack, SecretString="one two")
        code, said = self.rotate(0)
        self.assertEqual(code, 1)
        self.assertIn("3. Enter the new token in the Chat console, in place of the old one:\n\n    two\n", said)
        self.assertEqual((self.tokens(), self.tokens("AWSPENDING")), (["one", "two"],) * 2)


class Status(Operate):
    def status(self):
        code, said = self.run_program("status")
        self.assertEqual(code, 0, said)
        return said

    def test_a_new_deployment(self):
        said = self.status()
        self.assertRegex(said, rf"stack +{self.stack}: CREATE_COMPLETE, commit c0ffee, 20.* ago\)")
        self.assertRegex(said, r"callbacks +last: none for a day\n +last hour: none")
        self.assertRegex(said, "queues +retry 0, forward 0, dead letters 0, dead letters of forward 0")
        self.assertRegex(said, "reconcile +no pass has finished for two days")
        self.assertRegex(said, "alarms +none are deployed")
        self.assertRegex(said, "alarm mail +nobody is told")
        # The emulator does not know what this one asks: one line is unknown, and the others are not.
        self.assertRegex(said, "concurrency +unknown: ")

    def test_mail_that_was_not_confirmed_and_concurrency_that_is_left(self):
        # No emulator answers so; botocore checks the answers against AWS's own model.
        pending = {"SubscriptionArn": "PendingConfirmation", "Protocol": "email", "Endpoint": "new@example.com"}
        known = {"SubscriptionArn": "arn:aws:sns:eu-west-1:1:topic:1", "Protocol": "email", "Endpoint": "me@example.com"}
        answer = {"Subscriptions": [pending, known]}
        said = self.line("alarm_mail", {"AlarmTopicArn": "arn"}, "sns", "list_subscriptions_by_topic", answer)
        expected = "new@example.com: NOT CONFIRMED: it gets no mail\nme@example.com: confirmed"
        self.assertEqual(said, expected)
        answer = {"AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 800}}
        said = self.line("concurrency", None, "lambda", "get_account_settings", answer)
        self.assertEqual(said, "800 of the account's 1000 are not reserved")

    def line(self, name, outputs, service, operation, answer):
        """A line of status, made of a scripted answer."""
        client = boto3.client(service, **CREDENTIALS)
        with Stubber(client) as stubber, mock.patch.object(boto3, "client", lambda _: client):
            stubber.add_response(operation, answer)
            program = runpy.run_path(str(ROOT / "tools/status"))
            return program[name](outputs) if outputs else program[name]()

    def test_a_deployment_in_trouble(self):
        now = datetime.now(timezone.utc)
        metrics = [
            {"MetricName": "Callbacks", "Dimensions": [{"Name": "outcome", "Value": outcome}], "Value": value, "Timestamp": at}
            for outcome, value, at in [
                ("stored", 5, now - timedelta(minutes=2)),
                ("stored", 7, now - timedelta(hours=3)),
                ("lost", 1, now - timedelta(minutes=10)),
                ("rejected", 2, now),
            ]
        ]
        cloudwatch = self.client("cloudwatch")
        cloudwatch.put_metric_data(Namespace=self.stack, MetricData=metrics)
        condition = {"ComparisonOperator": "GreaterThanThreshold", "EvaluationPeriods": 1, "Threshold": 1}
        watched = {"Namespace": self.stack, "MetricName": "Callbacks", "Period": 60, "Statistic": "Sum"}
        for name in ("lost an event", "is quiet"):
            cloudwatch.put_metric_alarm(AlarmName=f"{self.stack} {name}", **condition, **watched)
        cloudwatch.set_alarm_state(AlarmName=f"{self.stack} lost an event", StateValue="ALARM", StateReason="a test")
        self.client("sqs").send_message(QueueUrl=self.output("DeadLetterQueueUrl"), MessageBody="{}")
        self.client("sns").subscribe(TopicArn=self.output("AlarmTopicArn"), Protocol="email", Endpoint="me@example.com")
        done = {"outcome": "reconciled", "finished": True, "dry_run": False, "named": False, "skipped": 3, "groups_added": 2}
        at = (now - timedelta(hours=5)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        self.log("ReconcileLogGroup", done | {"timestamp": at}, done | {"dry_run": True}, {"outcome": "corrected"})
        said = self.status()
        self.assertRegex(said, r"callbacks +last: 20.*\([23] min ago\)\n +last hour: stored 5, rejected 2, lost 1\n")
        self.assertIn("dead letters 1", said)
        self.assertRegex(said, r"reconcile +last pass: 20.*\(5 h ago\), skipped 3, drift: groups added 2\n")
        self.assertRegex(said, rf"alarms +{self.stack} lost an event: 20.* ago\)\n")
        self.assertNotIn("is quiet", said)
        self.assertIn("me@example.com: ", said)


if __name__ == "__main__":
    unittest.main()
