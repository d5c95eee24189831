"""An emulated AWS on loopback, and the project's own commands on it."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode

import boto3

ROOT = Path(__file__).parents[1]
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
TOOLS = ROOT / ".tools"

# What the emulator itself says; tools/emulator_server.py has both too.
REGION = "eu-west-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

START_SECONDS = 30


class Emulator:
    """tools/emulator_server.py as a process of its own. It keeps nothing."""

    def __init__(self, port=0, **env):
        self.port = port or free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        command = [TOOLS / "emulator/bin/python", ROOT / "tools/emulator_server.py", str(self.port)]
        self.process = subprocess.Popen(command, env=os.environ | env, start_new_session=True)
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise

    def wait(self):
        for _ in range(START_SECONDS * 10):
            if self.process.poll() is not None:
                raise RuntimeError(f"the emulator ended; is port {self.port} free?")
            try:
                return urllib.request.urlopen(f"{self.endpoint}/_ministack/health").close()
            except URLError:
                time.sleep(0.1)
        raise TimeoutError(f"the emulator does not answer after {START_SECONDS} s")

    def stop(self):
        """Ends it, and the functions that it runs."""
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(5)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def env(self):
        """Leads every AWS client here."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "PATH": f"{TOOLS}/aws/bin:{os.environ['PATH']}",
            "SAM_CLI_TELEMETRY": "0",
        } | CREDENTIALS

    def client(self, service):
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )

    def url(self, callback_url):
        """The address on loopback of a gateway, whose name only AWS's DNS would know."""
        return f"{self.endpoint}/_aws/execute-api/{callback_url.split('//')[1].split('.')[0]}/"


def post(url, token, sdk_app_id, command, body):
    """Posts a callback as Chat does, and returns status and body of the answer."""
    seconds = str(int(time.time()))
    query = {
        "CallbackCommand": command,
        "ClientIP": "203.0.113.7",
        "OptPlatform": "iOS",
        "RequestTime": seconds,
        "SdkAppid": sdk_app_id,
        "Sign": hashlib.sha256((token + seconds).encode()).hexdigest(),
        "contenttype": "json",
    }
    text = json.dumps(body).encode()
    request = urllib.request.Request(f"{url}?{urlencode(query)}", text, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
