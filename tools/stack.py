"""The deployed stack, as CloudFormation knows it."""

import os
import tomllib
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

ROOT = Path(__file__).parents[1]
SAMCONFIG = ROOT / "samconfig.toml"


def name():
    """`STACK_NAME`, or that of samconfig.toml."""
    defaults = tomllib.loads(SAMCONFIG.read_text())["default"]["global"]["parameters"]
    return os.environ.get("STACK_NAME") or defaults["stack_name"]


def describe():
    """The stack's parameters and outputs by name, or nothing where it is not deployed."""
    try:
        stack = boto3.client("cloudformation").describe_stacks(StackName=name())["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return {}, {}
        raise
    parameters = {entry["ParameterKey"]: entry["ParameterValue"] for entry in stack.get("Parameters", [])}
    outputs = {entry["OutputKey"]: entry["OutputValue"] for entry in stack.get("Outputs", [])}
    return parameters, outputs
