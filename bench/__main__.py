"""Measure the paths that were designed for speed, as ratios within one run: these machines are noisy, ratios are not.

Each figure is the median of several rounds, beside the yardstick that it is held against: one ES256 verification for what
is bound by cryptography, one serialisation of the same year by orjson for what is bound by bytes. Nothing here is asserted.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask

from consent_server import clock, store
from consent_server.sandbox.synthetic import Supply, day_blocks
from consent_server.scheme import emissions, readings
from consent_server.scheme.instant import DAY, HALF_HOUR, day_start
from consent_server.scheme.packed import unpack
from consent_server.store import permissions
from consent_server.store import readings as stored
from consent_server.store.schema import migrate
from consent_server.store.tables.permissions import Permission
from consent_server.tokens import access_token, keys, refresh_token
from consent_server.tokens.access_token import AccessToken, PermissionClaim
from consent_server.tokens.data_sources import DataSources

ROUNDS = 15
ISSUER, AUDIENCE = "https://issuer.example", "https://data.example"
CLIENT = "https://directory.example/a/cap"


def median(work: Callable[[], object], repeat: int = 1) -> float:
    """Microseconds for one call: the median of ROUNDS rounds of `repeat` calls."""
    work()
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(repeat):
            work()
        seconds.append((time.perf_counter() - started) / repeat)
    return statistics.median(seconds) * 1e6


def show(what: str, micros: float, yardstick: float, against: str) -> None:
    print(f"{what:58} {micros:10.1f} µs   {micros / yardstick:8.2f} x {against}")


def token(at: int) -> AccessToken:
    return AccessToken(
        iss=ISSUER,
        aud=AUDIENCE,
        sub="account",
        client_id=CLIENT,
        scope="https://registry.example/license",
        iat=at,
        exp=at + 600,
        jti="jti",
        status_idx=7,
        status_uri=f"{ISSUER}/status-list",
        permission=PermissionClaim(granted=at, expires=at + 365 * DAY, text_sha256="0" * 64),
        datasources=DataSources.of(("d.0", "d.1")),
        fuels=("electricity", "gas"),
        cnf=None,
    )


def tokens(folder: Path, verification: float) -> None:
    at = clock.now()
    keys.make(folder / "tokens", at)
    signing = keys.SigningKeys(folder / "tokens")
    texts = iter([access_token.mint(signing, token(at)) for _ in range(ROUNDS + 1)])

    def read(text: str) -> object:
        return access_token.read(text, signing, issuer=ISSUER, audience=AUDIENCE, at=at)

    show("token, first sight", median(lambda: read(next(texts))), verification, "one ES256 verification")
    seen = access_token.mint(signing, token(at))
    show("token, seen before", median(lambda: read(seen), 200), verification, "one ES256 verification")
    show(
        "token, minted",
        median(lambda: access_token.mint(signing, token(at)), 20),
        verification,
        "one ES256 verification",
    )


def refreshes(folder: Path, verification: float) -> None:
    app = Flask("bench")
    store.init(app, f"sqlite:///{folder / 'bench.db'}")
    refresh_token.rotate(folder / "refresh", clock.now())
    refresh_keys = refresh_token.RefreshKeys(folder / "refresh")
    refresh_id, version = refresh_token.make(refresh_keys)
    with app.app_context():
        migrate()
        with store.writing() as c:
            permissions.add(
                c,
                Permission(
                    id="p",
                    account="a",
                    client_id=CLIENT,
                    member="m",
                    license="l",
                    fuels=["electricity"],
                    text_sha256="0" * 64,
                    sme="s",
                    meters=[],
                    datasources=[],
                    granted=0,
                    expires=4102444800,
                    refresh_id=refresh_id,
                    refresh_version=version,
                ),
            )
        text = refresh_token.text(refresh_keys, version, refresh_id)

        def recognise_and_read() -> object:
            found = refresh_token.recognise(refresh_keys, text)
            return permissions.by_refresh_id(found or "")

        show(
            "refresh: token recognised, permission read",
            median(recognise_and_read, 20),
            verification,
            "one ES256 verification",
        )
        show(
            "withdrawn or not, beside the issuer",
            median(lambda: permissions.is_ended(0), 200),
            verification,
            "one ES256 verification",
        )
        year(app)


def year(app: Flask) -> None:
    end = day_start(clock.now())
    start = end - 365 * DAY
    supply = Supply("bench-meter", "bench", "electricity", "S3")
    blocks = dict(day_blocks(supply, "import", start, end))
    with store.writing() as c:
        stored.put_days(c, "edp", "bench-meter", "import", blocks)

    def from_store() -> bytes:
        with store.reading() as c:
            rows = stored.days(c, "edp", "bench-meter", "import", start, end)
        return readings.join(unpack(row.body, row.day) for row in rows)

    parsed = orjson.loads(from_store())
    dumped = median(lambda: orjson.dumps(parsed))
    show("a year of one fuel: serialised by orjson (yardstick)", dumped, dumped, "itself")
    show("a year of one fuel: day blocks read and joined", median(from_store), dumped, "orjson")
    show("a year of one fuel: day blocks joined", median(lambda: readings.join(blocks.values())), dumped, "orjson")
    slots = range(start, end, HALF_HOUR)
    amounts, intensity = emissions.Amounts(slots, [500.0] * len(slots)), dict.fromkeys(slots, 120.0)
    show("a year's emissions of one meter", median(lambda: emissions.electricity(amounts, intensity)), dumped, "orjson")


def main() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    signature = key.sign(b"yardstick", ec.ECDSA(hashes.SHA256()))
    public = key.public_key()
    verification = median(lambda: public.verify(signature, b"yardstick", ec.ECDSA(hashes.SHA256())), 20)
    show("one ES256 verification (yardstick)", verification, verification, "itself")
    with tempfile.TemporaryDirectory() as folder:
        tokens(Path(folder), verification)
        refreshes(Path(folder), verification)


main()
