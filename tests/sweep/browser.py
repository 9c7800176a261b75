"""A headless Chromium for tests of what a person sees. Its screenshots stay in build/screenshots."""

import base64
import contextlib
import itertools
import json
import os
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
NOT_OURS = (
    "/mlflow/assistant/",  # refused on purpose: it runs a shell
    "/mlflow/users/current",  # of MLflow's own users, where there are none
    "ResizeObserver loop",  # a notice of the browser's about MLflow's table
)


class Browser:
    """A headless Chromium, spoken to in its DevTools protocol over a pair of pipes."""

    def __init__(self, profile):
        flags = ["--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-background-networking"]
        flags += ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses root otherwise
        # Without a mouse it is taken for a telephone, on which Plotly's buttons cover the curves.
        flags += ["--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4"]
        self.process = subprocess.Popen(
            ["sh", "-c", 'exec "$@" 3<&0 4>&1 1>&2', "sh", CHROMIUM, *flags, f"--user-data-dir={profile}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.numbers, self.received, self.events, self.session = itertools.count(1), b"", [], {}

    @contextlib.contextmanager
    def page(self):
        """Work in a new page, which shares no cookies, storage or cache with another."""
        context = self.call("Target.createBrowserContext")
        target = self.call("Target.createTarget", url="about:blank", **context)["targetId"]
        self.session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=1600, height=1000, deviceScaleFactor=1, mobile=False)
        try:
            yield self
        finally:
            self.session = {}
            self.call("Target.disposeBrowserContext", **context)

    def call(self, method, **params):
        """Send one command; return its result."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params, **self.session}
        self.process.stdin.write(json.dumps(message).encode() + b"\0")
        self.process.stdin.flush()
        while (answer := self.receive()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def receive(self):
        """The next message."""
        while b"\0" not in self.received:
            assert select.select([self.process.stdout], [], [], 60)[0], "Chromium is silent"
            more = os.read(self.process.stdout.fileno(), 1 << 20)
            assert more, "Chromium has ended"
            self.received += more
        message, _, self.received = self.received.partition(b"\0")
        return json.loads(message)

    def value(self, script):
        """What a JavaScript expression is in the page."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, (script, result)
        return result["result"].get("value")

    def text(self):
        """All that can be read on the page."""
        return self.value("document.body?.innerText ?? ''")

    def open(self, address, *words):
        """Load an address, and wait until the page says all of the words."""
        self.events.clear()
        self.call("Page.navigate", url="about:blank")  # a change behind the # alone would load nothing
        self.call("Page.navigate", url=address)
        for word in words:
            self.until(f"document.body?.innerText.includes({json.dumps(word)})")

    def until(self, script):
        """Wait for an expression to be true, and half a second for the layout to come to rest."""
        end = time.monotonic() + 60
        while not self.value(script):
            assert time.monotonic() < end, f"not within a minute: {script}\n{self.text()}"
            time.sleep(0.1)
        time.sleep(0.5)

    def screenshot(self, name):
        """Keep the picture."""
        content = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        (SCREENSHOTS / f"{name}.png").write_bytes(content)

    def complaints(self):
        """Errors on the console, requests that failed or went elsewhere, since the page was opened."""
        found = [complaint for event in self.events if (complaint := _complaint(event["method"], event["params"]))]
        return [complaint for complaint in found if not any(known in complaint for known in NOT_OURS)]

    def close(self):
        """End it."""
        with contextlib.suppress(AssertionError, BrokenPipeError):
            self.call("Browser.close")
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def _complaint(method, params):
    if method == "Runtime.exceptionThrown":
        return f"exception {params['exceptionDetails']}"
    if method == "Runtime.consoleAPICalled" and params["type"] == "error":
        return f"console {[argument.get('value', argument.get('description')) for argument in params['args']]}"
    if method == "Log.entryAdded" and params["entry"]["level"] == "error":
        return f"log {params['entry']['text']} {params['entry'].get('url')}"
    if method == "Network.responseReceived" and params["response"]["status"] >= 400:
        return f"{params['response']['status']} {params['response']['url']}"
    if method == "Network.requestWillBeSent" and re.match(
        r"(https?|wss?)://(?!127\.0\.0\.1:)", params["request"]["url"]
    ):
        return f"elsewhere {params['request']['url']}"
    return None
