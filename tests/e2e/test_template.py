"""The template: who may do what, what stands in clear, what outlives what."""

import json
import re
import subprocess
import unittest

from template import ROOT, chosen, holds, of_type, target, transformed

STORE_ACTIONS = {f"dynamodb:{action}" for action in ("BatchGetItem", "GetItem", "PartiQLInsert", "PutItem")}
SWEEP_ACTIONS = {f"dynamodb:{action}" for action in ("DeleteItem", "Query", "UpdateItem")}
READ_STREAM = ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
STREAM_ACTIONS = {f"dynamodb:{action}" for action in READ_STREAM}
LOG_ACTIONS = {"logs:CreateLogStream", "logs:PutLogEvents"}
READ_QUEUE = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
SECRET = "ChatSecretKeyArn"
STREAM = "Table.StreamArn"


def rights(log, table, *others):
    granted = {(action, log) for action in LOG_ACTIONS} | {(action, "Table") for action in table}
    for actions, *resources in others:
        granted |= {(action, resource) for action in actions for resource in resources}
    return granted


RIGHTS = {
    "Webhook": rights(
        "WebhookLog", STORE_ACTIONS, ({"sqs:SendMessage"}, "RetryQueue", "ForwardQueue", "DeadLetterQueue")
    ),
    "Redrive": rights(
        "RedriveLog",
        STORE_ACTIONS | SWEEP_ACTIONS,
        (READ_QUEUE, "RetryQueue", "ForwardQueue"),
        ({"sqs:SendMessage"}, "DeadLetterQueue"),
    ),
    "Reconcile": rights(
        "ReconcileLog",
        STORE_ACTIONS | SWEEP_ACTIONS | {"dynamodb:Scan"},
        ({"secretsmanager:GetSecretValue"}, SECRET),
    ),
    "Publish": rights(
        "PublishLog",
        {"dynamodb:Query", "dynamodb:Scan"},
        (STREAM_ACTIONS, STREAM),
        ({"dynamodb:BatchWriteItem"}, "HistoryTable"),
        ({"events:PutEvents"}, "EventBusArn"),
        ({"s3:ListBucket"}, "PublishFailures"),
        ({"s3:PutObject"}, "${PublishFailures.Arn}/*"),
    ),
}

