"""`make verify` against the local run: it passes where all is right, and fails where something is not."""

import os
import subprocess
import unittest

from services import TOKEN, LocalRun
from template import PROGRAM


class Verify(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.local_run = LocalRun()
        cls.addClassCleanup(cls.local_run.stop)

    def verify(self, **settings):
        env = {"URL": self.local_run.url, "TOKEN": TOKEN, "SDK_APP_ID": "1400000001"} | settings
        ran = subprocess.run(
            [PROGRAM, "verify"], env=os.environ | env, capture_output=True, text=True
        )
        return ran.returncode, ran.stdout + ran.stderr

    def test_all_is_right(self):
        code, said = self.verify()
        self.assertEqual((code, said.count("right  "), said.count("WRONG")), (0, 10, 0), said)

    def test_a_wrong_token_is_noticed(self):
        code, said = self.verify(TOKEN="another")
        self.assertEqual((code, said.count("WRONG")), (1, 8), said)

    def test_another_application_is_noticed(self):
        code, said = self.verify(SDK_APP_ID="1400000002")
        self.assertEqual((code, said.count("WRONG")), (1, 10), said)

    def test_nobody_there_is_noticed(self):
        code, said = self.verify(URL="http://127.0.0.1:1/")
        self.assertEqual((code, said.count("no answer")), (1, 10), said)
