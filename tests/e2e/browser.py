"""A headless Chromium, driven by the WebDriver protocol."""

import base64
import json
import re
import subprocess
import tempfile
import time

import requests

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic", "--window-size=1360,860", "--lang=en-GB",
]
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
PATIENCE = 15
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Home": "\ue011", "End": "\ue010", "Up": "\ue013", "Down": "\ue015"}


class Browser:
    def __init__(self):
        self.profile = tempfile.TemporaryDirectory()
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        port = next(found for line in self.driver.stdout if (found := re.search(r"successfully on port (\d+)", line)))
        self.http = requests.Session()
        self.http.trust_env = False
        self.session = f"http://127.0.0.1:{port.group(1)}/session"
        options = {"args": [*FLAGS, f"--user-data-dir={self.profile.name}"]}
        capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        answer = self.call("", {"capabilities": {"alwaysMatch": capabilities}})
        self.session += "/" + answer["sessionId"]

    def call(self, command, parameters):
        answer = self.http.post(self.session + command, json=parameters).json()["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(f"{answer['error']}: {answer['message']}")
        return answer

    def open(self, url):
        self.call("/url", {"url": url})

    def run(self, script, *arguments):
        """The value of a script, or of the promise that it returns."""
        return self.call("/execute/sync", {"script": script, "args": list(arguments)})

    def devtools(self, command, **parameters):
        return self.call("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def wait(self, script, *arguments):
        """Waits until a script has a value that counts as true."""
        end = time.monotonic() + PATIENCE
        while not (value := self.run(script, *arguments)):
            if time.monotonic() > end:
                shown = self.run("return document.body.innerText")
                raise AssertionError(f"not within {PATIENCE} s: {script} {arguments}\nThe page shows:\n{shown}")
            time.sleep(0.02)
        return value

    def find(self, css):
        self.wait("return document.querySelector(arguments[0])", css)
        return self.call("/element", {"using": "css selector", "value": css})[ELEMENT]

    def click(self, css):
        self.call(f"/element/{self.find(css)}/click", {})

    def fill(self, css, text):
        element = self.find(css)
        self.call(f"/element/{element}/clear", {})
        self.call(f"/element/{element}/value", {"text": text})

    def press(self, *names):
        """Presses keys where the focus is."""
        keys = [{"type": kind, "value": KEYS[name]} for name in names for kind in ("keyDown", "keyUp")]
        self.call("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": keys}]})

    def text(self, css):
        return self.run("return document.querySelector(arguments[0])?.innerText", css)

    def wait_for_text(self, css, text):
        holds = "return document.querySelector(arguments[0])?.innerText.includes(arguments[1])"
        self.wait(holds, css, text)

    def complaints(self):
        """What the browser's console holds since the last time."""
        return [json.dumps(line) for line in self.call("/se/log", {"type": "browser"})]

    def scheme(self, name):
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def size(self, width, height, phone=False):
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone,
        )

    def screenshot(self, path):
        shot = self.devtools("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))

    def stop(self):
        self.http.delete(self.session)
        self.http.close()
        self.driver.terminate()
        self.driver.wait()
        self.driver.stdout.close()
        self.profile.cleanup()
