"""What CloudWatch does with the template's log lines, metrics and alarms: enough of it to play hours through them."""

import re
from collections import defaultdict
from functools import cache

from metric_filter import matches
from template import of_type, target

COMPARE = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
}
OWN = {"Ref": "Application"}


class World:
    """The metrics of some hours, a number or None for each minute."""

    def __init__(self, monitoring, minutes):
        self.minutes = minutes
        self.values = defaultdict(lambda: [None] * minutes)
        self.filters = of_type(monitoring, "AWS::Logs::MetricFilter").values()

    def count(self, metric, minute, value=1):
        self.values[metric][minute] = (self.values[metric][minute] or 0) + value

    def answer(self, minute, status=200, times=1, method="POST", **line):
        """The gateway answers; with the function's log line, unless the function was not asked."""
        self.count(("Count", "HttpApi"), minute, times)
        self.log("AccessLog", minute, times, method=method, status=str(status))
        if status >= 400:
            self.count((f"{status // 100}xx", "HttpApi"), minute, times)
        if line:
            self.log("WebhookLog", minute, times, callback_command="Group.CallbackAfterNewMemberJoin", **line)

    def log(self, log, minute, times=1, **line):
        line = {"error_code": 0, "duration_ms": 1.0} | line
        for properties in self.filters:
            if target(properties["LogGroupName"]) != log:
                continue
            metric = properties["MetricTransformations"][0]
            dimensions = [line.get(dimension["Value"][2:]) for dimension in metric.get("Dimensions", [])]
            if match(properties["FilterPattern"], tuple(line.items())):
                value = metric["MetricValue"]
                amount = line[value[2:]] if value.startswith("$.") else float(value)
                self.count((metric["MetricName"], *dimensions), minute, amount * times)
            elif "DefaultValue" in metric:
                self.count((metric["MetricName"],), minute, metric["DefaultValue"])

    def over(self, query, minute, periods):
        """A metric's value in each of the last periods, oldest first. What comes from the log comes a minute late."""
        metric, length = query["Metric"], query["Period"] // 60
        dimensions = [named(dimension["Value"]) for dimension in metric.get("Dimensions", [])]
        values = self.values.get((metric["MetricName"], *dimensions))
        if values is None:
            return [None] * periods
        end = minute if metric["Namespace"] == OWN else minute + 1
        series = []
        for period in range(periods - 1, -1, -1):
            stop = minute + 1 - period * length
            window = values[max(0, stop - length) : min(max(0, stop), end)]
            present = [value for value in window if value is not None]
            series.append({"Sum": sum, "Maximum": max}[query["Stat"]](present) if present else None)
        return series


@cache
def match(pattern, fields):
    return matches(pattern, dict(fields))


def named(value):
    return value if isinstance(value, str) else target(value)


def resolved(value, parameters):
    """A property that may refer to a parameter."""
    if isinstance(value, dict) and "Fn::Sub" in value:
        return re.sub(r"\$\{(\w+)\}", lambda name: str(parameters[name.group(1)]), value["Fn::Sub"])
    return int(parameters[value["Ref"]]) if isinstance(value, dict) else value


def points(alarm, world, minute, parameters):
    """What the alarm watches, in each of its periods; None where it has no value."""
    periods = resolved(alarm["EvaluationPeriods"], parameters)
    series = {}
    for metric in alarm.get("Metrics") or [plain(alarm)]:
        if "MetricStat" in metric:
            series[metric["Id"]] = world.over(metric["MetricStat"], minute, periods)
        else:
            text = resolved(metric["Expression"], parameters).replace(" AND ", " and ").replace(" OR ", " or ")
            series[metric["Id"]] = computed(text, series, periods)
    return series["all"]


def plain(alarm):
    """An alarm without metric math, as a query."""
    metric = {name: alarm[name] for name in ("Namespace", "MetricName", "Dimensions")}
    return {"Id": "all", "MetricStat": {"Stat": alarm["Statistic"], "Period": alarm["Period"], "Metric": metric}}


def computed(text, series, periods):
    """An expression in each period; None where one of its metrics has no data."""
    functions = {
        "FILL": lambda value, other: other if value is None else value,
        "IF": lambda test, yes, no: yes if test else no,
        "DIFF": lambda change: change,
    }
    # DIFF is the change since the period before, which the first has not.
    for name in re.findall(r"DIFF\((\w+)\)", text):
        values = series[name]
        series = series | {f"{name}_change": [None] + [now - then for then, now in zip(values, values[1:])]}
        text = text.replace(f"DIFF({name})", f"DIFF({name}_change)")
    results = []
    for period in range(periods):
        names = {name: values[period] for name, values in series.items()}
        try:
            results.append(eval(compiled(text), {"__builtins__": {}} | functions, names))
        except TypeError:
            results.append(None)
    return results


@cache
def compiled(text):
    assert re.fullmatch(r"[\w(),+\-*>= ]+", text), text
    return compile(text, "<expression>", "eval")


def state(alarm, world, minute, parameters):
    values = points(alarm, world, minute, parameters)
    needed = resolved(alarm["DatapointsToAlarm"], parameters)
    present = [value for value in values if value is not None]
    treatment = alarm["TreatMissingData"]
    if treatment == "missing":
        if not present:
            return "INSUFFICIENT_DATA"
        needed = min(needed, len(present))
    breaching = [value for value in present if COMPARE[alarm["ComparisonOperator"]](value, alarm["Threshold"])]
    count = len(breaching) + (len(values) - len(present) if treatment == "breaching" else 0)
    return "ALARM" if count >= needed else "OK"


def mails(monitoring, world, **parameters):
    """The minutes at which each alarm mails, by the alarm's name: a change of state that has an action."""
    defaults = {name: parameter.get("Default") for name, parameter in monitoring["Parameters"].items()}
    parameters = defaults | parameters
    sent = defaultdict(list)
    for name, alarm in of_type(monitoring, "AWS::CloudWatch::Alarm").items():
        if monitoring["Resources"][name].get("Condition") == "HasQuietHours" and not parameters["QuietHours"]:
            continue
        actions = {"ALARM": alarm.get("AlarmActions"), "INSUFFICIENT_DATA": alarm.get("InsufficientDataActions")}
        # Alarms over more than a day are evaluated once an hour.
        queries = alarm.get("Metrics") or [plain(alarm)]
        length = max(query["MetricStat"]["Period"] for query in queries if "MetricStat" in query)
        hours = length * resolved(alarm["EvaluationPeriods"], parameters) / 3600
        last = "INSUFFICIENT_DATA"
        # An operator who has nothing to compare with leaves QuietHours alone: the world began before it was set.
        start = int(hours * 60) if alarm["TreatMissingData"] == "breaching" else 0
        # Every fifth minute is enough of a long world.
        for minute in range(start, world.minutes, 60 if hours > 24 else 5 if world.minutes > 240 else 1):
            now = state(alarm, world, minute, parameters)
            if now != last and actions.get(now):
                sent[name.removesuffix("Alarm")].append(minute)
            last = now
    return dict(sent)
