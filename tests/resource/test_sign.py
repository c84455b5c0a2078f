"""What an API of an EDP's own gives out, signed: by `signed`, and by the filter `consent-server provenance sign`."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from consent_server import clock
from consent_server.cli import main
from consent_server.resource import signing_settings
from consent_server.resource.sign import NotSignable, SigningParty, signed
from consent_server.scheme import instant
from consent_server.scheme.instant import HALF_HOUR
from consent_server.scheme.provenance.container import VerifiedStep
from consent_server.scheme.provenance.duties import ExpectedTransfer, checked_receipt
from consent_server.scheme.provenance.step import ProvenanceError
from consent_server.scheme.provenance.steps import (
    CONSUMPTION_PATH,
    consumption_standard,
    scheme_url,
    trust_framework_url,
    window_parameters,
)
from consent_server.settings import BadSettings
from tests.conftest import HeldClock
from tests.scheme.signing import CAP_ROLE, DIRECTORY, EDP_ROLE, NOW, SigningAuthority, member_signer, signing_authority

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = "https://registry.core.trust.ib1.org"
CAP = f"{DIRECTORY}/m/cap"
DAY = instant.parse("2026-03-10T00:00:00Z")
REMOVED = object()
OF = {"electricity": "WHR", "gas": "MTQ"}


def half_hours(count: int, fuel: str = "electricity", start: int = DAY) -> list[dict[str, Any]]:
    return [
        {
            "type": fuel,
            "from": instant.text(first),
            "to": instant.text(first + HALF_HOUR),
            "takenAt": instant.text(first + 2 * HALF_HOUR),
            "energy": {"value": 1.5, "unitCode": OF[fuel]},
        }
        for first in range(start, start + count * HALF_HOUR, HALF_HOUR)
    ]


def good(at: int = NOW) -> dict[str, Any]:
    return {
        "facts": {
            "X-Consent-Permission": "account-1",
            "X-Consent-Client": f"{DIRECTORY}/a/cap",
            "X-Consent-Member": CAP,
            "X-Consent-License": f"{REGISTRY}/scheme/perseus/license/energy-consumption-edp-cap/2026-03-12",
            "X-Consent-Granted": instant.text(at - 3600),
            "X-Consent-Expires": instant.text(at + 86400),
            "X-Consent-Fuels": "electricity",
            "X-Consent-Datasource": "series.0",
            "Authorization": "Bearer a-secret",
        },
        "fuel": "electricity",
        "measure": "import",
        "window": {"from": instant.text(DAY), "to": instant.text(DAY + 86400)},
        "outcode": "SW8",
        "body": {"data": half_hours(48), "location": {"ukPostcodeOutcode": "SW8"}},
    }


def changed(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The good request with other members: "facts.X-Consent-Fuels" is one within facts."""
    request = good()
    for path, value in changes.items():
        *within, name = path.split(".")
        target = request[within[0]] if within else request
        if value is REMOVED:
            del target[name]
        else:
            target[name] = value
    return request


def configured(folder: Path, authority: SigningAuthority, **options: Any) -> Path:
    """config/signing.toml, with a certificate of this authority where it names one."""
    (folder / "certificates").mkdir(parents=True)
    chain, key = authority.member("edp", EDP_ROLE, **options)
    (folder / "certificates/signing.pem").write_bytes(chain)
    (folder / "certificates/signing.key").touch(mode=0o600)
    (folder / "certificates/signing.key").write_bytes(key)
    file = folder / "signing.toml"
    file.write_text((ROOT / "config/signing.toml").read_text(encoding="utf-8"), encoding="utf-8")
    return file


@pytest.fixture
def config(tmp_path: Path, held_clock: HeldClock) -> Path:
    return configured(tmp_path / "here", signing_authority())


@pytest.fixture
def party(config: Path) -> SigningParty:
    return signing_settings.load(config)


@pytest.fixture
def sign(config: Path) -> Callable[[bytes | str], Result]:
    def run(lines: bytes | str) -> Result:
        return CliRunner().invoke(main, ["provenance", "sign", "--config", str(config)], input=lines)

    return run


def received(body: dict[str, Any], request: dict[str, Any], at: int = NOW) -> list[VerifiedStep]:
    """The steps of a body's provenance, once a CAP has done all the duties of a receiver."""
    window = request["window"]
    expected = ExpectedTransfer(
        recipients={CAP, request["facts"]["X-Consent-Member"]},
        signer_member=f"{DIRECTORY}/m/edp",
        signer_application=f"{DIRECTORY}/a/edp",
        signer_role=EDP_ROLE,
        scheme=scheme_url(REGISTRY),
        standard=consumption_standard(REGISTRY),
        license=request["facts"]["X-Consent-License"],
        service="https://directory.core.trust.ib1.org/a/example2/data-services/1",
        path=CONSUMPTION_PATH,
        parameters=window_parameters(instant.parse(window["from"]), instant.parse(window["to"]), request["measure"]),
        at=at,
    )
    root = signing_authority().root
    cap = member_signer("cap", CAP_ROLE)
    return checked_receipt(body["provenance"], expected, trust_framework_url(REGISTRY), root, cap).steps


