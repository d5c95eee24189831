"""The template: who may do what, what stands in clear, what rings and on what."""

import json
import re
import subprocess
import unittest

from metric_filter import matches
from template import ROOT, of_type, target, transformed

TABLE_ACTIONS = {"dynamodb:PutItem", "dynamodb:DeleteItem", "dynamodb:Query"}
LOG_ACTIONS = {"logs:CreateLogStream", "logs:PutLogEvents"}
TRACE = {(action, "*") for action in ("xray:PutTraceSegments", "xray:PutTelemetryRecords")}


def rights(table, log, queue, queue_actions):
    on = lambda resource, actions: {(action, resource) for action in actions}
    return on(table, TABLE_ACTIONS) | on(log, LOG_ACTIONS) | on(queue, queue_actions) | TRACE


RIGHTS = {
    "Webhook": rights("Table", "WebhookLog", "RetryQueue", {"sqs:SendMessage"}),
    "Redrive": rights(
        "Table", "RedriveLog", "RetryQueue", {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
    ),
}

# AWS's own metrics that the template may use: their dimension, and the type that it names.
AWS_METRICS = {
    "AWS/ApiGateway": ({"5xx", "Latency"}, "ApiId", "AWS::ApiGatewayV2::Api"),
    "AWS/DynamoDB": ({"WriteThrottleEvents"}, "TableName", "AWS::DynamoDB::Table"),
    "AWS/Lambda": ({"Errors", "Throttles"}, "FunctionName", "AWS::Lambda::Function"),
    "AWS/SQS": (
        {"ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesVisible", "NumberOfMessagesSent"},
        "QueueName",
        "AWS::SQS::Queue",
    ),
}

# Each way to lose an event, and what rings for it.
ALARMS = {
    ("Callbacks", "lost"),
    ("ApproximateNumberOfMessagesVisible", "DeadLetterQueue"),
    ("ApproximateAgeOfOldestMessage", "RetryQueue"),
    ("Refused", None),
    ("Throttled", None),
    ("5xx", "HttpApi"),
    ("Latency", "HttpApi"),
    ("Errors", "Webhook"),
    ("Throttles", "Webhook"),
    ("Errors", "Redrive"),
    ("WriteThrottleEvents", "Table"),
}

# What the access log may hold of a request. Not the query string: it carries Sign.
ACCESS_LOG_VARIABLES = {
    "error.message",
    "httpMethod",
    "identity.sourceIp",
    "integrationErrorMessage",
    "integrationLatency",
    "path",
    "requestId",
    "requestTime",
    "responseLatency",
    "status",
}


def as_list(value):
    return value if isinstance(value, list) else [value]


class Template(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.template = transformed()

    def of_type(self, kind):
        return of_type(self.template, kind)

    def test_each_function_may_do_exactly_what_it_does(self):
        roles = self.of_type("AWS::IAM::Role")
        functions = self.of_type("AWS::Lambda::Function")
        self.assertEqual(set(functions), set(RIGHTS))
        self.assertEqual({target(function["Role"]) for function in functions.values()}, set(roles))
        for name, function in functions.items():
            role = roles[target(function["Role"])]
            self.assertNotIn("ManagedPolicyArns", role)
            trusted = role["AssumeRolePolicyDocument"]["Statement"]
            self.assertEqual([statement["Principal"] for statement in trusted], [{"Service": "lambda.amazonaws.com"}])
            granted = set()
            for policy in role["Policies"]:
                for statement in policy["PolicyDocument"]["Statement"]:
                    self.assertEqual(set(statement), {"Effect", "Action", "Resource"})
                    for resource in as_list(statement["Resource"]):
                        resource = resource if isinstance(resource, str) else target(resource)
                        granted |= {(action, resource) for action in as_list(statement["Action"])}
            self.assertEqual(granted, RIGHTS[name])
        others = {"AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::Lambda::Url", "AWS::SQS::QueuePolicy"}
        self.assertFalse([kind for kind in others if self.of_type(kind)])

    def test_only_the_gateway_may_call_the_webhook(self):
        permissions = self.of_type("AWS::Lambda::Permission").values()
        self.assertEqual(
            [(target(p["FunctionName"]), p["Principal"]) for p in permissions],
            [("Webhook", "apigateway.amazonaws.com")],
        )

    def test_no_secret_stands_in_clear(self):
        for name, function in self.of_type("AWS::Lambda::Function").items():
            for variable, value in function["Environment"]["Variables"].items():
                self.assertTrue(value == "" or isinstance(value, dict), f"{name}: {variable} is spelled out")
        webhook = self.of_type("AWS::Lambda::Function")["Webhook"]["Environment"]["Variables"]
        self.assertEqual(
            webhook["CALLBACK_TOKENS"], {"Fn::Sub": "{{resolve:secretsmanager:${CallbackTokenSecret}}}"}
        )
        uses = re.findall(r"(?:Ref\": \"|\$\{)(CallbackTokenSecret)\b", json.dumps(self.template))
        self.assertEqual(len(uses), 1, "the secret is used where it is not needed")
        self.assertNotIn("Default", self.template["Parameters"]["CallbackTokenSecret"])
        self.assertIsNone(
            re.fullmatch(self.template["Parameters"]["CallbackTokenSecret"]["AllowedPattern"], "old new")
        )
        for path in ("template.yaml", "samconfig.toml", "Makefile"):
            self.assertNotIn("xxxxyyyy", (ROOT / path).read_text())

    def test_the_access_log_never_holds_the_query_string(self):
        stages = list(self.of_type("AWS::ApiGatewayV2::Stage").values())
        self.assertEqual(len(stages), 1)
        access_log = stages[0]["AccessLogSettings"]
        self.assertEqual(target(access_log["DestinationArn"]), "AccessLog")
        variables = re.findall(r"\$context\.([\w.]+)", access_log["Format"])
        self.assertEqual(set(variables), ACCESS_LOG_VARIABLES)
        json.loads(access_log["Format"])
        self.assertEqual(stages[0]["DefaultRouteSettings"]["ThrottlingRateLimit"], {"Ref": "ThrottleRate"})
        self.assertEqual(stages[0]["DefaultRouteSettings"]["ThrottlingBurstLimit"], {"Ref": "ThrottleBurst"})

    def test_the_queue_waits_for_its_function_and_keeps_what_fails(self):
        queues = self.of_type("AWS::SQS::Queue")
        functions = self.of_type("AWS::Lambda::Function")
        retry = queues["RetryQueue"]
        self.assertGreaterEqual(retry["VisibilityTimeout"], 6 * functions["Redrive"]["Timeout"])
        self.assertEqual(target(retry["RedrivePolicy"]["deadLetterTargetArn"]), "DeadLetterQueue")
        self.assertEqual(retry["RedrivePolicy"]["maxReceiveCount"], 10)
        self.assertEqual(queues["DeadLetterQueue"]["MessageRetentionPeriod"], 14 * 24 * 3600)
        self.assertTrue(all(queue["SqsManagedSseEnabled"] for queue in queues.values()))
        mapping = self.of_type("AWS::Lambda::EventSourceMapping")["RedriveRetry"]
        self.assertEqual(target(mapping["EventSourceArn"]), "RetryQueue")
        self.assertEqual(mapping["FunctionResponseTypes"], ["ReportBatchItemFailures"])

    def test_the_table_outlives_the_stack(self):
        table = self.template["Resources"]["Table"]
        self.assertEqual((table["DeletionPolicy"], table["UpdateReplacePolicy"]), ("Retain", "Retain"))
        properties = table["Properties"]
        self.assertEqual(properties["BillingMode"], "PAY_PER_REQUEST")
        self.assertTrue(properties["DeletionProtectionEnabled"])
        self.assertTrue(properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"])
        self.assertTrue(properties["SSESpecification"]["SSEEnabled"])

    def test_every_function_logs_to_a_group_with_retention_and_traces(self):
        groups = self.of_type("AWS::Logs::LogGroup")
        for name, function in self.of_type("AWS::Lambda::Function").items():
            self.assertEqual(target(function["LoggingConfig"]["LogGroup"]), f"{name}Log")
            self.assertEqual(function["TracingConfig"], {"Mode": "Active"})
            self.assertEqual(function["Architectures"], [{"Ref": "Architecture"}])
        self.assertEqual({str(group["RetentionInDays"]) for group in groups.values()}, {"{'Ref': 'LogRetentionDays'}"})

    def test_what_can_carry_a_tag_carries_one(self):
        untagged = {"AWS::SNS::Subscription", "AWS::Logs::MetricFilter", "AWS::CloudWatch::Dashboard"}
        untagged |= {"AWS::Lambda::Permission", "AWS::Lambda::EventSourceMapping"}
        for name, resource in self.template["Resources"].items():
            if resource["Type"] not in untagged:
                properties = resource["Properties"]
                # An HTTP API's stand in its OpenAPI document.
                tags = properties.get("Tags") or properties.get("Body", {}).get("tags")
                self.assertIn("application", json.dumps(tags), name)

    def test_every_alarm_has_an_action_a_live_metric_and_a_sentence(self):
        alarms = self.of_type("AWS::CloudWatch::Alarm")
        seen = set()
        for name, alarm in alarms.items():
            with self.subTest(name):
                self.assertEqual([target(action) for action in alarm["AlarmActions"]], ["AlarmTopic"])
                self.assertGreater(len(alarm["AlarmDescription"].split()), 10)
                metrics = [m["MetricStat"]["Metric"] for m in alarm.get("Metrics", []) if "MetricStat" in m] or [alarm]
                for metric in metrics:
                    dimensions = {d["Name"]: d["Value"] for d in metric.get("Dimensions", [])}
                    seen.add(self.live(metric["Namespace"], metric["MetricName"], dimensions))
        self.assertEqual(seen, ALARMS)
        topics = self.of_type("AWS::SNS::Topic")
        self.assertEqual(set(topics), {"AlarmTopic"})
        subscription = self.template["Resources"]["AlarmSubscription"]
        self.assertEqual(target(subscription["Properties"]["TopicArn"]), "AlarmTopic")

    def test_every_number_on_the_dashboard_has_a_live_metric(self):
        body = self.of_type("AWS::CloudWatch::Dashboard")["Dashboard"]["DashboardBody"]["Fn::Sub"]
        widgets = json.loads(body)["widgets"]
        shown = set()
        for widget in widgets:
            properties = widget["properties"]
            if widget["type"] == "alarm":
                alarms = {re.fullmatch(r"\$\{(\w+)\.Arn\}", arn).group(1) for arn in properties["alarms"]}
                self.assertEqual(alarms, set(self.of_type("AWS::CloudWatch::Alarm")))
                continue
            for namespace, metric, *rest in properties["metrics"]:
                pairs = [part for part in rest if isinstance(part, str)]
                dimensions = {name: self.substituted(value) for name, value in zip(pairs[::2], pairs[1::2])}
                namespace = {"Ref": "AWS::StackName"} if namespace == "${AWS::StackName}" else namespace
                shown.add(self.live(namespace, metric, dimensions)[0])
        self.assertGreaterEqual(shown, {metric for metric, _ in ALARMS} | {"Duration", "ColdStarts", "Redriven"})

    def substituted(self, value):
        found = re.fullmatch(r"\$\{(\w+)(\.QueueName)?\}", value)
        if not found:
            return value
        return {"Fn::GetAtt": [found.group(1), "QueueName"]} if found.group(2) else {"Ref": found.group(1)}

    def live(self, namespace, metric, dimensions):
        """Checks that something writes this metric; returns its name and what it is about."""
        if namespace == {"Ref": "AWS::StackName"}:
            return self.live_filter(metric, dimensions)
        known, dimension, kind = AWS_METRICS[namespace]
        self.assertIn(metric, known)
        resource = target(dimensions.pop(dimension))
        self.assertIn(resource, self.of_type(kind))
        if dimensions:
            indexes = self.of_type(kind)[resource]["GlobalSecondaryIndexes"]
            self.assertEqual(dimensions, {"GlobalSecondaryIndexName": indexes[0]["IndexName"]})
        return metric, resource

    def live_filter(self, metric, dimensions):
        writers = [
            properties
            for properties in self.of_type("AWS::Logs::MetricFilter").values()
            if properties["MetricTransformations"][0]["MetricName"] == metric
        ]
        self.assertEqual(len(writers), 1, f"{metric} has no filter, or several")
        writer, transformation = writers[0], writers[0]["MetricTransformations"][0]
        self.assertEqual(transformation["MetricNamespace"], {"Ref": "AWS::StackName"})
        self.assertIn(target(writer["LogGroupName"]), self.of_type("AWS::Logs::LogGroup"))
        self.assertEqual({d["Key"] for d in transformation.get("Dimensions", [])}, set(dimensions))
        return metric, dimensions.get("outcome")

    def test_a_throttled_request_is_counted_from_the_access_log(self):
        log_format = next(iter(self.of_type("AWS::ApiGatewayV2::Stage").values()))["AccessLogSettings"]["Format"]
        pattern = self.of_type("AWS::Logs::MetricFilter")["ThrottledMetric"]["FilterPattern"]
        for status, counted in [("429", True), ("200", False)]:
            line = json.loads(log_format.replace("$context.status", status))
            self.assertEqual(matches(pattern, line), counted)

    def test_the_tools_find_nothing_wrong(self):
        tools = ROOT / ".tools"
        for command in [
            [tools / "aws/bin/sam", "validate", "--lint", "--region", "eu-west-1"],
            [tools / "aws/bin/cfn-lint", "template.yaml"],
            [tools / "checkov/bin/checkov", "--config-file", ".checkov.yaml"],
        ]:
            with self.subTest(command[0].name):
                ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
                self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)


