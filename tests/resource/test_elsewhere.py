"""The guard of an API on another machine loads nothing of the sources: neither their rooms nor their libraries."""

import subprocess
import sys

LOADS = """
import sys
import consent_server.resource.protect, consent_server.resource.asgi, consent_server.resource.gate
print([name for name in sys.modules if name.startswith(("consent_server.metering", "consent_server.store", "pyarrow", "duckdb",
    "sqlalchemy"))])
"""


def test_the_guard_loads_no_source() -> None:
    said = subprocess.run([sys.executable, "-c", LOADS], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout == "[]\n"
