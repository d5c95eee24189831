"""monitoring.yaml: what rings and on what, what the dashboard shows, and that something writes each metric."""

import json
import re
import unittest

from alarm import plain
from metric_filter import fields, matches
from template import ROOT, monitoring, of_type, target, transformed

# AWS's own metrics that the template may use: their dimension, and the resources of the main template that it names.
AWS_METRICS = {
    "AWS/ApiGateway": ({"4xx", "5xx", "Count", "Latency"}, "ApiId", {"HttpApi"}),
    "AWS/DynamoDB": ({"WriteThrottleEvents"}, "TableName", {"Table"}),
    "AWS/Lambda": (
        {"Errors", "IteratorAge", "Throttles"},
        "FunctionName",
        {"Webhook", "Redrive", "Reconcile", "Publish"},
    ),
    "AWS/SQS": (
        {"ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesVisible", "NumberOfMessagesSent"},
        "QueueName",
        {"RetryQueue", "ForwardQueue", "DeadLetterQueue", "ForwardDeadLetterQueue"},
    ),
}
ALARMS = set(
    "Lost DeadLetters Unanswered Downstream Late Quiet Functions Throttled Reconcile ReconcileUnfinished".split()
)
# What asks for work, or tells once, does not report its end.
ENDING = {"DeadLetters", "Unanswered", "Downstream", "Late", "Quiet", "Functions"}