def test_what_is_signed_stands_up_to_the_receivers_duties(party: SigningParty) -> None:
    body = signed(good(), party)
    assert {name: body[name] for name in ("data", "location")} == good()["body"]
    permission, origin, _ = received(body, good())
    assert (permission["account"], permission["timestamp"]) == ("account-1", instant.text(NOW - 3600))
    assert [url.split("/")[-2] for url in permission["allows"]["processes"]] == ["electricity-emissions-calculation"]
    assert origin["origin"] == f"{DIRECTORY}/m/edp"
    assert origin["originLicense"] == good()["facts"]["X-Consent-License"]
    assert origin["sourceType"].endswith("/Meter")
    assert origin["perseus:scheme"]["postcode"] == "SW8"
    assert "series.0" not in str(body["provenance"])


METERED = {"from": instant.text(DAY), "to": instant.text(DAY + 43200)}
EMPTY = {"from": instant.text(DAY), "to": instant.text(DAY)}


@pytest.mark.parametrize(
    ("changes", "missing_data", "origin"),
    [
        pytest.param({}, "Complete", {}, id="all there"),
        pytest.param({"body.data": half_hours(47)}, "Missing", {}, id="a gap"),
        pytest.param({"body.data": []}, "Missing", {}, id="nothing"),
        pytest.param({"window": EMPTY, "body.data": []}, "Missing", {}, id="nothing of nothing"),
        pytest.param({"substituted": True}, "Substituted", {}, id="estimates"),
        pytest.param({"substituted": True, "body.data": half_hours(47)}, "Missing", {}, id="estimates and a gap"),
        pytest.param({"metered": METERED, "body.data": half_hours(24)}, "Complete", {}, id="half a day metered"),
        pytest.param({"facts.X-Consent-Fuels": "electricity,gas"}, "Complete", {}, id="both fuels"),
        pytest.param({"measure": "export"}, "Complete", {}, id="export"),
        pytest.param(
            {"origin": {"service": "https://www.smartdcc.co.uk/", "method": "SmartDCCOtherUser"}},
            "Complete",
            {"origin": "https://www.smartdcc.co.uk/"},
            id="an origin of its own",
        ),
    ],
)
def test_each_good_request_is_received(
    party: SigningParty, changes: dict[str, Any], missing_data: str, origin: dict[str, str]
) -> None:
    request = changed(changes)
    found = received(signed(request, party), request)[1]
    assert found["perseus:assurance"]["missingData"].endswith(f"/{missing_data}")
    assert found["perseus:scheme"]["meteringPeriod"] == request.get("metered", request["window"])
    assert origin.items() <= found.items()


def test_header_names_are_known_in_any_case(party: SigningParty) -> None:
    facts = {name.lower(): value for name, value in good()["facts"].items()}
    received(signed(changed({"facts": facts}), party), good())


