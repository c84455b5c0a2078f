"""Which business meets which scenario now: its own, until another is chosen."""

import json
import threading
from pathlib import Path
from typing import Final

from consent_server.sandbox.journal import write_whole
from consent_server.sandbox.layout import Layout
from consent_server.sandbox.smes import SMES, register_rows

_SME_OF_METER: Final = {row.id: row.sme for row in register_rows()}

_one_at_a_time = threading.Lock()


def current(layout: Layout) -> dict[str, str]:
    """Return the scenario of each business."""
    return _current(layout.scenarios)


def change(layout: Layout, sme: str, scenario: str) -> None:
    """Make a business meet another scenario from the next call on."""
    with _one_at_a_time:
        write_whole(layout.scenarios, json.dumps({**current(layout), sme: scenario}).encode())


def of_meter(file: Path, meter: str) -> str:
    """Return the scenario that a meter meets; "normal" for one that is not the sandbox's."""
    return _current(file).get(_SME_OF_METER.get(meter, ""), "normal")


def _current(file: Path) -> dict[str, str]:
    chosen = json.loads(file.read_text(encoding="ascii")) if file.exists() else {}
    return {sme.name: chosen.get(sme.name, sme.scenario) for sme in SMES}
