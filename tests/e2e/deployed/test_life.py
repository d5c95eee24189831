"""A deployment's life: it fails, succeeds, is used, changes under load, has a second one beside it, and goes."""

import contextlib
import itertools
import json
import threading
import time
import unittest

from botocore.exceptions import ClientError

from .stack import SDK_APP_ID, TOKEN, Stack, emulator, token_file

# CloudFormation finds that there is no such secret only once it has begun.
NOWHERE = "https://{{resolve:secretsmanager:nowhere}}"
VERIFIED = 18
ROTATION_SECONDS = 120
# For `chat-groups status`.
READING = "cloudformation:DescribeStacks cloudwatch:DescribeAlarms cloudwatch:GetMetricData lambda:GetAccountSettings"
READING = [*READING.split(), "logs:FilterLogEvents", "sns:ListSubscriptionsByTopic", "sqs:GetQueueAttributes"]


class Life(unittest.TestCase):
    """The tests go by their numbers: each begins where the one before has ended."""

    @classmethod
    def setUpClass(cls):
        cls.stack = Stack("life")

    def test_1_a_first_deployment_that_fails_is_removed_and_the_next_one_succeeds(self):
        with self.assertRaisesRegex(AssertionError, "ROLLBACK_COMPLETE"):
            self.stack.deploy(ForwardUrl=NOWHERE)
        with self.assertRaisesRegex(AssertionError, "make remove-failed"):
            self.stack.deploy()
        self.assertIn("removed the stack life", self.stack.done("remove-failed"))
        self.assertFalse([name for name in self.stack.dynamodb.list_tables()["TableNames"] if name.startswith("life-")])
        self.stack.deploy()
        code, said = self.stack.make("rollback")
        self.assertNotEqual(code, 0)
        self.assertIn("there is no version before 1; nothing was changed", said)

    def test_2_verify_finds_all_as_it_should_be_and_leaves_nothing(self):
        settings = {"URL": self.stack.url, "SDK_APP_ID": SDK_APP_ID, "TABLE_NAME": self.stack.table}
        code, said = self.stack.make("verify", **settings, TOKEN_FILE=token_file(TOKEN))
        self.assertEqual((code, said.count("right  "), said.count("WRONG")), (0, VERIFIED, 0), said)
        self.assertEqual(self.stack.items(), {})
        outcomes = [line["outcome"] for line in self.stack.lines("webhook")]
        self.assertEqual(outcomes.count("rejected"), 2)

    def test_3_upgrade_settings_and_rollback_refuse_no_callback(self):
        with Load(self.stack) as load:
            self.stack.deploy(MaxRequestAgeSeconds="50")
            self.assertEqual(self.setting("MAX_REQUEST_AGE_SECONDS"), "50")
            before = self.parameters()
            said = self.stack.program("set", "MaxRequestAgeSeconds=40")
            self.assertIn("MaxRequestAgeSeconds: 50 -> 40", said)
            changed = {name for name, value in self.parameters().items() if before[name] != value}
            self.assertEqual(changed, {"MaxRequestAgeSeconds", "DeployedAt"})
            self.assertEqual(self.setting("MAX_REQUEST_AGE_SECONDS"), "40")
            self.stack.done("rollback")
            self.assertEqual(self.setting("MAX_REQUEST_AGE_SECONDS"), "50")
        self.assertGreater(len(load.answers), 20)
        self.assertEqual(set(load.answers), {(200, 0)})

    def test_4_a_rotation_refuses_no_callback(self):
        with Load(self.stack) as load:
            self.rotate()
        self.assertEqual(set(load.answers), {(200, 0)})
        secrets = emulator().client("secretsmanager")
        secret = secrets.get_secret_value(SecretId="life/token")["SecretString"]
        self.assertEqual((secret, self.setting("CALLBACK_TOKENS")), (self.stack.token, self.stack.token))
        with self.assertRaises(secrets.exceptions.ResourceNotFoundException):
            secrets.get_secret_value(SecretId="life/token", VersionStage="AWSPENDING")
        self.assertNotEqual(self.stack.token, TOKEN)

    def rotate(self):
        """Enters the new token into Chat's console once it is asked for."""
        rotation = self.stack.begin("./chat-groups", "rotate")
        for line in rotation.stdout:
            if line.startswith("    "):
                token = line.strip()
            if line.startswith("3."):
                break
            if "accept this token" in line:
                rotation.stdin.write("\n")
                rotation.stdin.flush()
        self.stack.token = token
        said, _ = rotation.communicate("\n", timeout=ROTATION_SECONDS)
        self.assertEqual(rotation.returncode, 0, said)

    def parameters(self):
        """As `set` shows them."""
        return dict(line.split("=", 1) for line in self.stack.program("set").splitlines())

    def setting(self, name):
        """A variable of the version of webhook that answers."""
        function = self.stack.physical("Webhook")
        configuration = self.stack.functions.get_function_configuration(FunctionName=function, Qualifier="live")
        return configuration["Environment"]["Variables"][name]

    def test_5_status_tells_all_of_it_to_somebody_who_may_only_read(self):
        with self.user("reader", READING) as keys:
            said = self.stack.program("status", **keys)
        self.assertNotIn("unknown", said)
        self.assertRegex(said, "stack +life: UPDATE_COMPLETE, commit [0-9a-f]{12}.*, 20.* ago")
        self.assertRegex(said, r"callbacks +last: 20.* ago\)\n +last hour: stored [0-9]+.* rejected 2")
        self.assertRegex(said, "queues +retry [0-9]+, forward 0, dead letters 0, dead letters of forward 0")
        self.assertRegex(said, "alarms +none of [0-9]+ rings")
        self.assertRegex(said, "concurrency +[0-9]+ of the account's [0-9]+ are not reserved")

    @contextlib.contextmanager
    def user(self, name, actions):
        """Somebody with these rights only, as a command's variables."""
        iam = self.stack.iam
        iam.create_user(UserName=name)
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
        iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        yield {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
        iam.delete_user_policy(UserName=name, PolicyName=name)
        iam.delete_user(UserName=name)

    def test_6_a_second_stack_shares_nothing_with_the_first(self):
        second = Stack("life-second")
        second.deploy()
        self.addCleanup(remove, second)
        created(second, "of-the-second")
        self.assertEqual(set(second.items("of-the-second")), {"GROUP", "MEMBER#ana", "MEMBER#ben"})
        self.assertEqual(self.stack.items("of-the-second"), {})

    def test_7_its_removal_leaves_the_table_which_the_next_one_takes_over(self):
        created(self.stack, "last")
        table, stream = self.stack.table, self.stack.outputs["TABLE_STREAM_ARN"]
        remove(self.stack)
        self.assertEqual(self.left("lambda", "list_functions", "Functions", "FunctionName"), [])
        self.assertEqual(self.left("sqs", "list_queues", "QueueUrls"), [])
        self.assertEqual(self.left("iam", "list_roles", "Roles", "RoleName"), [])
        self.stack.deploy(ExistingTableName=table, ExistingTableStreamArn=stream)
        self.assertEqual(self.stack.table, table)
        self.assertEqual(set(self.stack.items("last")), {"GROUP", "MEMBER#ana", "MEMBER#ben"})
        created(self.stack, "after-that")
        remove(self.stack)
        self.assertEqual(len(self.stack.items("after-that")), 3)
        with self.assertRaises(ClientError):
            self.stack.dynamodb.delete_table(TableName=table)
        self.stack.dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
        self.stack.dynamodb.delete_table(TableName=table)

    def left(self, service, listing, key, name=None):
        """The names of what the stack has left there."""
        found = getattr(self.stack.emulator.client(service), listing)().get(key, [])
        return [each for each in found if "life-" in (each[name] if name else each)]


class Load:
    """Callbacks from several senders until the block ends."""

    SENDERS = 3

    def __init__(self, stack):
        self.stack, self.answers, self.ended = stack, [], threading.Event()
        self.threads = [threading.Thread(target=self.send, args=[sender]) for sender in range(self.SENDERS)]

    def send(self, sender):
        for number in itertools.count():
            if self.ended.is_set():
                return
            self.answers.append(created(self.stack, f"load-{sender}-{number}"))
            time.sleep(0.05)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join()


def created(stack, group, at=None):
    body = {
        "CallbackCommand": "Group.CallbackAfterCreateGroup",
        "GroupId": group,
        "Operator_Account": "ana",
        "Owner_Account": "ana",
        "Type": "Public",
        "Name": group,
        "MemberList": [{"Member_Account": "ana"}, {"Member_Account": "ben"}],
        "EventTime": int(at or time.time() * 1000),
    }
    return stack.post("Group.CallbackAfterCreateGroup", body)


def remove(stack):
    stack.cloudformation.delete_stack(StackName=stack.name)
    stack.cloudformation.get_waiter("stack_delete_complete").wait(StackName=stack.name, WaiterConfig={"Delay": 1})