# Conditions under which a statement is there, and that it adds.
CONDITIONAL = {"Reconciles", "KeepsHistory", "HasBus"}

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
                        self.assertIn(condition, CONDITIONAL)
                        self.assertEqual(other, {"Ref": "AWS::NoValue"})
                    self.assertLessEqual(set(statement), {"Effect", "Action", "Resource", "Condition"})
                    for resource in as_list(statement["Resource"]):
                        granted |= {(action, self.granted(resource)) for action in as_list(statement["Action"])}
            self.assertEqual(granted, RIGHTS[name])
        others = {"AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::Lambda::Url", "AWS::SQS::QueuePolicy"}
        self.assertFalse([kind for kind in others if self.of_type(kind)])

    def granted(self, resource):
        """The resource that a right is for, by the name of the stack's own where it has one."""
        if "Fn::If" in resource:
            condition, own, existing = resource["Fn::If"]
            self.assertEqual(condition, "CreatesTable")
            self.assertIn("ExistingTableStreamArn", json.dumps(existing))
            resource = own
        if "Fn::Sub" in resource:
            return resource["Fn::Sub"]
        return STREAM if resource.get("Fn::GetAtt") == ["Table", "StreamArn"] else target(resource)

    def test_a_bus_takes_only_what_bears_our_name(self):
        statements = self.of_type("AWS::IAM::Role")["PublishRole"]["Policies"][0]["PolicyDocument"]["Statement"]
        statement = next(s["Fn::If"][1] for s in statements if s.get("Fn::If", [""])[0] == "HasBus")
        self.assertEqual(statement["Condition"], {"StringEquals": {"events:source": "chat-groups"}})

    def test_only_the_gateway_and_the_schedule_may_call_a_function(self):
        permissions = self.of_type("AWS::Lambda::Permission").values()
        self.assertEqual(
            {(target(p["FunctionName"]), p["Principal"]) for p in permissions},
            {("WebhookAliaslive", "apigateway.amazonaws.com"), ("ReconcileAliaslive", "events.amazonaws.com")},
        )

    def test_no_secret_stands_in_clear(self):
        for name, function in self.of_type("AWS::Lambda::Function").items():
            for variable, value in function["Environment"]["Variables"].items():
                spelled_out = isinstance(value, str) and value != "" and variable != "GLIBC_TUNABLES"
                self.assertFalse(spelled_out, f"{name}: {variable}")
            # Otherwise the secret would not be read again.
            self.assertEqual(function["Environment"]["Variables"]["DEPLOYED_AT"], {"Ref": "DeployedAt"})
        for name in ("Webhook", "Redrive"):
            variables = self.of_type("AWS::Lambda::Function")[name]["Environment"]["Variables"]
            tokens = {"Fn::Sub": "{{resolve:secretsmanager:${CallbackTokenSecret}}}"}
            self.assertEqual(variables["CALLBACK_TOKENS"], tokens)
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
        for path in ("template.yaml", "monitoring.yaml", "samconfig.toml", "Makefile"):
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
            self.assertEqual(target(mapping["EventSourceArn"]), name)
            self.assertEqual(target(mapping["FunctionName"]), "RedriveAliaslive")
            self.assertEqual(mapping["FunctionResponseTypes"], ["ReportBatchItemFailures"])
            self.assertLessEqual(mapping["ScalingConfig"]["MaximumConcurrency"], 5)
        self.assertEqual(dead_letter_queues, {"DeadLetterQueue", "ForwardDeadLetterQueue"})
        for queue in queues.values():
            self.assertTrue(queue["SqsManagedSseEnabled"])
            self.assertEqual(queue["MessageRetentionPeriod"], 14 * 24 * 3600)
            # The most that SQS takes.
            self.assertEqual(queue["MaximumMessageSize"], 1024 * 1024)

    def test_forwarding_has_a_url_and_a_queue_of_its_own(self):
        variables = {
            name: function["Environment"]["Variables"] for name, function in self.of_type("AWS::Lambda::Function").items()
        }
        for name in ("Webhook", "Redrive"):
            self.assertEqual(variables[name]["FORWARD_URL"], {"Ref": "ForwardUrl"})
        self.assertEqual(target(variables["Webhook"]["FORWARD_QUEUE_URL"]), "ForwardQueue")
        self.assertEqual(target(variables["Webhook"]["RETRY_QUEUE_URL"]), "RetryQueue")
        for name in ("Webhook", "Redrive"):
            self.assertEqual(target(variables[name]["DEAD_LETTER_QUEUE_URL"]), "DeadLetterQueue")
        parameter = self.template["Parameters"]["ForwardUrl"]
        for url, taken in [("", True), ("https://example.com/hook?a=b", True), ("http://example.com", False)]:
            self.assertEqual(bool(re.fullmatch(parameter["AllowedPattern"], url)), taken, url)

    def test_reconcile_runs_on_a_schedule_once_a_secret_is_named(self):
        function = self.of_type("AWS::Lambda::Function")["Reconcile"]
        self.assertEqual(function["Timeout"], 900)
        rules = list(self.of_type("AWS::Events::Rule").values())
        self.assertEqual(len(rules), 1)
        self.assertEqual(rules[0]["State"], {"Fn::If": ["Reconciles", "ENABLED", "DISABLED"]})
        self.assertEqual(rules[0]["ScheduleExpression"], "rate(15 minutes)")
        self.assertEqual(rules[0]["Targets"][0]["Input"], "{}")
        named = {"Fn::Not": [{"Fn::Equals": [{"Ref": SECRET}, ""]}]}
        self.assertEqual(self.template["Conditions"]["Reconciles"], named)
        self.assertEqual(self.template["Rules"]["ReconcileNeedsChatsApi"]["RuleCondition"], named)
        invocation = list(self.of_type("AWS::Lambda::EventInvokeConfig").values())
        self.assertEqual([config["MaximumRetryAttempts"] for config in invocation], [0])
        arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:chat-groups/key"
        pattern = self.template["Parameters"][SECRET]["AllowedPattern"]
        for text, taken in [("", True), (f"{arn}-AbCd12", True), (arn, False), ("chat-groups/key", False)]:
            self.assertEqual(bool(re.fullmatch(pattern, text)), taken, text)

    def test_the_stream_is_read_only_if_somebody_wants_to_know(self):
        mapping = self.of_type("AWS::Lambda::EventSourceMapping")["PublishChanges"]
        self.assertEqual(mapping["Enabled"], {"Fn::If": ["Publishes", True, False]})
        for given, read in [({}, False), ({"HistoryDays": "90"}, True), ({"EventBusArn": "arn"}, True)]:
            self.assertEqual(chosen(self.template, mapping["Enabled"], self.parameters(**given)), read, given)
        self.assertEqual(target(mapping["FunctionName"]), "PublishAliaslive")
        self.assertEqual(mapping["StartingPosition"], "TRIM_HORIZON")
        self.assertEqual((mapping["BatchSize"], mapping["MaximumBatchingWindowInSeconds"]), (100, 1))
        self.assertTrue(mapping["BisectBatchOnFunctionError"])
        self.assertEqual(mapping["FunctionResponseTypes"], ["ReportBatchItemFailures"])
        self.assertEqual(mapping["MaximumRecordAgeInSeconds"], 22 * 3600)
        self.assertEqual(target(mapping["DestinationConfig"]["OnFailure"]["Destination"]), "PublishFailures")
        pattern = json.loads(mapping["FilterCriteria"]["Filters"][0]["Pattern"])
        self.assertEqual(set(pattern), {"dynamodb"})
        self.assertEqual(pattern["dynamodb"]["Keys"]["sk"]["S"], ["GROUP", {"prefix": "MEMBER#"}])

    def test_the_history_is_the_contracts(self):
        history = self.template["Resources"]["HistoryTable"]
        self.assertEqual(history["Condition"], "KeepsHistory")
        table = history["Properties"]
        self.assertEqual([key["AttributeName"] for key in table["KeySchema"]], ["pk", "sk"])
        index = table["GlobalSecondaryIndexes"][0]
        self.assertEqual([key["AttributeName"] for key in index["KeySchema"]], ["account_key", "sk"])
        self.assertEqual((index["IndexName"], index["Projection"]), ("by_account", {"ProjectionType": "ALL"}))
        self.assertEqual(table["TimeToLiveSpecification"], {"AttributeName": "expires_at", "Enabled": True})
        self.assertNotIn("PointInTimeRecoverySpecification", table)
        variables = self.of_type("AWS::Lambda::Function")["Publish"]["Environment"]["Variables"]
        for days, expected in [("0", ("", "")), ("90", ({"Ref": "HistoryTable"}, {"Ref": "HistoryDays"}))]:
            found = [
                chosen(self.template, variables[name], self.parameters(HistoryDays=days))
                for name in ("HISTORY_TABLE_NAME", "HISTORY_DAYS")
            ]
            self.assertEqual(tuple(found), expected)

    def test_every_call_goes_to_a_version_that_each_deployment_publishes(self):
        aliases = self.of_type("AWS::Lambda::Alias")
        self.assertEqual({target(alias["FunctionName"]) for alias in aliases.values()}, set(RIGHTS))
        self.assertEqual({alias["Name"] for alias in aliases.values()}, {"live"})
        called = [mapping["FunctionName"] for mapping in self.of_type("AWS::Lambda::EventSourceMapping").values()]
        called += [rule["Targets"][0]["Arn"] for rule in self.of_type("AWS::Events::Rule").values()]
        self.assertLessEqual({target(name) for name in called}, set(aliases))
        api = self.of_type("AWS::ApiGatewayV2::Api")["HttpApi"]
        self.assertIn("${WebhookAliaslive}", json.dumps(api["Body"]))
        versions = set(self.of_type("AWS::Lambda::Version"))
        # A token that changes, or a parameter, changes no property that SAM looks at.
        again = transformed(DeployedAt="1764113713")
        self.assertEqual(len(versions), 4)
        self.assertFalse(versions & set(of_type(again, "AWS::Lambda::Version")))
        for version in versions:
            self.assertEqual(self.template["Resources"][version]["DeletionPolicy"], "Retain")
        self.assertNotIn("Default", self.template["Parameters"]["DeployedAt"])

    def test_concurrency_is_reserved_if_the_operator_wants_it(self):
        reserved = self.of_type("AWS::Lambda::Function")["Webhook"]["ReservedConcurrentExecutions"]
        for number, expected in [("0", {"Ref": "AWS::NoValue"}), ("50", {"Ref": "ReservedConcurrency"})]:
            given = self.parameters(ReservedConcurrency=number)
            self.assertEqual(chosen(self.template, reserved, given), expected)

    def test_an_end_users_address_is_stored_only_on_request(self):
        for name in ("Webhook", "Redrive"):
            variables = self.of_type("AWS::Lambda::Function")[name]["Environment"]["Variables"]
            self.assertEqual(variables["KEEP_CLIENT_IP"], {"Ref": "KeepClientIp"})
        self.assertEqual(self.template["Parameters"]["KeepClientIp"]["Default"], "false")

    def test_the_table_outlives_the_stack(self):
        table = self.template["Resources"]["Table"]
        self.assertEqual((table["DeletionPolicy"], table["UpdateReplacePolicy"]), ("Retain", "Retain"))
        properties = table["Properties"]
        self.assertEqual(properties["BillingMode"], "PAY_PER_REQUEST")
        self.assertTrue(properties["DeletionProtectionEnabled"])
        self.assertTrue(properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"])
        # AWS's own key encrypts as well; a table with `aws/dynamodb` can't be shared with another account.
        self.assertNotIn("SSESpecification", properties)

    def test_a_table_that_exists_takes_the_place_of_the_stacks_own(self):
        stream = "arn:aws:dynamodb:eu-west-1:123456789012:table/restored/stream/2026-11-25T00:00:00.000"
        given = self.parameters(ExistingTableName="restored", ExistingTableStreamArn=stream)
        for name in ("Table",):
            condition = {"Condition": self.template["Resources"][name]["Condition"]}
            self.assertFalse(holds(self.template, condition, given))
            self.assertTrue(holds(self.template, condition, self.parameters()))
        uses = [
            function["Environment"]["Variables"]["TABLE_NAME"]
            for function in self.of_type("AWS::Lambda::Function").values()
        ]
        uses.append(self.template["Outputs"]["TableName"]["Value"])
        uses.append(self.of_type("AWS::CloudFormation::Stack")["MonitoringStack"]["Parameters"]["Table"])
        for use in uses:
            self.assertEqual(chosen(self.template, use, given), {"Ref": "ExistingTableName"})
        # Nothing else names a table that is not there.
        text = json.dumps(self.template)
        guarded = re.findall(r'\["CreatesTable", \{"(?:Ref|Fn::GetAtt)": (?:"Table"|\["Table", "\w+"\])\}', text)
        self.assertEqual(len(guarded), len(re.findall(r'"Ref": "Table"|"Fn::GetAtt": \["Table"', text)))

    def parameters(self, **given):
        defaults = {name: parameter.get("Default", "") for name, parameter in self.template["Parameters"].items()}
        return defaults | given

    def test_the_table_is_the_contracts(self):
        table = self.of_type("AWS::DynamoDB::Table")["Table"]
        index = table["GlobalSecondaryIndexes"][0]
        self.assertEqual(index["IndexName"], "by_account")
        self.assertEqual([key["AttributeName"] for key in index["KeySchema"]], ["account_key", "pk"])
        projected = {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["event_time", "role"]}
        self.assertEqual(index["Projection"], projected)
        self.assertEqual(table["TimeToLiveSpecification"], {"AttributeName": "expires_at", "Enabled": True})
        self.assertEqual(table["StreamSpecification"], {"StreamViewType": "NEW_AND_OLD_IMAGES"})

    def test_every_function_logs_to_a_group_with_retention_and_is_not_traced(self):
        groups = self.of_type("AWS::Logs::LogGroup")
        for name, function in self.of_type("AWS::Lambda::Function").items():
            self.assertEqual(target(function["LoggingConfig"]["LogGroup"]), f"{name}Log")
            self.assertNotIn("TracingConfig", function)
            self.assertEqual(function["Architectures"], [{"Ref": "Architecture"}])
            output = self.template["Outputs"][f"{name}LogGroup"]["Value"]
            self.assertEqual(target(output), f"{name}Log")
        self.assertEqual({str(group["RetentionInDays"]) for group in groups.values()}, {"{'Ref': 'LogRetentionDays'}"})

    def test_the_pages_name_every_parameter_and_variable(self):
        page = (ROOT / "docs/deploy.md").read_text()
        for parameter in self.template["Parameters"]:
            self.assertRegex(page, rf"\b{parameter}\b")
        named = set(re.findall(r"`([A-Z_]+)`", (ROOT / "docs/operate.md").read_text().split("## Settings")[1]))
        for name, function in self.of_type("AWS::Lambda::Function").items():
            variables = set(function["Environment"]["Variables"])
            self.assertLessEqual(variables - {"DEPLOYED_AT", "GLIBC_TUNABLES"}, named, name)

    def test_every_function_writes_its_lines_only(self):
        for function in self.of_type("AWS::Lambda::Function").values():
            logging = {"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "WARN"}
            self.assertEqual({key: function["LoggingConfig"].get(key) for key in logging}, logging)
            self.assertEqual(function["MemorySize"], 512)

    def test_the_templates_are_read_in_minutes_and_far_from_cloudformations_limit(self):
        text = (ROOT / "template.yaml").read_text()
        self.assertLessEqual(text.count("\n"), 450)
        self.assertLess(len(text), 40_000)
        self.assertLess(len((ROOT / "monitoring.yaml").read_text()), 40_000)

    def test_the_throttle_is_no_less_than_an_accounts_own(self):
        parameters = self.template["Parameters"]
        self.assertEqual((parameters["ThrottleRate"]["Default"], parameters["ThrottleBurst"]["Default"]), (10000, 5000))

    def test_the_tools_find_nothing_wrong(self):
        tools = ROOT / ".tools"
        for command in [
            [tools / "aws/bin/sam", "validate", "--lint", "--region", "eu-west-1"],
            [tools / "aws/bin/sam", "validate", "--lint", "--region", "eu-west-1", "--template", "monitoring.yaml"],
            [tools / "aws/bin/cfn-lint", "template.yaml", "monitoring.yaml"],
            [tools / "checkov/bin/checkov", "--config-file", ".checkov.yaml"],
        ]:
            with self.subTest(command[0].name):
                ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
                self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
