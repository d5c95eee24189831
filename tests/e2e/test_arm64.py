"""The arm64 binary under emulation: one event, stored."""

import os
import platform
import shutil
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory

from emulator import Function
from harness import STORED, body_of, event, keys_of
from services import LocalRun, Queues, environment
from template import TARGET, transformed

SYSROOT = Path("/usr/aarch64-linux-gnu")
ARM64 = TARGET / "lambda/arm64/webhook/bootstrap"
EMULATED = shutil.which("qemu-aarch64") and SYSROOT.exists()


class Arm64(unittest.TestCase):
    @unittest.skipIf(platform.machine() == "aarch64", "this machine is arm64: the other tests ran its binaries")
    @unittest.skipUnless(EMULATED or "CI" in os.environ, "needs Debian's qemu-user and libc6-arm64-cross")
    def test_the_arm64_function_stores_a_group(self):
        template = transformed()
        local_run = LocalRun()
        self.addCleanup(local_run.stop)
        queues = Queues(template)
        self.addCleanup(queues.stop)
        local_run.clear()
        with TemporaryDirectory() as folder:
            bootstrap = Path(folder) / "bootstrap"
            bootstrap.write_text(f'#!/bin/sh\nexec qemu-aarch64 -L {SYSROOT} "{ARM64}"\n')
            bootstrap.chmod(0o755)
            with Function(bootstrap, environment(template, "Webhook", local_run, queues)) as webhook:
                response = webhook.invoke(event("http-api"))
                outcome = webhook.lines()[-1]["outcome"]
        self.assertEqual((response["statusCode"], outcome), (STORED[0], STORED[2]))
        keys = {(item["pk"]["S"], item["sk"]["S"]) for item in local_run.items()}
        self.assertEqual(keys, keys_of(body_of(event("http-api"))))
