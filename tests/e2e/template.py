"""The template as CloudFormation gets it: after SAM's transformation."""

import os
from pathlib import Path

import boto3
from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

ROOT = Path(__file__).parents[2]
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
PROGRAM = TARGET / "debug/chat-groups"
PARAMETERS = {"SdkAppId": "1400000001", "CallbackTokenSecret": "chat-groups/token", "Architecture": "arm64"}


def transformed():
    template = yaml_parse((ROOT / "template.yaml").read_text())
    for resource in template["Resources"].values():
        if "CodeUri" in resource.get("Properties", {}):
            # What `sam package` would put there.
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    session = boto3.Session(region_name="eu-west-1")
    os.environ.setdefault("AWS_DEFAULT_REGION", "eu-west-1")
    return Translator({}, Parser(), boto_session=session).translate(template, dict(PARAMETERS))


def of_type(template, kind):
    """The properties of all resources of a type, by name."""
    return {
        name: resource.get("Properties", {})
        for name, resource in template["Resources"].items()
        if resource["Type"] == kind
    }


def target(value):
    """The resource that a Ref or GetAtt means."""
    if "Ref" in value:
        return value["Ref"]
    name = value["Fn::GetAtt"]
    return name.split(".")[0] if isinstance(name, str) else name[0]
