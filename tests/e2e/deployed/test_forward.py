"""What the downstream receiver takes, gives and refuses, through the gateway."""

import hashlib
import json
import unittest
from urllib.parse import parse_qs

from standins import OK

from .shared import afresh
from .stack import SDK_APP_ID, TOKEN
from .test_life import created

OTHER = "Group.CallbackAfterSendMsg"
DECISION = "Group.CallbackBeforeSendMsg"


class Forward(unittest.TestCase):
    def setUp(self):
        parts = afresh()
        self.stack, self.receiver = parts.stack, parts.receiver

    def test_a_kept_callback_is_stored_and_forwarded_as_it_came(self):
        self.assertEqual(created(self.stack, "kept"), (200, 0))
        self.assertIn("GROUP", self.stack.items("kept"))
        [(path, query, body)] = self.receiver.requests
        self.assertEqual((path, json.loads(body)["GroupId"]), ("/hook", "kept"))
        query = {name: value for name, [value] in parse_qs(query).items()}
        self.assertEqual((query["own"], query["SdkAppid"], query["ClientIP"]), ("1", SDK_APP_ID, "203.0.113.7"))
        self.assertEqual(query["Sign"], hashlib.sha256((TOKEN + query["RequestTime"]).encode()).hexdigest())

    def test_another_command_is_the_receivers_to_answer(self):
        for command in (OTHER, DECISION):
            self.receiver.says = OK | {"ErrorCode": 10016, "ErrorInfo": "no"}
            self.assertEqual(self.stack.post(command, {"CallbackCommand": command}), (200, 10016))

    def test_a_decision_is_never_invented_and_never_queued(self):
        self.receiver.status = 503
        self.assertEqual(self.stack.post(DECISION, {"CallbackCommand": DECISION}), (503, 120008))
        for queue in ("FORWARD_QUEUE_URL", "RETRY_QUEUE_URL"):
            self.assertEqual(self.stack.waiting(queue), 0)
