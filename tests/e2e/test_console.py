"""The page of `make console` on a table that it may only read, in a real browser."""

import contextlib
import json
import os
import re
import subprocess
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

from page import PageTest, accounts
from services import CREDENTIALS, HISTORY, SDK_APP_ID, TABLE
from template import PROGRAM


class Rights(BaseHTTPRequestHandler):
    """DynamoDB for credentials with few rights: forwards what they allow, and refuses the rest as AWS does."""

    protocol_version = "HTTP/1.1"
    endpoint = None
    allowed = ()
    refusal = "com.amazon.coral.service#AccessDeniedException"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        action = self.headers["X-Amz-Target"].rsplit(".")[-1]
        if action in self.allowed:
            kept = {name: self.headers[name] for name in ("X-Amz-Target", "Content-Type", "Authorization", "X-Amz-Date")}
            answer = requests.post(self.endpoint, data=body, headers=kept)
            return self.answer(answer.status_code, answer.content)
        message = f"User: arn:aws:iam::123456789012:user/op is not authorized to perform: dynamodb:{action}"
        return self.answer(400, json.dumps({"__type": self.refusal, "message": message}).encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        # Of two questions at once the second is dropped when the first is refused.
        with contextlib.suppress(BrokenPipeError):
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Console(PageTest):
    """`make console` on a table that it may only read."""

    def dynamodb(self, allowed, refusal=Rights.refusal):
        settings = {"endpoint": self.local_run.dynamodb_url, "allowed": allowed, "refusal": refusal}
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("These", (Rights,), settings))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return f"http://127.0.0.1:{server.server_port}"

    def environment(self, endpoint, **changes):
        aws = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return aws | {
            "PAGE_PORT": "0", "TABLE_NAME": TABLE, "SDK_APP_ID": SDK_APP_ID, "AWS_REGION": CREDENTIALS["region_name"],
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_ENDPOINT_URL_DYNAMODB": endpoint,
        } | changes

    def start(self, endpoint, **changes):
        env = self.environment(endpoint, **changes)
        console = subprocess.Popen([PROGRAM, "console"], env=env, stdout=subprocess.PIPE, text=True)
        self.addCleanup(console.stdout.close)
        self.addCleanup(console.wait)
        self.addCleanup(console.kill)
        self.url = re.search(r"http://\S+", console.stdout.readline()).group(0)
        self.browser.open(self.url)
        self.browser.wait_for_text("#about", "read-only")

    def failure(self, **changes):
        """What a console says that does not start."""
        env = self.environment(self.local_run.dynamodb_url, **changes)
        ran = subprocess.run([PROGRAM, "console"], env=env, capture_output=True, text=True, timeout=60)
        self.assertNotEqual(ran.returncode, 0)
        return ran.stderr

    def search(self, text):
        self.browser.fill("#search-text", text)
        self.browser.wait_for_text("#groups-status", "group found.")

    def test_query_and_get_item_are_all_it_takes_to_look_up(self):
        self.create(MemberList=accounts("ana", "yves"))
        self.start(self.dynamodb({"Query", "GetItem"}))
        self.search("yves")
        self.browser.wait_for_text("#groups-rows", self.group_id)
        self.browser.click("#groups-rows .name")
        self.wait_for_members({"ana": "Owner", "yves": "Member"})
        self.assertTrue(self.browser.run("return document.querySelector('#group-history').hidden"))
        self.ask_why("zoe", "zoe is not in {}: nothing told, and there is no history: ask reconcile")
        self.browser.click("#members-rows a")
        self.browser.wait_for_text("#account-groups", "Support")
        self.assertTrue(self.browser.run("return document.querySelector('#account-history').hidden"))

    def test_the_deployed_history_is_shown_with_query_alone(self):
        self.create(MemberList=accounts("xena"))
        self.callback("AfterMemberExit", ExitType="Kicked", ExitMemberList=accounts("xena"))
        self.open_group()
        self.wait_for_sentences("xena kicked by ana", "created by ana", "xena added .*")
        self.start(self.dynamodb({"Query", "GetItem"}), HISTORY_TABLE_NAME=HISTORY, HISTORY_DAYS="30")
        self.search("xena")
        self.browser.click("#search-account")
        self.wait_for_sentences(f"{self.group_id} kicked by ana", f"{self.group_id} added .*", where="#account-history")
        self.browser.click("#account-history .of a")
        self.wait_for_sentences("xena kicked by ana", "created by ana", "xena added .*")
        self.ask_why("xena", "xena is not in {}: kicked by ana on 20")
        self.ask_why("yan", "yan is not in {}: nothing told in 30 days: ask reconcile")

    def test_a_history_without_the_right_names_it(self):
        self.start(self.local_run.dynamodb_url, HISTORY_TABLE_NAME="no-history")
        self.browser.open(self.url + "#/account/ana")
        self.browser.wait_for_text("#account-history .trouble", "There is no table no-history here. Check TABLE_NAME, HISTORY_TABLE_NAME")
        self.browser.complaints()

    def test_a_listing_says_what_it_costs_before_it_starts(self):
        self.create()
        self.start(self.local_run.dynamodb_url)
        self.assertRegex(self.browser.text("#listing-cost"), r"Scan.*dynamodb:Scan.*read unit.*cent")
        self.assertEqual(self.browser.run("return document.querySelectorAll('#groups-rows tr[data-key]').length"), 0)
        self.browser.click("#listing-start")
        self.browser.wait_for_text("#groups-rows", self.group_id)
        self.browser.wait_for_text("#groups-status", "read unit")

    def test_it_has_no_way_to_write(self):
        self.start(self.local_run.dynamodb_url)
        self.assertTrue(self.browser.run("return document.querySelector('#run').hidden"))
        headers = {"Content-Type": "application/json"}
        self.assertEqual(requests.post(self.url + "api/send", data="{}", headers=headers).status_code, 404)
        self.assertEqual(requests.get(self.url + "api/arrivals").status_code, 404)

    def test_the_application_is_read_from_the_table_where_it_is_not_set(self):
        self.create()
        self.start(self.local_run.dynamodb_url, SDK_APP_ID="")
        self.browser.wait_for_text("#about", SDK_APP_ID)

    def test_missing_settings_and_credentials_are_named(self):
        self.assertIn("TABLE_NAME", self.failure(TABLE_NAME=""))
        self.assertRegex(self.failure(AWS_ACCESS_KEY_ID=""), "(?s)AWS_ACCESS_KEY_ID.*aws configure export-credentials")
        self.assertIn("AWS_REGION", self.failure(AWS_REGION=""))

    def test_every_trouble_with_the_table_says_what_to_do(self):
        coral = "com.amazon.coral.service#"
        troubles = {
            coral + "AccessDeniedException": "lack the right dynamodb:Query",
            coral + "UnrecognizedClientException": "does not accept these credentials",
            coral + "ExpiredTokenException": "does not accept these credentials",
            "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException": "There is no table groups",
            "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException": "is throttled",
            coral + "ThrottlingException": "is throttled",
        }
        for refusal, said in troubles.items():
            with self.subTest(refusal):
                self.start(self.dynamodb(set(), refusal))
                self.browser.fill("#search-text", "anything")
                self.browser.wait_for_text("#groups-trouble", said)
        self.start("http://127.0.0.1:1")
        self.browser.fill("#search-text", "anything")
        self.browser.wait_for_text("#groups-trouble", "DynamoDB gave no answer")
        # The browser notes each of the page's own answers that is no success.
        self.assertTrue(all("Failed to load resource" in line for line in self.browser.complaints()))

    def test_a_listing_without_the_right_names_it(self):
        self.start(self.dynamodb({"Query", "GetItem"}))
        self.assertIn("about $0.02 for a GB", self.browser.text("#listing-cost"))
        self.browser.click("#listing-start")
        self.browser.wait_for_text("#groups-trouble", "lack the right dynamodb:Scan")


if __name__ == "__main__":
    unittest.main()
