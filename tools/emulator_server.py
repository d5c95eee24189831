#!/usr/bin/env python3
"""Serves AWS on loopback: ministack, with the gaps closed that this project's stack falls into.

    .tools/emulator/bin/python tools/emulator_server.py PORT

This is the only place that works around the emulator. Each workaround says how AWS behaves. What remains different is
listed in tests/e2e/deployed/README.md. IAM is enforced, for the functions by their roles.
"""

import contextvars
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

# Filter patterns are read as the tests of the alarms read them.
sys.path.append(str(Path(__file__).parents[1] / "tests/e2e"))
from metric_filter import matches  # noqa: E402

REGION = "eu-west-1"
# The account's root, which no policy binds: the operator.
ROOT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

INSERT = re.compile(r'INSERT INTO "([^"]+)"')


def main():
    port = sys.argv[1]
    # The functions inherit the emulator's environment: it holds nothing else.
    inherited = {name: os.environ[name] for name in ("PATH", "TMPDIR", "SSL_CERT_FILE") if name in os.environ}
    os.environ.clear()
    os.environ.update(inherited | ROOT)
    os.environ |= {
        "AUTH": "true",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": port,
        "LOG_LEVEL": "CRITICAL",
        "MINISTACK_REGION": REGION,
        "S3_DATA_DIR": tempfile.mkdtemp(prefix="chat-groups-s3-"),
    }
    sys.argv = [sys.argv[0]]
    from ministack import app

    templates = [parameters_of_sam, routes_from_openapi, metric_math]
    rights = [rights_of_inserts, source_of_events, lambdas_own_calls]
    events = [stream_of_inserts, failed_records]
    watching = [metrics_of_lines, alarms_on_metrics]
    for workaround in templates + rights + events + watching:
        workaround()
    app.main()


def parameters_of_sam():
    """SAM's transform resolves references to parameters, as far as it needs them; the emulator tells it none."""
    from ministack.services.cloudformation import changesets, engine, handlers
    from samtranslator.translator import transform

    apply, translate = engine._apply_transforms, transform.transform
    parameters = contextvars.ContextVar("parameters")

    def apply_with_parameters(template, provided=None, previous=None):
        parameters.set(engine._transform_parameters(template, provided, previous))
        return apply(template, provided, previous)

    transform.transform = lambda template, _, policies: translate(template, parameters.get(), policies)
    for module in (changesets, engine, handlers):
        module._apply_transforms = apply_with_parameters


def routes_from_openapi():
    """An HTTP API's `Body` makes its integrations and routes; the emulator ignores it."""
    from ministack.services import apigateway
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS["AWS::ApiGatewayV2::Api"]

    def import_routes(api_id, body):
        apigateway._routes[api_id] = {}
        apigateway._integrations[api_id] = {}
        for path, methods in (body or {}).get("paths", {}).items():
            for method, operation in methods.items():
                integration = operation["x-amazon-apigateway-integration"]
                settings = {"integrationType": integration["type"].upper(), "integrationUri": integration["uri"]}
                settings["payloadFormatVersion"] = integration["payloadFormatVersion"]
                _, _, answer = apigateway._create_integration(api_id, settings)
                verb = "ANY" if method == "x-amazon-apigateway-any-method" else method.upper()
                target = f"integrations/{json.loads(answer)['integrationId']}"
                apigateway._create_route(api_id, {"routeKey": f"{verb} {path}", "target": target})

    create, update = handlers["create"], handlers["update"]

    def create_with_routes(logical_id, properties, stack_name):
        api_id, attributes = create(logical_id, properties, stack_name)
        import_routes(api_id, properties.get("Body"))
        return api_id, attributes

    def update_with_routes(physical_id, old, new, stack_name, logical_id=None):
        api_id, attributes = update(physical_id, old, new, stack_name, logical_id)
        import_routes(api_id, new.get("Body"))
        return api_id, attributes

    handlers |= {"create": create_with_routes, "update": update_with_routes}


