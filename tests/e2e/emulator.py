"""A function under AWS's Lambda Runtime Interface Emulator, which comes with aws-sam-cli."""

import json
import os
import platform
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import samcli

MACHINE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
EMULATOR = Path(samcli.__file__).parent / "local" / "rapid" / f"aws-lambda-rie-{MACHINE}"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Function:
    """One environment of a function: it starts at the first event, and ends with the `with` block."""

    def __init__(self, bootstrap, env):
        self.address = f"127.0.0.1:{free_port()}"
        self.log = tempfile.TemporaryFile("w+")
        command = [EMULATOR, "--runtime-interface-emulator-address", self.address]
        self.runtime_api = f"127.0.0.1:{free_port()}"
        command += ["--runtime-api-address", self.runtime_api, bootstrap, "bootstrap"]
        path = {"PATH": os.environ["PATH"]}
        self.process = subprocess.Popen(
            command, env=path | env, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True
        )
        self.wait_for_port()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()

    def wait_for_port(self):
        host, port = self.address.split(":")
        for _ in range(100):
            try:
                return socket.create_connection((host, int(port))).close()
            except ConnectionRefusedError:
                time.sleep(0.1)
        raise TimeoutError("the emulator does not listen")

    def invoke(self, event):
        url = f"http://{self.address}/2015-03-31/functions/function/invocations"
        with urllib.request.urlopen(url, json.dumps(event).encode(), timeout=60) as response:
            return json.load(response)

    def peak_memory(self):
        """The most memory that the function's process has had, in MB."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"AWS_LAMBDA_RUNTIME_API={self.runtime_api}" in (folder / "environ").read_text():
                    return int(re.search(r"VmHWM:\s+(\d+) kB", (folder / "status").read_text()).group(1)) / 1024
            except OSError:
                # Another user's, or gone.
                continue
        raise RuntimeError("the function does not run")

    def output(self):
        self.log.seek(0)
        return self.log.read()

    def lines(self):
        """The log lines of callbacks."""
        parsed = []
        for line in self.output().splitlines():
            if line.startswith("{"):
                parsed.append(json.loads(line))
        return [line for line in parsed if "outcome" in line]
