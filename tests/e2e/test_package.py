"""`make package`: its folder, deployed without Rust into an emulator of CloudFormation, Lambda and S3."""

import base64
import hashlib
import json
import unittest
import zipfile

import boto3
import requests
from harness import bootstrap
from moto.server import ThreadedMotoServer
from samcli.yamlhelper import yaml_parse
from emulator import MACHINE
from services import CREDENTIALS
from template import TARGET, monitoring, of_type, transformed

PACKAGE = TARGET / f"package/{MACHINE}"
KNOWN = {
    "AWS::CloudFormation::Stack",
    "AWS::DynamoDB::Table",
    "AWS::IAM::Role",
    "AWS::Lambda::Function",
    "AWS::Logs::LogGroup",
    "AWS::S3::Bucket",
    "AWS::SQS::Queue",
}
FUNCTIONS = ("webhook", "redrive", "reconcile", "publish")


class Package(unittest.TestCase):
    def test_the_checksums_are_those_of_the_files(self):
        sums = dict(reversed(line.split("  ")) for line in (PACKAGE / "SHA256SUMS").read_text().splitlines())
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in PACKAGE.iterdir()}
        files.pop("SHA256SUMS")
        self.assertEqual(sums, files)
        # A name that changes with the content makes CloudFormation see the change.
        for name, digest in files.items():
            self.assertTrue(name == "template.yaml" or digest[:12] in name, name)

    def test_the_zips_hold_what_was_tested(self):
        for name in FUNCTIONS:
            (path,) = PACKAGE.glob(f"{name}-*.zip")
            with zipfile.ZipFile(path) as archive:
                self.assertEqual([entry.filename for entry in archive.infolist()], ["bootstrap"])
                self.assertTrue(archive.infolist()[0].external_attr >> 16 & 0o111, "not executable")
                self.assertEqual(archive.read("bootstrap"), bootstrap(name).read_bytes())

    def setUp(self):
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        self.addCleanup(server.stop)
        self.endpoint = "http://{}:{}".format(*server.get_host_and_port())
        # The emulator keeps what an earlier server had.
        requests.post(f"{self.endpoint}/moto-api/reset")
        s3 = self.client("s3")
        s3.create_bucket(Bucket="code", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        for path in PACKAGE.iterdir():
            s3.upload_file(str(path), "code", f"v1/{path.name}")
        self.client("secretsmanager").create_secret(Name="chat-groups/token", SecretString="a-token")

    def client(self, service):
        return boto3.client(service, endpoint_url=self.endpoint, **CREDENTIALS)

    def deploy(self, **parameters):
        given = {
            "SdkAppId": "1400000001",
            "CallbackTokenSecret": "chat-groups/token",
            "DeployedAt": "1764113712",
            "Architecture": MACHINE,
            "CodeBucket": "code",
            "CodePrefix": "v1/",
        } | parameters
        # CloudFormation applies SAM's transformation. Its emulator does not, and knows neither HTTP APIs nor aliases.
        template = transformed(yaml_parse((PACKAGE / "template.yaml").read_text()), **given)
        template["Resources"] = {
            name: resource for name, resource in template["Resources"].items() if resource["Type"] in KNOWN
        }
        commit = template.pop("Outputs")["Commit"]["Value"]
        self.assertRegex(commit, r"^[0-9a-f]{12}(-modified)?$|^unknown$")
        text = json.dumps(template).replace('{"Ref": "HttpApi"}', '"an-api"').replace("${HttpApi}", "an-api")
        cloudformation = self.client("cloudformation")
        cloudformation.create_stack(
            StackName="packaged",
            TemplateBody=text,
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        stack = cloudformation.describe_stacks(StackName="packaged")["Stacks"][0]
        self.assertEqual(stack["StackStatus"], "CREATE_COMPLETE")
        # The nested template was fetched from the bucket.
        (nested,) = (
            stack for stack in cloudformation.describe_stacks()["Stacks"] if "MonitoringStack" in stack["StackName"]
        )
        return {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in nested["Parameters"]}

    def test_it_deploys(self):
        watched = self.deploy()
        functions = self.client("lambda").list_functions()["Functions"]
        codes = {base64.b64decode(function["CodeSha256"]).hex() for function in functions}
        zips = {hashlib.sha256(path.read_bytes()).hexdigest() for path in PACKAGE.glob("*.zip")}
        self.assertEqual((len(functions), codes), (len(FUNCTIONS), zips))
        self.assertEqual(self.client("dynamodb").list_tables()["TableNames"], [watched["Table"]])
        self.assertEqual(set(watched), set(monitoring()["Parameters"]))

    def test_it_takes_a_restored_table(self):
        """docs/restore.md, as far as the emulator goes."""
        client = self.client("dynamodb")
        own = of_type(transformed(), "AWS::DynamoDB::Table")["Table"]
        for name in ("PointInTimeRecoverySpecification", "TimeToLiveSpecification", "StreamSpecification"):
            own.pop(name)
        client.create_table(TableName="damaged", **own)
        item = {"pk": {"S": "1400000001#a"}, "sk": {"S": "GROUP"}, "extra": {"M": {}}}
        client.put_item(TableName="damaged", Item=item)
        pitr = {"PointInTimeRecoveryEnabled": True}
        client.update_continuous_backups(TableName="damaged", PointInTimeRecoverySpecification=pitr)
        client.restore_table_to_point_in_time(
            SourceTableName="damaged", TargetTableName="restored", UseLatestRestorableTime=True
        )
        client.update_table(
            TableName="restored",
            DeletionProtectionEnabled=True,
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        ttl = {"Enabled": True, "AttributeName": "expires_at"}
        client.update_time_to_live(TableName="restored", TimeToLiveSpecification=ttl)
        client.update_continuous_backups(TableName="restored", PointInTimeRecoverySpecification=pitr)
        stream = client.describe_table(TableName="restored")["Table"]["LatestStreamArn"]

        watched = self.deploy(ExistingTableName="restored", ExistingTableStreamArn=stream)
        self.assertEqual(watched["Table"], "restored")
        self.assertEqual(set(client.list_tables()["TableNames"]), {"damaged", "restored"})
        for function in self.client("lambda").list_functions()["Functions"]:
            self.assertEqual(function["Environment"]["Variables"]["TABLE_NAME"], "restored")
        self.assertEqual(client.scan(TableName="restored")["Items"], [item])