def stream_of_inserts():
    """A PartiQL INSERT is a record in the table's stream; the emulator writes none."""
    from ministack.services import dynamodb

    insert = dynamodb._partiql_insert

    def insert_into_stream(table, parsed):
        answer = insert(table, parsed)
        if answer[0] == 200:
            item = parsed["item"]
            dynamodb._emit_stream_event(parsed["table"], "INSERT", None, item["M"] if set(item) == {"M"} else item)
        return answer

    dynamodb._partiql_insert = insert_into_stream


def rights_of_inserts():
    """BatchExecuteStatement takes the right of each statement, PartiQLInsert; the emulator asks for its own name."""
    from ministack.core import iam_actions

    checks = iam_actions.dynamodb_transaction_checks

    def checks_of_statements(action, body, region, account):
        if action != "dynamodb:BatchExecuteStatement":
            return checks(action, body, region, account)
        tables = {INSERT.match(each["Statement"]).group(1) for each in json.loads(body)["Statements"]}
        return [
            ("dynamodb:PartiQLInsert", iam_actions._dynamodb_table_arn(table, region, account)) for table in tables
        ]

    iam_actions.dynamodb_transaction_checks = checks_of_statements


def source_of_events():
    """A right to put events may ask for their source; the emulator does not know it."""
    from ministack.core import iam_actions

    context = iam_actions.request_tag_context

    def context_with_source(service, action, body, parameters):
        known = context(service, action, body, parameters)
        if action == "events:PutEvents":
            sources = {entry["Source"] for entry in json.loads(body)["Entries"]}
            known["events:source"] = sources.pop() if len(sources) == 1 else None
        return known

    iam_actions.request_tag_context = context_with_source


def metric_math():
    """An alarm may compute with metrics; the emulator refuses it. Such an alarm is left out."""
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS["AWS::CloudWatch::Alarm"]

    def left_out(name):
        return name, {"Arn": f"arn:aws:cloudwatch:{REGION}:000000000000:alarm:{name}"}

    def create(logical_id, properties, stack_name, create=handlers["create"]):
        if "Metrics" in properties:
            return left_out(provisioners._physical_name(stack_name, logical_id, max_len=255))
        return create(logical_id, properties, stack_name)

    def update(physical_id, old, new, stack_name, logical_id=None, update=handlers["update"]):
        return left_out(physical_id) if "Metrics" in new else update(physical_id, old, new, stack_name, logical_id)

    def delete(physical_id, properties, delete=handlers["delete"]):
        return None if "Metrics" in properties else delete(physical_id, properties)

    handlers |= {"create": create, "update": update, "delete": delete}


def metrics_of_lines():
    """A metric filter makes metrics of log lines; the emulator applies none."""
    from ministack.services import cloudwatch, cloudwatch_logs

    fan_out = cloudwatch_logs._fanout_to_subscription_filters

    def fan_out_and_count(group, stream, events):
        lines = [json.loads(event["message"]) for event in events if event["message"].startswith("{")]
        for (watched, _), each in cloudwatch_logs._metric_filters.items():
            for line in lines:
                if watched == group and matches(each["filterPattern"], line):
                    count(line, *each["metricTransformations"])
        fan_out(group, stream, events)

    def count(line, metric):
        def value(text):
            return line[text[2:]] if text.startswith("$.") else text

        dimensions = {name: value(text) for name, text in metric.get("dimensions", {}).items()}
        number = value(metric["metricValue"])
        cloudwatch.record_metric(metric["metricNamespace"], metric["metricName"], number, dimensions=dimensions)

    cloudwatch_logs._fanout_to_subscription_filters = fan_out_and_count


