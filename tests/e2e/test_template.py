"""The template: who may do what, what stands in clear, what rings and on what."""

import json
import re
import subprocess
import unittest

from metric_filter import matches
from template import ROOT, of_type, target, transformed

WRITE_ACTIONS = {f"dynamodb:{action}" for action in ("GetItem", "PartiQLInsert", "PutItem", "Query")}
LOG_ACTIONS = {"logs:CreateLogStream", "logs:PutLogEvents"}
READ_QUEUE = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
SECRET = "ChatSecretKeyArn"


def rights(log, table, *others):
    granted = {(action, log) for action in LOG_ACTIONS} | {(action, "Table") for action in table}
    for actions, *resources in others:
        granted |= {(action, resource) for action in actions for resource in resources}
    return granted


RIGHTS = {
    "Webhook": rights("WebhookLog", WRITE_ACTIONS, ({"sqs:SendMessage"}, "RetryQueue", "ForwardQueue")),
    "Redrive": rights(
        "RedriveLog", WRITE_ACTIONS | {"dynamodb:DeleteItem"}, (READ_QUEUE, "RetryQueue", "ForwardQueue")
    ),
    "Reconcile": rights(
        "ReconcileLog",
        WRITE_ACTIONS | {f"dynamodb:{action}" for action in ("BatchGetItem", "DeleteItem", "Scan", "UpdateItem")},
        ({"secretsmanager:GetSecretValue"}, SECRET),
    ),
}

# AWS's own metrics that the template may use: their dimension, and the type that it names.
AWS_METRICS = {
    "AWS/ApiGateway": ({"4xx", "5xx", "Latency"}, "ApiId", "AWS::ApiGatewayV2::Api"),
    "AWS/DynamoDB": ({"WriteThrottleEvents"}, "TableName", "AWS::DynamoDB::Table"),
    "AWS/Lambda": ({"Errors", "Throttles"}, "FunctionName", "AWS::Lambda::Function"),
    "AWS/SQS": (
        {"ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesVisible", "NumberOfMessagesSent"},
        "QueueName",
        "AWS::SQS::Queue",
    ),
}

# Each way to lose an event or a decision, or to miss one, and what rings for it.
ALARMS = {
    "Lost": {("Callbacks", "lost")},
    "Unreadable": {("Unreadable", None)},
    "Undecided": {("Callbacks", "undecided")},
    "ForwardLate": {("Forwards", "queued")},
    "Refused": {("Refused", None)},
    "TurnedAway": {("4xx", "HttpApi"), ("Callbacks", "rejected")},
    "ServerErrors": {("5xx", "HttpApi"), ("Callbacks", "lost"), ("Callbacks", "undecided")},
    "SlowAnswers": {("Latency", "HttpApi")},
    "WebhookErrors": {("Errors", "Webhook")},
    "WebhookThrottles": {("Throttles", "Webhook")},
    "RedriveErrors": {("Errors", "Redrive")},
    "RedriveFailed": {("Redriven", "failed")},
    "Unread": {("ApproximateAgeOfOldestMessage", queue) for queue in ("RetryQueue", "ForwardQueue")},
    "DeadLetters": {("ApproximateNumberOfMessagesVisible", "DeadLetterQueue")},
    "ForwardDeadLetters": {("ApproximateNumberOfMessagesVisible", "ForwardDeadLetterQueue")},
    "WriteThrottles": {("WriteThrottleEvents", "Table")},
    "ReconcileErrors": {("Errors", "Reconcile")},
    "ReconcileFailed": {("Reconciles", "failed")},
    "ReconcileUnfinished": {("Finished", None)},
}

