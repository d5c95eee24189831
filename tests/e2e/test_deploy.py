"""`make deploy` and `make outputs`, against an emulator of CloudFormation and Secrets Manager; `sam` itself is recorded."""

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
from moto.server import ThreadedMotoServer
from samcli.cli.types import CfnParameterOverridesType
from services import CREDENTIALS
from template import ROOT, TARGET, of_type, transformed

RECORDER = """#!/usr/bin/env python3
import json, os, sys
with open(os.environ["RECORD"], "a") as record:
    record.write(json.dumps(sys.argv) + "\\n")
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

    def client(self, service):
        return boto3.client(service, endpoint_url=self.endpoint, **CREDENTIALS)

    def run_tool(self, tool, **settings):
        env = {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "RECORD": str(self.folder / "record"),
            "STACK_NAME": self.id().rsplit(".", 1)[1].replace("_", "-"),
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": CREDENTIALS["region_name"],
            "AWS_DEFAULT_REGION": CREDENTIALS["region_name"],
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        env |= {name: os.environ[name] for name in ("CARGO_TARGET_DIR", "HOME") if name in os.environ} | settings
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
        given = command[command.index("--parameter-overrides") + 1 :]
        return CfnParameterOverridesType().convert(given, None, None)

    def deployed_before(self, **parameters):
        template = {
            "Parameters": {name: {"Type": "String"} for name in parameters},
            "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
            "Outputs": {
                "CallbackUrl": {"Value": "https://example.execute-api.eu-west-1.amazonaws.com/"},
                "TableName": {"Value": "a-table"},
                "ForwardDeadLetterQueueUrl": {"Value": "https://sqs/it's"},
            },
        }
        self.client("cloudformation").create_stack(
            StackName=self.id().rsplit(".", 1)[1].replace("_", "-"),
            TemplateBody=json.dumps(template),
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        )

    def test_a_first_deployment_builds_for_arm64_and_deploys_that(self):
        code, said = self.deploy(PARAMETERS="AlarmEmail=me@example.com ForwardUrl=https://a.example/hook?a=b&c=d")
        self.assertEqual(code, 0, said)
        make, sam = self.recorded()
        self.assertEqual(make[1:], ["--no-print-directory", "build", "ARCHITECTURE=arm64"])
        self.assertEqual(sam[sam.index("--template-file") + 1], str(TARGET / "lambda/arm64/template.yaml"))
        parameters = self.parameters()
        self.assertRegex(parameters.pop("DeployedAt"), r"^20\d\d-\d\d-\d\dT")
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
        code, said = self.deploy(PARAMETERS="ForwardUrl= 'ReconcileSchedule=rate(1 hour)'")
        self.assertEqual(code, 0, said)
        parameters = self.parameters()
        self.assertEqual((parameters["ForwardUrl"], parameters["ReconcileSchedule"]), ("", "rate(1 hour)"))

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
        self.assertEqual(self.recorded()[0][-1], "ARCHITECTURE=x86_64")
        self.assertEqual(set(self.parameters()), {"Architecture", "DeployedAt"})
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

    def test_the_outputs_are_shell_variables(self):
        self.deployed_before()
        code, said = self.run_tool("outputs")
        self.assertEqual(code, 0, said)
        script = f'{said}\necho "$TABLE_NAME $FORWARD_DEAD_LETTER_QUEUE_URL"'
        ran = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        self.assertEqual(ran.stdout, "a-table https://sqs/it's\n")

    def test_without_a_stack_the_outputs_are_an_error(self):
        code, said = self.run_tool("outputs")
        self.assertEqual(code, 1, said)
        self.assertIn("there is no stack test-without-a-stack", said)

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
        uploaded = set()
        for entry in s3.list_objects_v2(Bucket="code")["Contents"]:
            archive = zipfile.ZipFile(io.BytesIO(s3.get_object(Bucket="code", Key=entry["Key"])["Body"].read()))
            self.assertEqual([info.filename for info in archive.infolist()], ["bootstrap"])
            self.assertTrue(archive.infolist()[0].external_attr >> 16 & 0o111, "not executable")
            uploaded.add(archive.read("bootstrap"))
        functions = [name.lower() for name in of_type(transformed(), "AWS::Lambda::Function")]
        self.assertEqual(uploaded, {bootstrap(name).read_bytes() for name in functions})
        # The copy says where the binaries are, and nothing else.
        copy = (TARGET / f"lambda/{MACHINE}/template.yaml").read_text()
        for name in functions:
            copy = copy.replace(f"CodeUri: {name}\n", f"CodeUri: . # make build: {name}\n")
        self.assertEqual(copy, (ROOT / "template.yaml").read_text())
