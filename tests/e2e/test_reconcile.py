"""The release binary `reconcile`: it reads its secret key, fills the table, and its lines are counted; and `make
reconcile`, the same from a laptop."""

import os
import subprocess
from urllib.error import HTTPError

import boto3
from harness import FunctionCase, keys_of
from services import CREDENTIALS, TABLE
from standins import ChatApi
from template import PROGRAM

# The vendor's published sample.
KEY = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"

FIELDS = {"dry_run", "finished", "groups_listed", "groups_checked", "groups_added", "groups_changed", "groups_destroyed"}
FIELDS |= {"members_added", "members_removed", "members_changed", "skipped"}


class Reconcile(FunctionCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        secrets = boto3.client("secretsmanager", endpoint_url=cls.queues.endpoint, **CREDENTIALS)
        cls.secret = secrets.create_secret(Name="chat-groups/secret-key", SecretString=KEY)["ARN"]

    def setUp(self):
        super().setUp()
        self.chat = ChatApi()
        self.addCleanup(self.chat.stop)
        self.parameters = {"ChatSecretKeyArn": self.secret, "ChatApiUrl": self.chat.url}

    def test_a_pass_brings_in_a_group_that_was_never_announced(self):
        with self.function("reconcile", self.parameters) as reconcile:
            answer = reconcile.invoke({})
            self.assertEqual(set(answer), FIELDS)
            self.assertEqual((answer["finished"], answer["groups_added"], answer["members_added"]), (True, 1, 2))
            line = reconcile.lines()[-1]
            self.assertEqual((line["outcome"], line["groups_added"]), ("reconciled", 1))
            self.metrics_take(reconcile.lines(), "ReconcileLog")
            for secret in (KEY, "usersig"):
                self.assertNotIn(secret, reconcile.output())
        expected = keys_of({"GroupId": self.chat.GROUP["GroupId"], "MemberList": self.chat.MEMBERS})
        self.assertLessEqual(expected, self.stored_keys())

    def test_a_dry_run_changes_no_group_and_counts_as_no_drift(self):
        with self.function("reconcile", self.parameters) as reconcile:
            self.assertEqual(reconcile.invoke({"dry_run": True})["groups_added"], 1)
            self.metrics_take(reconcile.lines(), "ReconcileLog")
        self.assertFalse([pk for pk, _ in self.stored_keys() if self.chat.GROUP["GroupId"] in pk])

    def test_a_pass_that_fails_says_so(self):
        self.chat.error = {"ActionStatus": "FAIL", "ErrorInfo": "no permission", "ErrorCode": 10007}
        with self.function("reconcile", self.parameters) as reconcile:
            reconcile.invoke({})
            line = reconcile.lines()[-1]
            self.assertEqual(line["outcome"], "failed")
            self.assertIn("10007", line["error"])
            self.metrics_take(reconcile.lines(), "ReconcileLog")
        self.assertFalse([pk for pk, _ in self.stored_keys() if self.chat.GROUP["GroupId"] in pk])

    def test_a_secret_that_is_not_there_stops_the_start(self):
        missing = self.parameters | {"ChatSecretKeyArn": self.secret.replace("secret-key", "other")}
        with self.function("reconcile", missing) as reconcile:
            # What the emulator answers where Lambda counts an error.
            self.assertRaises(HTTPError, reconcile.invoke, {})
            self.assertIn("CHAT_SECRET_KEY_ID", reconcile.output())

    def by_hand(self, **settings):
        env = {
            "TABLE_NAME": TABLE,
            "SDK_APP_ID": "1400000001",
            "CHAT_API_URL": self.chat.url,
            "CHAT_ADMIN_ACCOUNT": "administrator",
            "CHAT_SECRET_KEY": KEY,
            "AWS_ENDPOINT_URL_DYNAMODB": self.local_run.dynamodb_url,
            "AWS_REGION": CREDENTIALS["region_name"],
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        } | settings
        program = [PROGRAM, "reconcile"]
        ran = subprocess.run(program, env=os.environ | env, capture_output=True, text=True)
        for secret in (KEY, "usersig"):
            self.assertNotIn(secret, ran.stdout + ran.stderr)
        return ran.returncode, ran.stdout + ran.stderr

    def test_from_a_laptop_it_says_what_is_wrong(self):
        code, said = self.by_hand(APPLY="maybe")
        self.assertEqual(code, 2)
        self.assertIn("invalid value 'maybe' for '--apply'", said)
        code, said = self.by_hand(CHAT_ADMIN_ACCOUNT="")
        self.assertEqual(code, 1)
        self.assertIn("CHAT_ADMIN_ACCOUNT: expected the UserID of an App admin", said)
        self.chat.error = {"ActionStatus": "FAIL", "ErrorInfo": "no permission", "ErrorCode": 10007}
        code, said = self.by_hand()
        self.assertEqual(code, 1)
        self.assertIn("ErrorCode 10007", said)