class Monitoring(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.template = monitoring()
        cls.main = transformed()
        cls.alarms = of_type(cls.template, "AWS::CloudWatch::Alarm")
        cls.filters = of_type(cls.template, "AWS::Logs::MetricFilter")
        body = of_type(cls.template, "AWS::CloudWatch::Dashboard")["Dashboard"]["DashboardBody"]["Fn::Sub"]
        cls.widgets = json.loads(body)["widgets"]

    def test_it_is_nested_on_by_a_parameter_and_gets_what_it_asks_for(self):
        nested = self.main["Resources"]["MonitoringStack"]
        self.assertEqual((nested["Condition"], nested["Properties"]["TemplateURL"]), ("Monitors", "monitoring.yaml"))
        self.assertEqual(set(nested["Properties"]["Parameters"]), set(self.template["Parameters"]))
        self.assertEqual(self.main["Parameters"]["Monitoring"]["Default"], "true")
        for name in ("AlarmTopicArn", "DashboardUrl"):
            self.assertIn(name, self.template["Outputs"])
            output = self.main["Outputs"][name]
            self.assertEqual(output["Condition"], "Monitors")
            self.assertEqual(output["Value"], {"Fn::GetAtt": ["MonitoringStack", f"Outputs.{name}"]})

    def test_there_are_ten_alarms_that_say_one_thing_to_do(self):
        self.assertEqual({name.removesuffix("Alarm") for name in self.alarms}, ALARMS)
        page = (ROOT / "docs/operate.md").read_text()
        for name, alarm in self.alarms.items():
            with self.subTest(name):
                self.assertEqual([target(action) for action in alarm["AlarmActions"]], ["AlarmTopic"])
                self.assertGreater(len(alarm["AlarmDescription"].split()), 10)
                self.assertLess(len(alarm["AlarmDescription"]), 1024)
                # As `./chat-groups status` and docs/operate.md find them.
                title = alarm["AlarmName"]["Fn::Sub"].removeprefix("${Application} ")
                self.assertIn(f"| {name.removesuffix('Alarm')}: *{title}* |", page)
        ending = {name.removesuffix("Alarm") for name, alarm in self.alarms.items() if "OKActions" in alarm}
        self.assertEqual(ending, ENDING)
        self.assertEqual(self.template["Resources"]["QuietAlarm"]["Condition"], "HasQuietHours")
        subscription = self.template["Resources"]["AlarmSubscription"]
        self.assertEqual(subscription["Condition"], "HasAlarmEmail")
        self.assertEqual(target(subscription["Properties"]["TopicArn"]), "AlarmTopic")

    def test_every_alarm_keeps_to_cloudwatchs_limits(self):
        for name, alarm in self.alarms.items():
            with self.subTest(name):
                queries = alarm.get("Metrics") or [plain(alarm)]
                metrics = [metric for metric in queries if "MetricStat" in metric]
                self.assertLessEqual(len(metrics), 10)
                self.assertLessEqual(len(queries) - len(metrics), 10)
                returned = [metric["Id"] for metric in queries if metric.get("ReturnData", True)]
                self.assertEqual(returned, ["all"])
                periods = {metric["MetricStat"]["Period"] for metric in metrics}
                self.assertEqual(len(periods), 1)
                count = alarm["EvaluationPeriods"]
                seconds = periods.pop() * (168 if isinstance(count, dict) else count)
                self.assertLessEqual(seconds, 7 * 86_400 if periods == {3600} or seconds > 86_400 else 86_400)

    def test_something_writes_each_metric(self):
        for metric in self.rung():
            dimensions = {dimension["Name"]: dimension["Value"] for dimension in metric.get("Dimensions", [])}
            self.check_written(metric["Namespace"], metric["MetricName"], dimensions)
        for namespace, name, *rest in self.shown():
            dimensions = {name: self.substituted(value) for name, value in zip(rest[::2], rest[1::2])}
            namespace = {"Ref": "Application"} if namespace == "${Application}" else namespace
            self.check_written(namespace, name, dimensions)

    def rung(self):
        metrics = [metric for alarm in self.alarms.values() for metric in alarm.get("Metrics") or [plain(alarm)]]
        return [metric["MetricStat"]["Metric"] for metric in metrics if "MetricStat" in metric]

    def shown(self):
        """The dashboard's metrics, without their appearance."""
        metrics = [metric for widget in self.widgets for metric in widget["properties"]["metrics"]]
        return {tuple(part for part in metric if isinstance(part, str)) for metric in metrics}

    def substituted(self, value):
        found = re.fullmatch(r"\$\{(\w+)\}", value)
        return {"Ref": found.group(1)} if found else value

    def check_written(self, namespace, metric, dimensions):
        if namespace != {"Ref": "Application"}:
            known, dimension, resources = AWS_METRICS[namespace]
            self.assertIn(metric, known)
            self.assertIn(target(dimensions.pop(dimension)), resources)
            self.assertIn(dimensions, [{}, {"GlobalSecondaryIndexName": "by_account"}])
            return
        writers = [
            writer for writer in self.filters.values() if writer["MetricTransformations"][0]["MetricName"] == metric
        ]
        self.assertTrue(writers, metric)
        for writer in writers:
            keys = {dimension["Key"] for dimension in writer["MetricTransformations"][0].get("Dimensions", [])}
            self.assertEqual(keys, set(dimensions), metric)

    def test_every_metric_of_the_log_is_shown_or_rings_and_its_pattern_names_what_it_reads(self):
        used = {metric for namespace, metric, *_ in self.shown()}
        used |= {metric["MetricName"] for metric in self.rung()}
        for name, writer in self.filters.items():
            with self.subTest(name):
                metric = writer["MetricTransformations"][0]
                self.assertIn(metric["MetricName"], used)
                self.assertEqual(metric["MetricNamespace"], {"Ref": "Application"})
                read = [metric["MetricValue"], *(dimension["Value"] for dimension in metric.get("Dimensions", []))]
                read = {value[2:] for value in read if value.startswith("$.")}
                self.assertLessEqual(read, fields(writer["FilterPattern"]))

    def test_the_access_log_has_the_fields_that_its_filter_reads(self):
        stage = of_type(self.main, "AWS::ApiGatewayV2::Stage").values()
        [written] = [json.loads(each["AccessLogSettings"]["Format"]) for each in stage]
        [scans] = [each for each in self.filters.values() if target(each["LogGroupName"]) == "AccessLog"]
        self.assertLessEqual(fields(scans["FilterPattern"]), written.keys())
        for method, status, counted in [("GET", "404", True), ("POST", "404", False), ("GET", "405", False)]:
            line = written | {"method": method, "status": status}
            self.assertEqual(matches(scans["FilterPattern"], line), counted)

    def test_a_line_of_reconcile_counts_where_it_should(self):
        run = {"outcome": "reconciled", "finished": True, "dry_run": False, "named": False, "skipped": 20}
        run |= {"groups_added": 3}
        for line, counted in [
            (run, {"Finished", "Drift"}),
            (run | {"groups_added": 0, "members_changed": 0}, {"Finished"}),
            (run | {"finished": False}, {"Drift"}),
            (run | {"named": True}, {"Drift"}),
            (run | {"skipped": 21}, {"Drift"}),
            (run | {"dry_run": True}, set()),
            (run | {"first_pass": True}, {"Finished"}),
            (run | {"first_pass": False}, {"Finished", "Drift"}),
            (run | {"outcome": "failed", "finished": False}, {"ReconcileFailed", "Drift"}),
            ({"outcome": "waiting"}, set()),
            ({"outcome": "corrected", "dry_run": False, "members_added": 2}, set()),
            ({"outcome": "skipped"}, set()),
        ]:
            with self.subTest(line):
                found = {
                    writer["MetricTransformations"][0]["MetricName"]
                    for writer in self.filters.values()
                    if target(writer["LogGroupName"]) == "ReconcileLog" and matches(writer["FilterPattern"], line)
                }
                self.assertEqual(found, counted)

    def test_two_regions_have_two_dashboards(self):
        name = of_type(self.template, "AWS::CloudWatch::Dashboard")["Dashboard"]["DashboardName"]
        self.assertEqual(name, {"Fn::Sub": "${Application}-${AWS::Region}"})

    def test_the_cost_page_counts_what_is_there(self):
        page = " ".join((ROOT / "docs/cost.md").read_text().split())
        quiet = sum("MetricStat" in metric for metric in self.alarms["QuietAlarm"]["Metrics"])
        self.assertIn(f"{len(self.rung()) - quiet} alarm metrics", page)
        own = {metric for metric in self.shown() if metric[0] == "${Application}"}
        # Genuine and Probes are for alarms alone, and not shown.
        self.assertIn(f"{len(own) + 2} metrics of its own", page)
        self.assertIn(f"this one shows {len(self.shown())}", page)
