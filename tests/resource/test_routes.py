"""Paths: what is judged here must be what the API behind serves, whichever way it reads a path."""

import posixpath
import re
from urllib.parse import unquote

import pytest

from consent_server.resource.routes import GuardedRoute, RouteNotGuarded, find

ROUTES = (
    GuardedRoute("/data/{datasource}/gas", fuel="gas"),
    GuardedRoute("/data/{datasource}/{measure}", fuel="electricity"),
    GuardedRoute("/data/{datasource}/{measure}/gas", fuel="gas"),
    GuardedRoute("/help/{topic}"),
    GuardedRoute("/help/{topic}/{datasource}"),
)

#: How programs behind a proxy read a path before they route by it.
READERS = {
    "as it is sent": lambda path: path,
    "decoded first (WSGI, ASGI, nginx with a path in proxy_pass)": unquote,
    "decoded and normalised": lambda path: posixpath.normpath(unquote(path)),
    "decoded twice": lambda path: unquote(unquote(path)),
    "without parameters of segments (servlets)": lambda path: re.sub(";[^/]*", "", unquote(path)),
    "normalised after that": lambda path: posixpath.normpath(re.sub(";[^/]*", "", unquote(path))),
    "backslashes taken for slashes": lambda path: unquote(path).replace("\\", "/"),
}

PATHS = [
    "/data/own.1/import",
    "/data/own%2E1/import",
    "/data/own.1/gas",
    "/help/my-topic,2:a@b",
    "/data/own.1/import%2Fgas",
    "/data/own.1/import%2fgas",
    "/data/own.1/import%5Cgas",
    "/data/own.1/import%252Fgas",
    "/data/own.1/..%2Fvictim.1%2Fimport",
    "/data/own.1/..%2F..%2Fvictim.1%2Fgas",
    "/help/x%2Fvictim.1",
    "/help/..;/victim.1",
    "/help/..%3B/victim.1",
    "/data/own.1/gas;v=1",
    "/data/own.1/gas%3Bv=1",
    "/data/own.1/ga%2573",
    "/help/x%3F",
    "/help/x%23",
]


@pytest.mark.parametrize("path", PATHS)
def test_whoever_reads_an_admitted_path_finds_the_same_route(path: str) -> None:
    try:
        judged = find(ROUTES, path)
    except RouteNotGuarded:
        assert path not in PATHS[:4]
        return
    for reader, read in READERS.items():
        served = find(ROUTES, read(path))
        assert served == judged, reader