def text_of(seconds: int) -> str:
    return instant.text(NOW + seconds)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no facts": ({"facts": REMOVED}, "facts: "),
    "facts as a list": ({"facts": []}, "facts: "),
    "no account": ({"facts.X-Consent-Permission": ""}, "facts.x-consent-permission: "),
    "no member": ({"facts.X-Consent-Member": REMOVED}, "facts.x-consent-member: "),
    "no URL of a member": ({"facts.X-Consent-Member": "cap"}, "facts.x-consent-member: "),
    "no license": ({"facts.X-Consent-License": ""}, "facts.x-consent-license: "),
    "an instant without a zone": ({"facts.X-Consent-Expires": "2027-03-12T09:30:00"}, "facts.x-consent-expires: "),
    "a number for an instant": ({"facts.X-Consent-Granted": NOW}, "facts.x-consent-granted: "),
    "a header twice": ({"facts.x-consent-fuels": "gas"}, "facts: "),
    "no fuels": ({"facts.X-Consent-Fuels": ""}, "facts.x-consent-fuels"),
    "an unknown fuel": ({"facts.X-Consent-Fuels": "electricity, gas"}, "facts.x-consent-fuels"),
    "the permission has expired": ({"facts.X-Consent-Expires": text_of(0)}, "facts.x-consent-expires: the permission"),
    "granted in the future": ({"facts.X-Consent-Granted": text_of(301)}, "facts.x-consent-granted: must not lie"),
    "fuel not granted": ({"facts.X-Consent-Fuels": "gas"}, "fuel: must be one that x-consent-fuels names"),
    "fuel unknown": ({"fuel": "water"}, "fuel: "),
    "fuel not the data's": (
        {"fuel": "gas", "facts.X-Consent-Fuels": "electricity,gas"},
        "body: data: must be of the fuel",
    ),
    "measure unknown": ({"measure": "voltage"}, "measure: Input should be 'import' or 'export'"),
    "window outside the permission": ({"window.to": text_of(86401)}, "window.to: must not be after x-consent-expires"),
    "window reversed": ({"window.to": "2026-03-09T00:00:00Z"}, "window.to: must not be before window.from"),
    "window of dates alone": ({"window.from": "2026-03-10"}, "window.from: "),
    "window with more": ({"window.until": "2026-03-10"}, "window.until: "),
    "metered outside the window": ({"metered": {"from": text_of(-864000), "to": text_of(0)}}, "metered: must lie"),
    "metered reversed": ({"metered": {"from": METERED["to"], "to": METERED["from"]}}, "metered: must lie"),
    "data outside what was metered": ({"metered": METERED}, "body: data: must lie within metered"),
    "data before the window": ({"body.data": half_hours(2, start=DAY - HALF_HOUR)}, "body: data: must lie within"),
    "data after the window": ({"body.data": half_hours(49)}, "body: data: must lie within"),
    "a whole postcode": ({"outcode": "SW8 1AA"}, "outcode: "),
    "no body": ({"body": REMOVED}, "body: "),
    "a body that is a list": ({"body": []}, "body: "),
    "no data": ({"body.data": REMOVED}, "body: data: Expected `array`"),
    "a half-hour twice": ({"body.data": [*half_hours(1), *half_hours(1)]}, "body: reading 1: from: "),
    "a negative value": (
        {"body.data": [half_hours(1)[0] | {"energy": {"value": -1, "unitCode": "WHR"}}]},
        "body: reading 0: energy.value: ",
    ),
    "provenance already": ({"body.provenance": {}}, "body: must not have provenance yet"),
    "an origin nobody knows": ({"origin": {"source_type": "Guess"}}, "origin.source_type: "),
    "an origin that is no URL": ({"origin": {"service": "dcc"}}, "origin.service: "),
    "a member nobody knows": ({"windows": {}}, "windows: "),
    "substituted as text": ({"substituted": "no"}, "substituted: "),
    "half a character": ({"facts.X-Consent-Permission": "\ud800"}, ""),
}