def alarms_on_metrics():
    """An alarm counts the periods in which its metric, with these dimensions, reaches the threshold, all the time.

    The emulator sees neither dimensions, nor periods, nor that data is missing, and looks only when somebody puts a
    metric. Here it looks when somebody asks for alarms; those of the template take missing data for good.
    """
    from ministack.services import cloudwatch

    describe = cloudwatch._describe_alarms

    def evaluate(alarm):
        dimensions = cloudwatch._dims_key(cloudwatch._dims_from_list(alarm["Dimensions"]))
        points = cloudwatch._metrics.get((alarm["Namespace"], alarm["MetricName"], dimensions), [])
        now, reached = time.time(), 0
        for number in range(alarm["EvaluationPeriods"]):
            end = now - number * alarm["Period"]
            period = [point for point in points if end - alarm["Period"] < point["Timestamp"] <= end]
            reached += cloudwatch._calc_stats(period).get(alarm["Statistic"], 0) >= alarm["Threshold"]
        state = "ALARM" if reached >= alarm["DatapointsToAlarm"] else "OK"
        if state != alarm["StateValue"]:
            change = {"AlarmName": alarm["AlarmName"], "StateValue": state, "StateReason": f"{reached} periods"}
            cloudwatch._set_alarm_state({}, change, False, is_json=True)

    def describe_evaluated(*arguments, **options):
        for alarm in cloudwatch._alarms.values():
            evaluate(alarm)
        return describe(*arguments, **options)

    cloudwatch._evaluate_alarm = evaluate
    cloudwatch._describe_alarms = describe_evaluated


def lambdas_own_calls():
    """Lambda reads queues and streams and writes logs with the function's role; the emulator needs no right for it."""
    from ministack.core import iam_evaluator
    from ministack.core.responses import get_account_id
    from ministack.services import cloudwatch_logs, dynamodb, lambda_svc, sqs

    def allows(function, action, resource):
        role = function["config"]["Role"].rsplit("/", 1)[-1]
        account = get_account_id()
        principal = f"arn:aws:sts::{account}:assumed-role/{role}/{function['config']['FunctionName']}"
        context = iam_evaluator.EvalContext(principal, "AssumedRole", account, action, resource, REGION)
        policies = iam_evaluator._gather_role_policies(role, account)
        return iam_evaluator.evaluate(context, policies).decision == "Allow"

    def readers_may(source, *actions):
        mappings = [each for each in lambda_svc._esms.values() if each["EventSourceArn"] == source]
        readers = [lambda_svc._functions[mapping["FunctionName"]] for mapping in mappings]
        return all(allows(reader, action, source) for reader in readers for action in actions)

    receive, delete = sqs._receive_messages_for_esm, sqs._delete_messages_for_esm
    records, write = dynamodb.stream_records_since, lambda_svc._emit_lambda_logs

    def receive_if_allowed(url, batch_size):
        queue = sqs._queues[url]["attributes"]["QueueArn"]
        may = readers_may(queue, "sqs:ReceiveMessage", "sqs:GetQueueAttributes")
        return receive(url, batch_size) if may else []

    def delete_if_allowed(url, receipt_handles):
        if readers_may(sqs._queues[url]["attributes"]["QueueArn"], "sqs:DeleteMessage"):
            delete(url, receipt_handles)

    def records_if_allowed(table, position, limit, **scope):
        stream = dynamodb._tables[table]["LatestStreamArn"]
        operations = ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
        may = readers_may(stream, *(f"dynamodb:{operation}" for operation in operations))
        return records(table, position, limit, **scope) if may else []

    def write_if_allowed(function, *arguments, **options):
        group = function["config"]["LoggingConfig"]["LogGroup"]
        stream = f"{cloudwatch_logs._make_group_arn(group).removesuffix(':*')}:log-stream:any"
        if all(allows(function, f"logs:{action}", stream) for action in ("CreateLogStream", "PutLogEvents")):
            write(function, *arguments, **options)

    sqs._receive_messages_for_esm = receive_if_allowed
    sqs._delete_messages_for_esm = delete_if_allowed
    dynamodb.stream_records_since = records_if_allowed
    lambda_svc._emit_lambda_logs = write_if_allowed


def failed_records():
    """From a stream's record that a function names as failed, its batch comes again; the emulator goes on behind it.

    Here the whole batch comes again.
    """
    from ministack.services import lambda_svc

    execute = lambda_svc._execute_function

    def execute_or_fail(function, event, *arguments, **options):
        result = execute(function, event, *arguments, **options)
        records = event.get("Records") if isinstance(event, dict) else None
        is_of_stream = records and records[0].get("eventSource") == "aws:dynamodb"
        if is_of_stream and (result.get("body") or {}).get("batchItemFailures"):
            return result | {"error": True}
        return result

    lambda_svc._execute_function = execute_or_fail


main()
