"""Say at the end of a run which mistakes which rows noticed."""

import re

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = [report.nodeid for report in terminalreporter.stats.get("passed", ()) if report.when == "call"]
    noticed = sorted(found[1] for node in passed if (found := re.search(r"test_the_mistake_is_noticed\[(.*)\]$", node)))
    if noticed:
        rows = {line[:3] for line in noticed}
        terminalreporter.section(f"the broken twin: {len(noticed)} mistakes noticed by {len(rows)} rows")
        for line in noticed:
            terminalreporter.write_line(line)
