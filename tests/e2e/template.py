"""The templates as CloudFormation gets them: after SAM's transformation."""

import os
from pathlib import Path

import boto3
from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

ROOT = Path(__file__).parents[2]
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
PROGRAM = TARGET / "debug/chat-groups"
PARAMETERS = {
    "SdkAppId": "1400000001",
    "CallbackTokenSecret": "chat-groups/token",
    "DeployedAt": "1764113712",
    "Architecture": "arm64",
}


def transformed(source=None, **parameters):
    template = source or yaml_parse((ROOT / "template.yaml").read_text())
    for resource in template["Resources"].values():
        if resource.get("Properties", {}).get("CodeUri") == ".":
            # What `sam package` would put there.
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    session = boto3.Session(region_name="eu-west-1")
    os.environ.setdefault("AWS_DEFAULT_REGION", "eu-west-1")
    return Translator({}, Parser(), boto_session=session).translate(template, PARAMETERS | parameters)


def monitoring():
    return yaml_parse((ROOT / "monitoring.yaml").read_text())


def of_type(template, kind):
    """The properties of all resources of a type, by name."""
    return {
        name: resource.get("Properties", {})
        for name, resource in template["Resources"].items()
        if resource["Type"] == kind
    }


def target(value):
    """The resource or parameter that a Ref or GetAtt means."""
    if "Ref" in value:
        return value["Ref"]
    name = value["Fn::GetAtt"]
    return name.split(".")[0] if isinstance(name, str) else name[0]


def chosen(template, value, parameters):
    """What an If stands for with these parameters, or the value itself."""
    if not isinstance(value, dict) or "Fn::If" not in value:
        return value
    condition, yes, no = value["Fn::If"]
    return chosen(template, yes if holds(template, {"Condition": condition}, parameters) else no, parameters)


def holds(template, condition, parameters):
    ((function, operands),) = condition.items()
    if function == "Condition":
        return holds(template, template["Conditions"][operands], parameters)
    if function == "Fn::Equals":
        left, right = (str(parameters[side["Ref"]]) if isinstance(side, dict) else str(side) for side in operands)
        return left == right
    results = [holds(template, operand, parameters) for operand in operands]
    return {"Fn::Not": not results[0], "Fn::And": all(results), "Fn::Or": any(results)}[function]
