"""What CloudWatch does with an alarm of the template: enough of it to play minutes through it."""

import re

COMPARE = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
}


class Series(list):
    """One value for each period, oldest first; None where there is none."""

    def __add__(self, other):
        return Series(a + b for a, b in zip(self, other, strict=True))

    def __sub__(self, other):
        return Series(a - b for a, b in zip(self, other, strict=True))


def fill(series, value):
    return Series(value if point is None else point for point in series)


def maximum(several):
    return Series(map(max, zip(*several, strict=True)))


def state(alarm, **series):
    """The alarm's state after these periods; a metric goes by its Id in an expression, else by `value`.

    A metric that is not given has no data.
    """
    periods = len(next(iter(series.values())))
    if "Metrics" in alarm:
        expression = next(metric["Expression"] for metric in alarm["Metrics"] if "Expression" in metric)
        ids = [metric["Id"] for metric in alarm["Metrics"] if "MetricStat" in metric]
        assert set(series) <= set(ids), f"the alarm knows {ids}"
        values = {id: Series(series.get(id, [None] * periods)) for id in ids}
        assert re.fullmatch(r"[\w(),+\-\[\] ]+", expression)
        points = eval(expression, {"__builtins__": {}, "FILL": fill, "MAX": maximum}, values)
    else:
        points = series["value"]
    points = points[-alarm["EvaluationPeriods"] :]
    present = [point for point in points if point is not None]
    needed = alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"])
    if alarm["TreatMissingData"] == "missing":
        if not present:
            return "INSUFFICIENT_DATA"
        needed = min(needed, len(present))
    else:
        assert alarm["TreatMissingData"] == "notBreaching"
    breaching = [point for point in present if COMPARE[alarm["ComparisonOperator"]](point, alarm["Threshold"])]
    return "ALARM" if len(breaching) >= needed else "OK"
