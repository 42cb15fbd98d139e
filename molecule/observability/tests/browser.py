#!/usr/bin/python3
"""Shows a page to Chromium as to a phone and to a desk, light and dark: browser.py URL FOLDER. Pictures go into the folder, what
was seen to stdout as JSON."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

URL, FOLDER = sys.argv[1], Path(sys.argv[2])
WIDTHS = {390: True, 1200: False}  # and whether it is a phone's

# Of all text that is seen: its least size, and its least contrast by the formula of WCAG 2. A part may have a ground of its own.
SEEN = """
(() => {
  const channel = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = ([red, green, blue]) => 0.2126 * channel(red) + 0.7152 * channel(green) + 0.0722 * channel(blue);
  const ground = element => {
    for (; element; element = element.parentElement) {
      const colour = numbers(getComputedStyle(element).backgroundColor);
      if (colour[3] !== 0) return colour;
    }
    return [255, 255, 255];
  };
  const texts = [...document.body.querySelectorAll('*')].filter(
    element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
  const contrast = element => {
    const [a, b] = [light(numbers(getComputedStyle(element).color)), light(ground(element))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  return {
    scroll: document.documentElement.scrollWidth,
    window: innerWidth,
    outside: texts.filter(element => element.getBoundingClientRect().right > innerWidth).map(element => element.textContent),
    size: Math.min(...texts.map(element => parseFloat(getComputedStyle(element).fontSize))),
    contrast: Math.min(...texts.map(contrast)),
    ground: light(numbers(getComputedStyle(document.body).backgroundColor)),
    text: document.body.innerText,
  };
})()
"""


class Browser:
    """Chromium, spoken to by the two pipes of its DevTools protocol."""

    def __init__(self, profile: str) -> None:
        commands, self.commands = os.pipe()
        self.answers, answers = os.pipe()
        self.process = subprocess.Popen(
            ["sh", "-c", f'exec chromium "$@" 3<&{commands} 4>&{answers}', "sh", "--headless", "--no-sandbox", "--disable-gpu"]
            + ["--remote-debugging-pipe", "--hide-scrollbars", "--ignore-certificate-errors", f"--user-data-dir={profile}"]
            # Whatever the page does not bring itself would be asked of a host that nobody finds.
            + ["--no-proxy-server", f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {urlsplit(URL).hostname}"],
            pass_fds=(commands, answers),
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self.events: list[dict[str, Any]] = []
        self.rest = b""
        self.number = 0
        self.session = ""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def read(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            more = os.read(self.answers, 1 << 20)
            if not more:
                sys.exit("Chromium has ended")
            self.rest += more
        message, _, self.rest = self.rest.partition(b"\0")
        return dict(json.loads(message))

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        said: dict[str, Any] = {"id": self.number, "method": method, "params": params}
        if self.session:
            said["sessionId"] = self.session
        os.write(self.commands, json.dumps(said).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self.events.append(answer)

    def wait(self, method: str) -> None:
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.read())

    def show(self, width: int, phone: bool, scheme: str) -> dict[str, Any]:
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=phone)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.ask("Page.navigate", url=URL)
        self.wait("Page.loadEventFired")
        seen = dict(self.ask("Runtime.evaluate", expression=SEEN, returnByValue=True)["result"]["value"])
        sent = [event["params"]["request"] for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        asked = sorted({re.sub("//[^/]*@", "//", request["url"]) for request in sent})
        words = [event["params"]["entry"]["text"] for event in self.events if event.get("method") == "Log.entryAdded"]
        whole = self.ask("Page.getLayoutMetrics")["cssContentSize"] | {"scale": 1}
        picture = self.ask("Page.captureScreenshot", captureBeyondViewport=True, clip=whole)["data"]
        (FOLDER / f"status-{width}-{scheme}.png").write_bytes(base64.b64decode(picture))
        return seen | {"width": width, "scheme": scheme, "asked": asked, "complaints": words}


FOLDER.mkdir(parents=True, exist_ok=True)
with tempfile.TemporaryDirectory() as profile:
    browser = Browser(profile)
    for domain in ("Page", "Network", "Log", "Runtime"):
        browser.ask(f"{domain}.enable")
    print(json.dumps([browser.show(width, phone, scheme) for width, phone in WIDTHS.items() for scheme in ("light", "dark")]))
    # It ends its own processes first, which would write into the profile.
    browser.session = ""
    browser.ask("Browser.close")
    browser.process.wait(20)
