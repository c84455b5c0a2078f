"""Parquet files in an S3-compatible store that nobody here wrote (npm's s3rver), and what a store does on a bad day."""

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from pyarrow import fs

from consent_server.metering import contract, sources
from consent_server.metering.parquet import ParquetReadings
from consent_server.metering.readings import ReadingsRequest
from consent_server.metering.unavailable import SourceUnavailable
from consent_server.sandbox.authority import Authority
from consent_server.scheme.instant import DAY
from consent_server.scheme.readings import join
from consent_server.settings import BadSettings
from consent_server.settings.metering import MeteringSettings, ParquetSettings
from tests.conftest import free_ports
from tests.metering import foreign
from tests.metering.foreign import BILL, CUSTOMER, FIRST, NOW, OVEN, SHOP
from tests.outbound.conftest import Answer
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("held_clock", "credentials")
SECRET = "S3RVER"  # s3rver's own
WINDOW = ReadingsRequest(SHOP, "electricity", "import", FIRST, FIRST + 3 * DAY, "account-1", NOW + DAY)


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a file, as AWS's libraries read it."""
    file = tmp_path / "credentials"
    file.write_text(f"[default]\naws_access_key_id = {SECRET}\naws_secret_access_key = {SECRET}\n", encoding="ascii")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def at(port: int, authority: Authority, **changes: Any) -> MeteringSettings:
    """The settings of the page, but for where the store is."""
    values = foreign.documented("s3://")
    values["parquet"] |= {
        "endpoint": f"https://localhost:{port}",
        "roots": authority.server_root,
        "longest_s": 10,
        **changes,
    }
    return MeteringSettings(**values, vouches_for_sites=True)


@pytest.fixture
def stored(
    node_folder: Path, tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MeteringSettings]:
    """The rows of `foreign` in the store."""
    port, server = free_ports(1), authority.server()
    command = ["node", "node_modules/.bin/s3rver", "-d", str(tmp_path / "store"), "-a", "127.0.0.1", "-p", str(port)]
    command += ["--silent", "--configure-bucket", "meters", "--cert", str(server.chain), "--key", str(server.key)]
    running = subprocess.Popen(command, cwd=node_folder, stdout=subprocess.PIPE)
    try:
        assert running.stdout is not None
        assert any(b"listening" in line for line in running.stdout)
        files = tmp_path / "files"
        files.mkdir()
        foreign.parquet_files(files)
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")  # it does not know trailers
        store = fs.S3FileSystem(
            region="eu-west-2", endpoint_override=f"localhost:{port}", tls_ca_file_path=str(authority.server_root)
        )
        fs.copy_files(str(files), "meters", destination_filesystem=store)
        yield at(port, authority)
    finally:
        running.terminate()
        running.wait(60)


@pytest.mark.long  # npm ci
def test_D4_an_object_store_keeps_the_contract(stored: MeteringSettings) -> None:
    register, readings = sources.register_of(stored), sources.readings_of(stored)
    sample = contract.Sample(register, readings, **BILL, customer=CUSTOMER)
    assert sample.found is not None
    assert [verdict for verdict in contract.verdicts(sample) if verdict.fault] == []
    held = readings.half_hours(WINDOW)
    assert (held.metered, held.count) == ((FIRST, FIRST + 3 * DAY), 143)
    assert orjson.loads(join(held.blocks))[0]["energy"] == {"value": 10.0, "unitCode": "WHR"}
    assert readings.begin([SHOP, OVEN, "99-none"]) == {SHOP: FIRST, OVEN: FIRST}


def refused(settings: MeteringSettings) -> SourceUnavailable:
    with pytest.raises(SourceUnavailable) as raised:
        sources.readings_of(settings).half_hours(WINDOW)
    assert SECRET not in raised.value.private
    return raised.value


def test_a_store_that_fails_is_named(serve: Any, authority: Authority) -> None:
    server = serve()
    server.routes["*"] = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")
    failed = refused(at(server.port, authority))
    assert (failed.status, failed.private) == (503, f"localhost:{server.port}: OSError")
    assert not any(SECRET in path for path in (asked.path for asked in server.asked))


def test_a_certificate_of_another_root_is_no_store(serve: Any, authority: Authority) -> None:
    server = serve()
    assert refused(at(server.port, authority, roots=None)).private == f"localhost:{server.port}: OSError"
    assert server.asked == []


def test_a_store_that_hangs_keeps_nobody_waiting(serve: Any, authority: Authority) -> None:
    server, over = serve(), threading.Event()

    def hang(_: Any) -> Answer:
        over.wait(60)
        return Answer(500)

    server.routes["*"] = hang
    try:
        said = refused(at(server.port, authority, longest_s=1)).private
    finally:
        over.set()
    # Whoever gives up first: the library, or whoever waits for it.
    assert said in (f"localhost:{server.port}: OSError", f"localhost:{server.port}: no response in time")


def test_calls_without_a_response_leave_the_threads_to_others(tmp_path: Path) -> None:
    settings = ParquetSettings(readings_folder=str(tmp_path), longest_s=1)
    folder, over = ParquetReadings(settings)._folder, threading.Event()
    reasons: list[str] = []

    def call() -> None:
        with pytest.raises(SourceUnavailable) as raised:
            folder.read(lambda: over.wait(60))
        reasons.append(raised.value.private)

    together = [threading.Thread(target=call) for _ in range(3)]
    for each in together:
        each.start()
    for each in together:
        each.join()
    call()
    name = "metering.parquet.readings_folder"
    assert reasons == [f"{name}: no response in time"] * 3 + [f"{name}: earlier calls are without a response"]
    over.set()
    until(lambda: all(each.ended for each in folder._late), "a late call goes on", within_s=30)
    assert folder.read(lambda: "again") == "again"


@pytest.mark.parametrize(
    "changes",
    [
        {"readings_folder": "s3://KEY:hush-hush@meters/readings"},
        {"readings_folder": "s3://meters/readings?access_key=hush-hush"},
        {"readings_folder": "gs://hush-hush/readings"},
        {"readings_folder": "s3://"},
        {"endpoint": "http://localhost:1"},
        {"endpoint": "https://key:hush-hush@localhost:1"},
        {"endpoint": "https://localhost:1/hush-hush"},
    ],
)
def test_keys_are_in_no_url_and_plain_text_is_no_way(changes: dict[str, str], authority: Authority) -> None:
    with pytest.raises(BadSettings) as raised:
        sources.readings_of(at(1, authority, **changes))
    assert "hush" not in str(raised.value)