@pytest.mark.parametrize(("changes", "says"), REFUSED.values(), ids=REFUSED)
def test_what_was_not_granted_or_would_be_refused_is_not_signed(
    party: SigningParty, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(NotSignable) as refused:
        signed(changed(changes), party)
    assert str(refused.value).startswith(says)


@pytest.mark.parametrize("days", [-31, 336])
def test_a_certificate_out_of_its_dates_signs_nothing(party: SigningParty, held_clock: HeldClock, days: int) -> None:
    request = good(NOW + days * 86400)
    request["window"] = {"from": instant.text(DAY - 8000000), "to": instant.text(DAY - 8000000)}
    request["body"]["data"] = []
    held_clock.step(days * 86400)
    with pytest.raises(NotSignable, match=r"^signing certificate: .* put a new one in place"):
        signed(request, party)
    with pytest.raises(ProvenanceError):  # what a receiver would say of it
        received(unchecked(request, party), request, NOW + days * 86400)


def unchecked(request: dict[str, Any], party: SigningParty) -> dict[str, Any]:
    """What would be signed if nobody looked at the certificate's dates."""
    party.signer.not_before, party.signer.not_after = 0, 2**40
    return signed(request, party)


# The filter


def lines_of(*requests: Any) -> str:
    return "".join(json.dumps(request) + "\n" for request in requests)


def test_each_line_is_answered_in_order(sign: Callable[[bytes | str], Result]) -> None:
    result = sign(lines_of(good(), changed({"measure": "voltage"})) + "\n{\n" + lines_of([], good()))
    first, second, third, fourth, fifth = (json.loads(line) for line in result.stdout.splitlines())
    for body in (first, fifth):
        received(body, good())
    assert second == {"error": "measure: Input should be 'import' or 'export'"}
    assert third["error"].startswith("the request must be JSON, whole on one line: ")
    assert fourth["error"].startswith("request: ")
    assert (result.exit_code, result.stderr) == (1, "")


def test_the_exit_status_is_0_when_all_was_signed(sign: Callable[[bytes | str], Result]) -> None:
    assert sign(lines_of(good(), good())).exit_code == 0
    assert sign("").exit_code == 0


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param(b"[" * 100_000, id="nested without end"),
        pytest.param(lines_of(good())[:-1].encode()[:-40], id="cut off"),
        pytest.param(lines_of(good()).replace("1.5", "NaN", 1).encode(), id="not a number"),
        pytest.param(lines_of(good()).replace('"location": {', '"location": {"x": ' + "[" * 400 + "]" * 400 + ", ", 1),
                     id="a body that cannot be written"),
        pytest.param(b"null", id="null"),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_used_is_one_error_and_the_next_is_signed(
    sign: Callable[[bytes | str], Result], line: bytes | str
) -> None:
    raw = line.encode() if isinstance(line, str) else line
    result = sign(raw.rstrip(b"\n") + b"\n" + lines_of(good()).encode())
    bad, fine = (json.loads(each) for each in result.stdout.splitlines())
    assert (list(bad), result.exit_code) == (["error"], 1)
    assert "provenance" in fine


def test_a_line_that_is_too_long_is_one_error(
    sign: Callable[[bytes | str], Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consent_server.cli.provenance.LONGEST_REQUEST", 20_000)
    longer = json.dumps(changed({"body.x": "y" * 50_000}))
    result = sign(longer + "\n" + lines_of(good()) + longer)
    assert ["provenance" in json.loads(line) for line in result.stdout.splitlines()] == [False, True, False]


def test_no_error_repeats_what_was_sent_or_the_key(sign: Callable[[bytes | str], Result], config: Path) -> None:
    said = sign(lines_of(*(changed(changes) for changes, _ in REFUSED.values()))).stdout
    key = (config.parent / "certificates/signing.key").read_text().splitlines()[1]
    for secret in ("a-secret", "account-1", "SW8", key):
        assert secret not in said


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        pytest.param(lambda c: c.write_text("registry ="), "not TOML", id="not TOML"),
        pytest.param(lambda c: c.write_bytes(b"\xff"), "signing.toml", id="not UTF-8"),
        pytest.param(lambda c: c.write_text("a = 1\n" + c.read_text()), "a: there is no such key", id="an unknown key"),
        pytest.param(
            lambda c: c.write_text(re.sub("data_service = .*", 'data_service = ""', c.read_text())),
            "data_service: ",
            id="no data service",
        ),
        pytest.param(lambda c: c.unlink(), "signing.toml: there is no such settings file", id="no file"),
        pytest.param(lambda c: (c.parent / "certificates/signing.key").unlink(), "signing_key: ", id="no key"),
        pytest.param(
            lambda c: (c.parent / "certificates/signing.key").write_bytes(signing_authority().member("x", EDP_ROLE)[1]),
            "must be the key of the first certificate",
            id="another key",
        ),
        pytest.param(
            lambda c: (c.parent / "certificates/signing.pem").write_bytes(b"no certificate"),
            "signing_certificate",
            id="no certificate",
        ),
    ],
)
def test_settings_that_cannot_be_used_are_refused_at_the_start(
    sign: Callable[[bytes | str], Result], config: Path, spoil: Callable[[Path], Any], says: str
) -> None:
    spoil(config)
    result = sign(lines_of(good()))
    assert (result.exit_code, result.stdout) == (1, "")
    assert says in result.stderr
    assert "PRIVATE KEY" not in result.stderr
    with pytest.raises(BadSettings):
        signing_settings.load(config)


def test_one_process_answers_while_its_input_is_open(tmp_path: Path) -> None:
    file = configured(tmp_path / "here", SigningAuthority(now=clock.now()))
    command = [sys.executable, "-m", "consent_server", "provenance", "sign", "--config", str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for request, member in ((good(clock.now()), "provenance"), ({}, "error")):
            process.stdin.write(lines_of(request).encode())
            process.stdin.flush()
            assert member in json.loads(process.stdout.readline())
        process.stdin.close()
        assert process.wait(60) == 1


def test_the_example_of_the_integrators_page_is_signed(config: Path) -> None:
    page = (ROOT / "docs/integrator.md").read_text(encoding="utf-8")
    section = page[page.index("### In any other language") : page.index("## A client")]
    (example,) = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", section, re.DOTALL))
    (typed,) = re.findall(r"```\nconsent-server (provenance .*)\n```", section)
    with pytest.MonkeyPatch.context() as moved:
        moved.chdir(config.parent)
        result = CliRunner().invoke(main, typed.split(), input=lines_of(example))
    assert result.exit_code == 0, result.output
    received(json.loads(result.stdout), example)
