"""One stack with everything switched on, for all tests that leave it as they found it."""

import functools
from types import SimpleNamespace

from standins import OK

from .stack import Stack, emulator
from .standins import Chat, Receiver


@functools.cache
def shared():
    """The stack, its downstream receiver, Chat, and the queue of a rule on the bus for changes."""
    chat, receiver, stack = Chat(), Receiver(), Stack("shared")
    secret = emulator().client("secretsmanager").describe_secret(SecretId="chat-groups/secret-key")["ARN"]
    bus = stack.events.create_event_bus(Name="changes")["EventBusArn"]
    changes, queue = stack.new_queue("changes")
    stack.events.put_rule(Name="changes", EventBusName="changes", EventPattern='{"source": ["chat-groups"]}')
    stack.events.put_targets(Rule="changes", EventBusName="changes", Targets=[{"Id": "queue", "Arn": queue}])
    stack.deploy(
        ChatSecretKeyArn=secret,
        ChatApiUrl=chat.url,
        ForwardUrl=f"{receiver.url}/hook?own=1",
        EventBusArn=bus,
        HistoryDays="30",
    )
    return SimpleNamespace(stack=stack, receiver=receiver, chat=chat, changes=changes)


def afresh():
    """The same with empty table and queues, a receiver that takes everything, and a Chat without groups."""
    parts = shared()
    parts.stack.clear()
    parts.stack.sqs.purge_queue(QueueUrl=parts.changes)
    parts.receiver.status, parts.receiver.says = 200, OK
    parts.receiver.requests.clear()
    parts.chat.groups = {}
    parts.chat.asked_for_roles = lambda: None
    return parts
