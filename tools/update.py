"""Another deployment of what is deployed: the same template and code, with other parameters or another secret."""

import json
import sys
from datetime import datetime, timezone

import boto3
import stack
from botocore.exceptions import WaiterError

# What belongs to the code: only `make deploy` changes it.
FIXED = {"Architecture", "Commit", "DeployedAt"}

# The template makes roles, and SAM transforms it once more.
CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]

POLL_SECONDS = 5
MAX_POLLS = 360


def deployed():
    """The stack's parameters and outputs by name."""
    found = stack.Stack()
    if not found.status:
        sys.exit(f"error: there is no stack {stack.name()} in this account and region")
    return found.parameters, found.outputs


def update(changes):
    """Gives some parameters new values, has the secrets read again, and returns once all that is in place."""
    client = boto3.client("cloudformation")
    start = datetime.now(timezone.utc)
    before = deployed()[0]
    # Without a changed parameter CloudFormation would not read the secret again.
    seconds = int(start.timestamp())
    changes = changes | {"DeployedAt": str(seconds if before["DeployedAt"] != str(seconds) else seconds + 1)}
    parameters = [
        {"ParameterKey": name} | ({"ParameterValue": changes[name]} if name in changes else {"UsePreviousValue": True})
        for name in before
    ]
    # UsePreviousTemplate would mean the template after SAM's transform, with the versions of the last deployment.
    template = client.get_template(StackName=stack.name(), TemplateStage="Original")["TemplateBody"]
    body = template if isinstance(template, str) else json.dumps(template)
    client.update_stack(StackName=stack.name(), TemplateBody=body, Parameters=parameters, Capabilities=CAPABILITIES)
    print(f"updating the stack {stack.name()}; its template and code stay …", flush=True)
    waiter = client.get_waiter("stack_update_complete")
    try:
        waiter.wait(StackName=stack.name(), WaiterConfig={"Delay": POLL_SECONDS, "MaxAttempts": MAX_POLLS})
    except WaiterError as error:
        reasons = "".join(f"\n  {reason}" for reason in failures(client, start))
        sys.exit(f"error: the stack {stack.name()} was not updated: {reasons or error}")


def failures(client, start):
    """What failed since then, the first failure first."""
    pages = client.get_paginator("describe_stack_events").paginate(StackName=stack.name())
    events = [event for page in pages for event in page["StackEvents"] if event["Timestamp"] >= start]
    failed = [event for event in reversed(events) if event["ResourceStatus"].endswith("_FAILED")]
    return [f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}" for event in failed]
