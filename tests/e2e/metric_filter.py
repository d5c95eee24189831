"""The part of CloudWatch's filter patterns that the template uses: comparisons of fields, joined by && and ||."""

import operator
import re

COMPARISON = re.compile(r'\$\.(\w+) (?:(=|!=|>=|<=|>|IS) ("[^"]*"|TRUE|FALSE|[\d.]+)|(NOT EXISTS))')
OPERATORS = {
    "=": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "IS": operator.is_,
}


def matches(pattern, line):
    """Whether a log line, as a dict, matches. A pattern that is not understood is an error."""
    inner = re.fullmatch(r"\{ (.*) \}", pattern).group(1)
    found = COMPARISON.sub(lambda comparison: str(compare(comparison, line)), inner)
    found = found.replace("&&", "and").replace("||", "or")
    assert re.fullmatch(r"(True|False|and|or|[() ])+", found), pattern
    return eval(found)


def compare(comparison, line):
    field, sign, text, absent = comparison.groups()
    if absent:
        return field not in line
    if line.get(field) is None:
        return False
    if text == '"*"':
        return isinstance(line[field], str)
    booleans = {"TRUE": True, "FALSE": False}
    expected = booleans[text] if text in booleans else text.strip('"') if text.startswith('"') else float(text)
    if type(expected) is float and isinstance(line[field], (bool, str)):
        return False
    return OPERATORS[sign](line[field], expected)


def fields(pattern):
    """The fields that a pattern names."""
    return {comparison.group(1) for comparison in COMPARISON.finditer(pattern)}
