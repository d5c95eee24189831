"""What deploys, against an emulator of CloudFormation, Lambda and Secrets Manager; `sam` itself is recorded."""

import io
import json
import os
import subprocess
import tempfile
import unittest
import zipfile
from pathlib import Path

import boto3
from emulator import MACHINE
from harness import bootstrap
from moto.cloudformation.models import cloudformation_backends
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT_ID
from moto.server import ThreadedMotoServer
from samcli.cli.types import CfnParameterOverridesType
from services import CREDENTIALS
from template import ROOT, TARGET, of_type, transformed

RECORDER = """#!/usr/bin/env python3
import json, os, sys
with open(os.environ["RECORD"], "a") as record:
    record.write(json.dumps(sys.argv + [os.environ.get("AWS_DEFAULT_REGION")]) + "\\n")
"""


class Deploy(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        cls.addClassCleanup(server.stop)
        cls.endpoint = "http://{}:{}".format(*server.get_host_and_port())

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        for name in ("make", "sam"):
            (self.folder / name).write_text(RECORDER)
            (self.folder / name).chmod(0o755)

    def stack(self):
        return self.id().rsplit(".", 1)[1].replace("_", "-")

    def client(self, service):
        return boto3.client(service, endpoint_url=self.endpoint, **CREDENTIALS)

    def run_tool(self, tool, **settings):
        env = {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "RECORD": str(self.folder / "record"),
            "STACK_NAME": self.stack(),
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": CREDENTIALS["region_name"],
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        env |= {name: os.environ[name] for name in ("CARGO_TARGET_DIR", "HOME") if name in os.environ} | settings
        env = {name: value for name, value in env.items() if value is not None}
        ran = subprocess.run(
            [ROOT / "tools" / tool], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        return ran.returncode, ran.stdout + ran.stderr

    def deploy(self, tokens="a-token", **settings):
        self.client("secretsmanager").create_secret(Name=self.id(), SecretString=tokens)
        given = {"SDK_APP_ID": "1400000001", "CALLBACK_TOKEN_SECRET": self.id()} | settings
        return self.run_tool("deploy", **given)

    def recorded(self):
        record = self.folder / "record"
        return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []

    def parameters(self):
        """What SAM would take from its command line."""
        command = self.recorded()[-1]
        given = command[command.index("--parameter-overrides") + 1 : -1]
        return CfnParameterOverridesType().convert(given, None, None)

    def deployed_before(self, **parameters):
        template = {
            "Parameters": {name: {"Type": "String"} for name in parameters},
            "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
            "Outputs": {
                "CallbackUrl": {"Value": "https://example.execute-api.eu-west-1.amazonaws.com/"},
                "TableName": {"Value": "a-table"},
                "Commit": {"Value": "0123456789ab"},
            },
        }
        self.client("cloudformation").create_stack(
            StackName=self.stack(),
            TemplateBody=json.dumps(template),
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        )

    def test_a_first_deployment_builds_for_arm64_and_deploys_that(self):
        code, said = self.deploy(PARAMETERS="AlarmEmail=me@example.com ForwardUrl=https://a.example/hook?a=b&c=d")
        self.assertEqual(code, 0, said)
        make, sam = self.recorded()
        self.assertEqual(make[1:-1], ["--no-print-directory", "build", "ARCHITECTURE=arm64"])
        self.assertEqual(sam[sam.index("--template-file") + 1], str(TARGET / "lambda/arm64/template.yaml"))
        parameters = self.parameters()
        self.assertEqual(sam[sam.index("--tags") + 1], f"application={self.stack()}")
        self.assertRegex(parameters.pop("DeployedAt"), r"^\d{10}$")
        commit = parameters.pop("Commit")
        self.assertRegex(commit, r"^[0-9a-f]{12}(-modified)?$|^unknown$")
        self.assertIn(f"Deploying {commit} as {self.stack()}, which replaces nothing", said)
        self.assertEqual(
            parameters,
            {
                "SdkAppId": "1400000001",
                "CallbackTokenSecret": self.id(),
                "Architecture": "arm64",
                "AlarmEmail": "me@example.com",
                "ForwardUrl": "https://a.example/hook?a=b&c=d",
            },
        )

    def test_a_parameter_may_become_empty_or_hold_a_space(self):
        code, said = self.deploy(PARAMETERS="ForwardUrl= 'ChatAdminAccount=an admin'")
        self.assertEqual(code, 0, said)
        parameters = self.parameters()
        self.assertEqual((parameters["ForwardUrl"], parameters["ChatAdminAccount"]), ("", "an admin"))

    def test_a_secret_that_no_function_would_start_with_is_refused(self):
        for number, tokens in enumerate(["", " \n", "one two three", "x" * 129]):
            with self.subTest(tokens):
                name = f"{self.id()}-{number}"
                self.client("secretsmanager").create_secret(Name=name, SecretString=tokens or " ")
                code, said = self.run_tool("deploy", SDK_APP_ID="1400000001", CALLBACK_TOKEN_SECRET=name)
                self.assertEqual(code, 1, said)
                self.assertIn("expected one or two tokens", said)
                self.assertNotIn("three", said)
                self.assertEqual(self.recorded(), [])

    def test_a_secret_of_key_and_value_is_refused(self):
        for number, pairs in enumerate(['{"token":"a-token"}', ' {"token": "a-token"}']):
            with self.subTest(pairs):
                name = f"{self.id()}-{number}"
                self.client("secretsmanager").create_secret(Name=name, SecretString=pairs)
                code, said = self.run_tool("deploy", SDK_APP_ID="1400000001", CALLBACK_TOKEN_SECRET=name)
                self.assertEqual(code, 1, said)
                self.assertIn("expected the token as plain text, not key/value pairs; nothing was deployed", said)
                self.assertNotIn("a-token", said)
                self.assertEqual(self.recorded(), [])

    def test_two_tokens_are_taken(self):
        code, said = self.deploy("old new\n")
        self.assertEqual(code, 0, said)

    def test_a_secret_that_is_not_there_is_named(self):
        code, said = self.run_tool("deploy", SDK_APP_ID="1400000001", CALLBACK_TOKEN_SECRET="elsewhere")
        self.assertEqual(code, 1, said)
        self.assertIn("Secrets Manager can't find the specified secret", said)

    def test_a_later_deployment_keeps_what_is_not_named_and_ends_with_the_next_step(self):
        self.client("secretsmanager").create_secret(Name=self.id(), SecretString="a-token")
        self.deployed_before(SdkAppId="1400000001", CallbackTokenSecret=self.id(), Architecture="x86_64")
        code, said = self.run_tool("deploy")
        self.assertEqual(code, 0, said)
        self.assertIn("which replaces 0123456789ab", said)
        self.assertEqual(self.recorded()[0][-2], "ARCHITECTURE=x86_64")
        self.assertEqual(set(self.parameters()), {"Architecture", "Commit", "DeployedAt"})
        self.assertEqual(self.parameters()["Architecture"], "x86_64")
        url = "URL=https://example.execute-api.eu-west-1.amazonaws.com/"
        self.assertIn(f"make verify {url} SDK_APP_ID=1400000001 TABLE_NAME=a-table TOKEN_FILE=token", said)

        code, said = self.run_tool("deploy", ARCHITECTURE="arm64")
        self.assertEqual(code, 0, said)
        self.assertEqual(self.parameters()["Architecture"], "arm64")

    def test_a_first_deployment_without_its_settings_says_what_is_missing(self):
        code, said = self.run_tool("deploy")
        self.assertEqual(code, 1, said)
        self.assertIn("SdkAppId: expected a value", said)

    def test_without_a_stack_the_outputs_are_an_error(self):
        code, said = self.run_tool("outputs")
        self.assertEqual(code, 1, said)
        self.assertIn("there is no stack test-without-a-stack", said)

    def test_either_variable_names_the_region_and_the_awss_own_goes_first(self):
        self.deployed_before(SdkAppId="1400000001", CallbackTokenSecret=self.id())
        self.client("secretsmanager").create_secret(Name=self.id(), SecretString="a-token")
        here, elsewhere = CREDENTIALS["region_name"], "us-east-1"
        for settings, found in [
            ({"AWS_REGION": here}, True),
            ({"AWS_REGION": None, "AWS_DEFAULT_REGION": here}, True),
            ({"AWS_REGION": here, "AWS_DEFAULT_REGION": elsewhere}, True),
            ({"AWS_REGION": elsewhere, "AWS_DEFAULT_REGION": here}, False),
        ]:
            with self.subTest(settings):
                self.assertEqual(self.run_tool("outputs", **settings)[0] == 0, found)
                code, said = self.run_tool("deploy", **settings)
                self.assertEqual(code == 0, found, said)
                if found:
                    # `sam` too is told.
                    self.assertEqual(self.recorded()[-1][-1], here)

    def test_a_table_with_items_and_a_stack_that_works_are_left_alone(self):
        self.deployed_before()
        code, said = self.run_tool("remove-failed")
        self.assertEqual(code, 1, said)
        self.assertIn("expected one whose creation failed, found CREATE_COMPLETE", said)

        self.client("cloudformation").delete_stack(StackName=self.stack())
        self.failed_with_a_table()
        item = {"pk": {"S": "1400000001#a"}, "sk": {"S": "GROUP"}}
        self.client("dynamodb").put_item(TableName="a-protected-table", Item=item)
        code, said = self.run_tool("remove-failed")
        self.assertEqual(code, 1, said)
        self.assertIn("the table a-protected-table: expected no item; nothing was removed", said)
        self.client("dynamodb").delete_item(TableName="a-protected-table", Key=item)
        self.assertEqual(self.run_tool("remove-failed")[0], 0)

    def failed_with_a_table(self):
        """What is left of a first deployment that failed: the stack, and the table, which is retained."""
        table = of_type(transformed(), "AWS::DynamoDB::Table")["Table"] | {"TableName": "a-protected-table"}
        for name in ("PointInTimeRecoverySpecification", "TimeToLiveSpecification"):
            table.pop(name)
        resource = {"Type": "AWS::DynamoDB::Table", "DeletionPolicy": "Retain", "Properties": table}
        template = {"Resources": {"Table": resource}}
        self.client("cloudformation").create_stack(StackName=self.stack(), TemplateBody=json.dumps(template))
        stacks = cloudformation_backends[ACCOUNT_ID][CREDENTIALS["region_name"]].stacks.values()
        stack = next(stack for stack in stacks if stack.name == self.stack())
        stack.status = "ROLLBACK_COMPLETE"

    def test_a_stack_that_is_being_changed_is_left_alone(self):
        self.deployed_before(SdkAppId="1400000001", CallbackTokenSecret=self.id())
        stacks = cloudformation_backends[ACCOUNT_ID][CREDENTIALS["region_name"]].stacks.values()
        next(stack for stack in stacks if stack.name == self.stack()).status = "UPDATE_IN_PROGRESS"
        code, said = self.deploy()
        self.assertEqual((code, self.recorded()), (1, []))
        self.assertIn("wait until that has ended", said)

    def test_what_sam_uploads_is_what_was_tested(self):
        s3 = self.client("s3")
        s3.create_bucket(Bucket="code", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        env = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        command = ["sam", "package", "--s3-bucket", "code", "--template-file", TARGET / f"lambda/{MACHINE}/template.yaml"]
        ran = subprocess.run(command, env=os.environ | env, capture_output=True, text=True)
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
        uploaded, templates = set(), 0
        for entry in s3.list_objects_v2(Bucket="code")["Contents"]:
            content = s3.get_object(Bucket="code", Key=entry["Key"])["Body"].read()
            if not content.startswith(b"PK"):
                self.assertIn("LostAlarm", content.decode())
                templates += 1
                continue
            archive = zipfile.ZipFile(io.BytesIO(content))
            self.assertEqual([info.filename for info in archive.infolist()], ["bootstrap"])
            self.assertTrue(archive.infolist()[0].external_attr >> 16 & 0o111, "not executable")
            uploaded.add(archive.read("bootstrap"))
        self.assertEqual(templates, 1)
        functions = [name.lower() for name in of_type(transformed(), "AWS::Lambda::Function")]
        self.assertEqual(uploaded, {bootstrap(name).read_bytes() for name in functions})
        # The copy says where the binaries are, and nothing else.
        copy = (TARGET / f"lambda/{MACHINE}/template.yaml").read_text()
        for name in functions:
            copy = copy.replace(f"CodeUri: {name}\n", f"CodeUri: . # make build: {name}\n")
        self.assertEqual(copy, (ROOT / "template.yaml").read_text())
        copy = (TARGET / f"lambda/{MACHINE}/monitoring.yaml").read_text()
        self.assertEqual(copy, (ROOT / "monitoring.yaml").read_text())
