"""The deployed stack, as CloudFormation knows it."""

import os
import sys
import tomllib
from contextlib import contextmanager

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from source import ROOT

# The AWS CLI and our own commands read AWS_REGION first; boto3, and `sam` with it, read only the other one.
if region := os.environ.get("AWS_REGION"):
    os.environ["AWS_DEFAULT_REGION"] = region

SAMCONFIG = ROOT / "samconfig.toml"

# A creation that failed. Such a stack can only be deleted.
FAILED = {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED"}


def name():
    """`STACK_NAME`, or that of samconfig.toml."""
    defaults = tomllib.loads(SAMCONFIG.read_text())["default"]["global"]["parameters"]
    return os.environ.get("STACK_NAME") or defaults["stack_name"]


class Stack:
    """The stack's status, parameters and outputs; all of them empty where it is not deployed."""

    def __init__(self):
        found = find()
        self.status = found.get("StackStatus", "")
        self.parameters = {entry["ParameterKey"]: entry["ParameterValue"] for entry in found.get("Parameters", [])}
        self.outputs = {entry["OutputKey"]: entry["OutputValue"] for entry in found.get("Outputs", [])}


def find():
    try:
        return boto3.client("cloudformation").describe_stacks(StackName=name())["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return {}
        raise


def resources():
    """The stack's resources, as (logical id, type, physical id)."""
    entries = boto3.client("cloudformation").describe_stack_resources(StackName=name())["StackResources"]
    return [
        (entry["LogicalResourceId"], entry["ResourceType"], entry.get("PhysicalResourceId", "")) for entry in entries
    ]


@contextmanager
def errors_in_a_line():
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"error: {error}")
