"""Headless Chromium for tests, spoken to over its own debugging protocol; what needs it skips where it is absent.

`python tests/browser.py reports/digits reports/docs` takes the pictures of the index that the README shows.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
LIMIT_S = 180


def chromium() -> str:
    """Path of the browser; the test that asks is skipped where there is none."""
    pytest.importorskip("websocket", reason="websocket-client is not installed")
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        pytest.skip(f"no headless browser: none of {', '.join(NAMES)} is installed")
    return found


def axe_source() -> str:
    """Text of axe-core: the file that VERDICT_AXE names, or the one in the package axe-core-python."""
    import importlib.util

    package = importlib.util.find_spec("axe_core_python")
    folders = package.submodule_search_locations if package else []
    named = [os.environ.get("VERDICT_AXE", ""), *(f"{folder}/axe.min.js" for folder in folders)]
    path = next((Path(name) for name in named if name and Path(name).is_file()), None)
    if path is None:
        pytest.skip("axe-core is absent: name its axe.min.js in VERDICT_AXE, or install axe-core-python")
    return path.read_text(encoding="utf-8")


class Browser:
    """One tab of a browser that has no network; remembers what the pages asked for."""

    def __init__(self, profile: Path):
        import websocket

        self._process = subprocess.Popen(
            [chromium(), *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        port_file = profile / "DevToolsActivePort"
        end = time.monotonic() + LIMIT_S
        while not (port_file.is_file() and port_file.read_text().count("\n")):
            assert time.monotonic() < end, "the browser did not start"
            time.sleep(0.05)
        port, path = port_file.read_text().split()
        self._socket = websocket.create_connection(
            f"ws://127.0.0.1:{port}{path}", timeout=LIMIT_S, suppress_origin=True
        )
        self._n, self._events, self._session = 0, [], None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        self.send("Network.emulateNetworkConditions", **offline)
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)  # also while another window has the focus

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self._session = None
        self.send("Browser.close")
        self._socket.close()
        self._process.wait(timeout=LIMIT_S)

    def send(self, method: str, **params: object) -> dict:
        """One command and its answer; events that come in between are kept."""
        self._n += 1
        message = {"id": self._n, "method": method, "params": params}
        self._socket.send(json.dumps({**message, "sessionId": self._session} if self._session else message))
        while (answer := json.loads(self._socket.recv())).get("id") != self._n:
            self._events.append(answer)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def open(
        self,
        path: Path,
        *,
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
        still: bool = False,
        anchor: str = "",
    ) -> None:
        """Load a file and wait until it has loaded; `still` asks for reduced motion."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        motion = {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"}
        self.send("Emulation.setEmulatedMedia", features=[scheme, motion])
        self._events.clear()
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=path.resolve().as_uri() + anchor)
        self.wait(f"document.readyState === 'complete' && location.pathname.endsWith({json.dumps(path.name)})")

    def wait(self, condition: str) -> None:
        """Until a condition of the page holds."""
        end = time.monotonic() + LIMIT_S
        while not self.evaluate(condition):
            assert time.monotonic() < end, f"never came true: {condition}"
            time.sleep(0.02)

    def evaluate(self, expression: str) -> object:
        """Value of an expression in the page; promises are awaited."""
        answer = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str, *, ctrl: bool = False) -> None:
        """A key, as from the keyboard."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27}
        keys = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key], "modifiers": 2 if ctrl else 0}
        text = {"text": "\r"} if key == "Enter" and not ctrl else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", **keys, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **keys)

    def choose(self, selector: str, file: Path) -> None:
        """Choose a file in a field for files."""
        found = self.send("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")
        self.send("DOM.setFileInputFiles", files=[str(file)], objectId=found["result"]["objectId"])

    def download(self, action: str, folder: Path) -> Path:
        """The file that an action of the page saves."""
        before = set(folder.iterdir())
        self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        self.send("Runtime.evaluate", expression=action, userGesture=True)
        end = time.monotonic() + LIMIT_S
        while not (new := [path for path in set(folder.iterdir()) - before if path.suffix == ".json"]):
            assert time.monotonic() < end, "nothing was saved"
            time.sleep(0.05)
        return new[0]

    def pdf(self) -> bytes:
        """The page as it prints."""
        return base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"])

    def requests(self) -> list[str]:
        """Addresses that the page asked for since it was opened, other than the page's own and data in it."""
        sent = [e["params"]["request"]["url"] for e in self._events if e["method"] == "Network.requestWillBeSent"]
        page = self.evaluate("location.href.split('#')[0]")
        return [url for url in sent if url.split("#")[0] != page and not url.startswith(("data:", "blob:", "about:"))]

    def problems(self) -> list[str]:
        """Errors of scripts, and what the page's policy refused."""
        thrown = [str(e["params"]) for e in self._events if e["method"] == "Runtime.exceptionThrown"]
        called = [e["params"] for e in self._events if e["method"] == "Runtime.consoleAPICalled"]
        thrown += [str(call["args"]) for call in called if call["type"] in ("error", "assert")]
        logged = [e["params"]["entry"] for e in self._events if e["method"] == "Log.entryAdded"]
        return thrown + [entry["text"] for entry in logged if entry["level"] == "error"]

    def axe(self, source: str, *rules: str) -> list[tuple[str, str, str]]:
        """Serious and critical findings of axe-core, by all rules or by those named: rule, what, and the element."""
        self.evaluate(source + ";0")
        options = json.dumps({"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})})
        found = self.evaluate(f"axe.run({options}).then((found) => found.violations)")
        return [
            (rule["id"], rule["impact"], node["html"][:160])
            for rule in found
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]
        ]

    def picture(self, target: Path, *, full: bool = False) -> None:
        """A PNG of what is seen, or of the whole page."""
        options = {"captureBeyondViewport": full}
        if full:
            size = self.send("Page.getLayoutMetrics")["cssContentSize"]
            options["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        target.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png", **options)["data"]))


def main() -> None:
    """Pictures of a report's index, for a screen and a phone, light and dark."""
    from PIL import Image

    report, target = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as profile, Browser(Path(profile)) as browser:
        for name, width, height in (("index", 1280, 1500), ("index-phone", 390, 844)):
            for suffix, dark in (("", False), ("-dark", True)):
                browser.open(report / "index.html", width=width, height=height, dark=dark)
                path = target / f"{name}{suffix}.png"
                browser.picture(path)
                Image.open(path).convert("P", palette=Image.Palette.ADAPTIVE, colors=128).save(path, optimize=True)
                print(path)


if __name__ == "__main__":
    main()
