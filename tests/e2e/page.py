"""What the tests of the page share: a local run, a browser, and a group of each test's own."""

import os
import shutil
import time
import unittest

import requests

from browser import PATIENCE, Browser
from services import LocalRun

MARKUP = '<img src=x onerror="window.hit=1"><b>&amp;</b>'
INSTALLED = shutil.which("chromium") and shutil.which("chromedriver")


def now():
    return int(time.time() * 1000)


def accounts(*names):
    return [{"Member_Account": name} for name in names]


@unittest.skipUnless(INSTALLED or "CI" in os.environ, "needs Debian's chromium and chromium-driver")
class PageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.local_run = LocalRun()
        cls.addClassCleanup(cls.local_run.stop)
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.stop)

    def setUp(self):
        # 48 bytes at the most, with characters that mean something in an address.
        self.group_id = f"{self._testMethodName.removeprefix('test_')[:40]} #1/50%"
        self.time = now() - 60_000

    def tearDown(self):
        self.assertEqual(self.browser.complaints(), [])

    def open(self, where=""):
        # A new document each time: the same address with another fragment would be none.
        self.browser.open("about:blank")
        self.browser.open(self.local_run.page_url + where)
        self.browser.wait_for_text("#connection", "Live")

    def open_group(self):
        self.open("#/group/" + requests.utils.quote(self.group_id, safe=""))

    def callback(self, command, **fields):
        """A genuine callback of this test's group, newer than the last one."""
        self.time += 1000
        body = {"CallbackCommand": f"Group.Callback{command}", "GroupId": self.group_id, "Type": "Public"}
        answer = self.local_run.post(body["CallbackCommand"], body | {"EventTime": self.time, "Operator_Account": "ana"} | fields)
        self.assertEqual(answer.json()["ErrorCode"], 0, answer.text)

    def create(self, **fields):
        standard = {"Name": "Support", "Owner_Account": "ana", "MemberList": accounts("ana", "bob")}
        self.callback("AfterCreateGroup", **standard | fields)

    def members(self):
        """Account and role of each row."""
        script = """return [...document.querySelectorAll("#members-rows tbody tr[data-key]")]
            .map((row) => [row.querySelector(".account").innerText, row.querySelector(".role").innerText])"""
        return {account: role for account, role in self.browser.run(script)}

    def wait_for_members(self, expected):
        end = time.monotonic() + PATIENCE
        while self.members() != expected and time.monotonic() < end:
            time.sleep(0.02)
        self.assertEqual(self.members(), expected)


    def sentences(self, where="#group-history"):
        """The history as it is shown, newest first."""
        script = """return [...document.querySelectorAll(arguments[0] + " .changes > li p")].map((line) => line.textContent)"""
        return self.browser.run(script, where)

    def wait_for_sentences(self, *patterns, where="#group-history"):
        end = time.monotonic() + PATIENCE
        while len(self.sentences(where)) != len(patterns) and time.monotonic() < end:
            time.sleep(0.02)
        shown = self.sentences(where)
        self.assertEqual(len(shown), len(patterns), shown)
        for sentence, pattern in zip(shown, patterns):
            self.assertRegex(sentence, f"^{pattern} on ")

    def ask_why(self, account, answer):
        self.browser.fill("#why-account", account)
        self.browser.click("#why button")
        self.browser.wait_for_text("#why-answer", answer.format(self.group_id))
