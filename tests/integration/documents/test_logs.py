"""docs/logs.md: a component that configures structlog as shown writes no variables beside a traceback."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[3] / "docs" / "logs.md").read_text()
FAILING = """
from registry.log import log


def handle(url):
    raise ValueError("no such thing")


log.debug("not told")
try:
    handle("nats://" + "sec" + "ret@nats")
except ValueError as error:
    log.error("handler failed", exc_info=error)
"""


def test_the_configuration_shown_tells_a_failure_without_the_values_of_variables() -> None:
    (configuration,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

    done = subprocess.run([sys.executable, "-c", configuration + FAILING], capture_output=True, text=True, check=True)

    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert (told["event"], told["level"]) == ("handler failed", "error")
    assert "ValueError: no such thing" in told["exception"]
    assert "secret" not in line
    unconfigured = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, text=True, check=True)
    assert "secret" in unconfigured.stdout  # else the page need say nothing