# What stands on the dashboard beside the alarms' metrics.
SHOWN = {"Duration", "ColdStarts", "GroupsAdded", "GroupsChanged", "GroupsDestroyed", "NumberOfMessagesSent"}
SHOWN |= {"MembersAdded", "MembersRemoved", "MembersChanged", "Skipped"}

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
                    if "Fn::If" in statement:
                        condition, statement, other = statement["Fn::If"]
                        self.assertEqual((condition, other), ("Reconciles", {"Ref": "AWS::NoValue"}))
                    self.assertEqual(set(statement), {"Effect", "Action", "Resource"})
                    for resource in as_list(statement["Resource"]):
                        resource = resource if isinstance(resource, str) else target(resource)
                        granted |= {(action, resource) for action in as_list(statement["Action"])}
            self.assertEqual(granted, RIGHTS[name])
        others = {"AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::Lambda::Url", "AWS::SQS::QueuePolicy"}
        self.assertFalse([kind for kind in others if self.of_type(kind)])

    def test_only_the_gateway_and_the_schedule_may_call_a_function(self):
        permissions = self.of_type("AWS::Lambda::Permission").values()
        self.assertEqual(
            {(target(p["FunctionName"]), p["Principal"]) for p in permissions},
            {("Webhook", "apigateway.amazonaws.com"), ("Reconcile", "events.amazonaws.com")},
        )

    def test_no_secret_stands_in_clear(self):
        for name, function in self.of_type("AWS::Lambda::Function").items():
            for variable, value in function["Environment"]["Variables"].items():
                self.assertTrue(value == "" or isinstance(value, dict), f"{name}: {variable} is spelled out")
        for name in ("Webhook", "Redrive"):
            variables = self.of_type("AWS::Lambda::Function")[name]["Environment"]["Variables"]
            tokens = {"Fn::Sub": "{{resolve:secretsmanager:${CallbackTokenSecret}}}"}
            self.assertEqual(variables["CALLBACK_TOKENS"], tokens)
            # Otherwise the secret would not be read again.
            self.assertEqual(variables["DEPLOYED_AT"], {"Ref": "DeployedAt"})
        uses = re.findall(r"(?:Ref\": \"|\$\{)(CallbackTokenSecret)\b", json.dumps(self.template))
        self.assertEqual(len(uses), 2, "the secret is used where it is not needed")
        self.assertNotIn("Default", self.template["Parameters"]["CallbackTokenSecret"])
        self.assertIsNone(
            re.fullmatch(self.template["Parameters"]["CallbackTokenSecret"]["AllowedPattern"], "old new")
        )
        # The secret key signs as any user: a function's configuration holds the secret's name, never the key.
        reconcile = self.of_type("AWS::Lambda::Function")["Reconcile"]["Environment"]["Variables"]
        self.assertEqual(reconcile["CHAT_SECRET_KEY_ID"], {"Ref": SECRET})
        self.assertNotIn("CHAT_SECRET_KEY", reconcile)
        self.assertNotRegex(json.dumps(self.template), r"resolve:[^}]*ChatSecretKey")
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

    def test_the_queues_wait_for_their_function_and_keep_what_fails(self):
        queues = self.of_type("AWS::SQS::Queue")
        functions = self.of_type("AWS::Lambda::Function")
        dead_letter_queues = set()
        for name in ("RetryQueue", "ForwardQueue"):
            queue = queues[name]
            self.assertGreaterEqual(queue["VisibilityTimeout"], 6 * functions["Redrive"]["Timeout"])
            # The answer of `webhook` leaves within 1.5 s.
            self.assertGreaterEqual(queue["DelaySeconds"], 2)
            hours = queue["RedrivePolicy"]["maxReceiveCount"] * queue["VisibilityTimeout"] / 3600
            self.assertGreaterEqual(hours, 12)
            self.assertLess(hours * 3600, queue["MessageRetentionPeriod"])
            dead_letter_queues.add(target(queue["RedrivePolicy"]["deadLetterTargetArn"]))
            mapping = self.of_type("AWS::Lambda::EventSourceMapping")["Redrive" + name.removesuffix("Queue")]
            self.assertEqual((target(mapping["EventSourceArn"]), target(mapping["FunctionName"])), (name, "Redrive"))
            self.assertEqual(mapping["FunctionResponseTypes"], ["ReportBatchItemFailures"])
            self.assertLessEqual(mapping["ScalingConfig"]["MaximumConcurrency"], 5)
        self.assertEqual(dead_letter_queues, {"DeadLetterQueue", "ForwardDeadLetterQueue"})
        for queue in queues.values():
            self.assertTrue(queue["SqsManagedSseEnabled"])
            self.assertEqual(queue["MessageRetentionPeriod"], 14 * 24 * 3600)
            # A body of 512 KiB in base64, with room for the rest of the message.
            self.assertGreater(queue["MaximumMessageSize"], 512 * 1024 * 4 / 3 + 65_536)

    def test_what_is_passed_on_has_a_url_and_a_queue_of_its_own(self):
        variables = {
            name: function["Environment"]["Variables"] for name, function in self.of_type("AWS::Lambda::Function").items()
        }
        for name in ("Webhook", "Redrive"):
            self.assertEqual(variables[name]["FORWARD_URL"], {"Ref": "ForwardUrl"})
        self.assertEqual(target(variables["Webhook"]["FORWARD_QUEUE_URL"]), "ForwardQueue")
        self.assertEqual(target(variables["Webhook"]["RETRY_QUEUE_URL"]), "RetryQueue")
        parameter = self.template["Parameters"]["ForwardUrl"]
        for url, taken in [("", True), ("https://example.com/hook?a=b", True), ("http://example.com", False)]:
            self.assertEqual(bool(re.fullmatch(parameter["AllowedPattern"], url)), taken, url)

    def test_reconcile_runs_on_a_schedule_once_a_secret_is_named(self):
        function = self.of_type("AWS::Lambda::Function")["Reconcile"]
        self.assertEqual(function["Timeout"], 900)
        rules = list(self.of_type("AWS::Events::Rule").values())
        self.assertEqual(len(rules), 1)
        self.assertEqual(rules[0]["State"], {"Fn::If": ["Reconciles", "ENABLED", "DISABLED"]})
        self.assertEqual(rules[0]["ScheduleExpression"], {"Ref": "ReconcileSchedule"})
        self.assertEqual(self.template["Parameters"]["ReconcileSchedule"]["Default"], "rate(1 day)")
        named = {"Fn::Not": [{"Fn::Equals": [{"Ref": SECRET}, ""]}]}
        self.assertEqual(self.template["Conditions"]["Reconciles"], named)
        self.assertEqual(self.template["Rules"]["ReconcileNeedsChatsApi"]["RuleCondition"], named)
        invocation = list(self.of_type("AWS::Lambda::EventInvokeConfig").values())
        self.assertEqual([config["MaximumRetryAttempts"] for config in invocation], [0])
        arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:chat-groups/key"
        pattern = self.template["Parameters"][SECRET]["AllowedPattern"]
        for text, taken in [("", True), (f"{arn}-AbCd12", True), (arn, False), ("chat-groups/key", False)]:
            self.assertEqual(bool(re.fullmatch(pattern, text)), taken, text)

    def test_the_table_outlives_the_stack(self):
        table = self.template["Resources"]["Table"]
        self.assertEqual((table["DeletionPolicy"], table["UpdateReplacePolicy"]), ("Retain", "Retain"))
        properties = table["Properties"]
        self.assertEqual(properties["BillingMode"], "PAY_PER_REQUEST")
        self.assertTrue(properties["DeletionProtectionEnabled"])
        self.assertTrue(properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"])
        self.assertTrue(properties["SSESpecification"]["SSEEnabled"])

    def test_the_table_is_the_contracts(self):
        table = self.of_type("AWS::DynamoDB::Table")["Table"]
        index = table["GlobalSecondaryIndexes"][0]
        self.assertEqual(index["IndexName"], "by_account")
        self.assertEqual([key["AttributeName"] for key in index["KeySchema"]], ["account_key", "pk"])
        projected = {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["event_time", "role"]}
        self.assertEqual(index["Projection"], projected)
        self.assertEqual(table["TimeToLiveSpecification"], {"AttributeName": "expires_at", "Enabled": True})
        self.assertEqual(table["StreamSpecification"], {"StreamViewType": "NEW_AND_OLD_IMAGES"})
        stream = self.template["Outputs"]["TableStreamArn"]["Value"]["Fn::GetAtt"]
        self.assertEqual(stream, ["Table", "StreamArn"])

    def test_every_function_logs_to_a_group_with_retention_and_is_not_traced(self):
        groups = self.of_type("AWS::Logs::LogGroup")
        for name, function in self.of_type("AWS::Lambda::Function").items():
            self.assertEqual(target(function["LoggingConfig"]["LogGroup"]), f"{name}Log")
            self.assertNotIn("TracingConfig", function)
            self.assertEqual(function["Architectures"], [{"Ref": "Architecture"}])
            output = self.template["Outputs"][f"{name}LogGroup"]["Value"]
            self.assertEqual(target(output), f"{name}Log")
        self.assertEqual({str(group["RetentionInDays"]) for group in groups.values()}, {"{'Ref': 'LogRetentionDays'}"})

    def test_what_can_carry_a_tag_carries_one(self):
        untagged = {"AWS::SNS::Subscription", "AWS::Logs::MetricFilter", "AWS::CloudWatch::Dashboard"}
        untagged |= {"AWS::Lambda::Permission", "AWS::Lambda::EventSourceMapping", "AWS::Lambda::EventInvokeConfig"}
        # SAM can't tag the rule that it makes of a schedule.
        untagged |= {"AWS::Events::Rule"}
        for name, resource in self.template["Resources"].items():
            if resource["Type"] not in untagged:
                properties = resource["Properties"]
                # An HTTP API's stand in its OpenAPI document.
                tags = properties.get("Tags") or properties.get("Body", {}).get("tags")
                self.assertIn("application", json.dumps(tags), name)

    def test_every_alarm_has_an_action_a_live_metric_and_a_sentence(self):
        alarms = self.of_type("AWS::CloudWatch::Alarm")
        self.assertEqual(set(alarms), {f"{name}Alarm" for name in ALARMS})
        for name, alarm in alarms.items():
            with self.subTest(name):
                seen = set()
                self.assertEqual([target(action) for action in alarm["AlarmActions"]], ["AlarmTopic"])
                self.assertGreater(len(alarm["AlarmDescription"].split()), 10)
                metrics = [m["MetricStat"]["Metric"] for m in alarm.get("Metrics", []) if "MetricStat" in m] or [alarm]
                for metric in metrics:
                    dimensions = {d["Name"]: d["Value"] for d in metric.get("Dimensions", [])}
                    seen.add(self.live(metric["Namespace"], metric["MetricName"], dimensions))
                self.assertEqual(seen, ALARMS[name.removesuffix("Alarm")])
        topics = self.of_type("AWS::SNS::Topic")
        self.assertEqual(set(topics), {"AlarmTopic"})
        self.assertEqual(self.template["Outputs"]["AlarmTopicArn"]["Value"], {"Ref": "AlarmTopic"})
        subscription = self.template["Resources"]["AlarmSubscription"]
        self.assertEqual(target(subscription["Properties"]["TopicArn"]), "AlarmTopic")

    def test_an_alarm_that_ends_by_itself_says_so_and_one_that_asks_for_work_does_not(self):
        alarms = self.of_type("AWS::CloudWatch::Alarm")
        ending = {name.removesuffix("Alarm") for name, alarm in alarms.items() if "OKActions" in alarm}
        self.assertEqual(ending, {"ServerErrors", "WebhookThrottles", "DeadLetters", "ForwardDeadLetters"})
        for name in ending:
            self.assertEqual(alarms[f"{name}Alarm"]["OKActions"], alarms[f"{name}Alarm"]["AlarmActions"])

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
        rung = {metric for metrics in ALARMS.values() for metric, _ in metrics}
        self.assertEqual(shown, rung | SHOWN)

    def test_every_filter_has_a_number_on_the_dashboard(self):
        body = self.of_type("AWS::CloudWatch::Dashboard")["Dashboard"]["DashboardBody"]["Fn::Sub"]
        for properties in self.of_type("AWS::Logs::MetricFilter").values():
            self.assertIn(f'"{properties["MetricTransformations"][0]["MetricName"]}"', body)

    def test_a_line_of_reconcile_counts_where_it_should(self):
        filters = self.of_type("AWS::Logs::MetricFilter").values()
        filters = [properties for properties in filters if target(properties["LogGroupName"]) == "ReconcileLog"]
        drift = {"GroupsAdded", "GroupsChanged", "GroupsDestroyed", "MembersAdded", "MembersRemoved", "MembersChanged"}
        run = {"outcome": "reconciled", "finished": True, "dry_run": False, "named": False}
        for line, counted in [
            (run, {"Reconciles", "Finished", "Skipped"} | drift),
            (run | {"finished": False}, {"Reconciles", "Skipped"} | drift),
            (run | {"named": True}, {"Reconciles", "Skipped"} | drift),
            (run | {"dry_run": True}, {"Reconciles"}),
            (run | {"outcome": "failed", "finished": False}, {"Reconciles", "Skipped"} | drift),
            ({"outcome": "corrected", "dry_run": False}, {"Reconciles"}),
            ({"outcome": "skipped"}, {"Reconciles"}),
        ]:
            with self.subTest(line):
                matching = [properties for properties in filters if matches(properties["FilterPattern"], line)]
                self.assertEqual({p["MetricTransformations"][0]["MetricName"] for p in matching}, counted)

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
        named = dimensions.pop(dimension)
        # A queue's Ref is its URL.
        self.assertTrue("QueueName" in str(named) if kind == "AWS::SQS::Queue" else "Ref" in named, named)
        resource = target(named)
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
        return metric, next(iter(dimensions.values()), None)

    def test_the_throttle_is_no_less_than_an_accounts_own(self):
        parameters = self.template["Parameters"]
        self.assertEqual((parameters["ThrottleRate"]["Default"], parameters["ThrottleBurst"]["Default"]), (10000, 5000))

    def test_the_cost_page_counts_what_is_there(self):
        page = " ".join((ROOT / "docs/cost.md").read_text().split())
        alarms = self.of_type("AWS::CloudWatch::Alarm").values()
        rung = sum(len([m for m in alarm.get("Metrics", []) if "MetricStat" in m]) or 1 for alarm in alarms)
        self.assertIn(f"{rung} alarm metrics", page)
        body = json.loads(self.of_type("AWS::CloudWatch::Dashboard")["Dashboard"]["DashboardBody"]["Fn::Sub"])
        shown = {
            tuple(part for part in metric if isinstance(part, str))
            for widget in body["widgets"]
            for metric in widget["properties"].get("metrics", [])
        }
        own = [metric for metric in shown if metric[0] == "${AWS::StackName}"]
        self.assertIn(f"{len(own)} metrics of its own", page)
        self.assertIn(f"this one shows {len(shown)}", page)

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
