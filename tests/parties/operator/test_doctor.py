"""`consent-server doctor`: nothing to say about a sound deployment, and the right line for each thing that is spoiled."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from consent_server import clock
from consent_server.cli import main
from consent_server.outbound.directory import Agreement, DataService, Member
from consent_server.parties.operator import doctor
from consent_server.parties.operator.doctor import scheme
from consent_server.parties.operator.doctor.certificates import days_left
from consent_server.parties.operator.doctor.finding import Finding, fine
from consent_server.sandbox import membership
from consent_server.sandbox.authority import Authority
from consent_server.sandbox.layout import Layout
from consent_server.sandbox.mail import mailed
from consent_server.scheme.instant import DAY
from consent_server.settings import Settings, load
from tests.conftest import RunningSandbox

pytestmark = pytest.mark.xdist_group("sandbox")


ROOT = Path(__file__).resolve().parents[3]


class Ward:
    """The running sandbox's deployments, and a folder in which to spoil copies of their files."""

    def __init__(self, sandbox: RunningSandbox, folder: Path) -> None:
        self.sandbox, self.folder = sandbox, folder
        self.layout = Layout(sandbox.directory, sandbox.base_port)

    def settings(self, party: str, **changed: object) -> Settings:
        """`section__key=value`."""
        pairs = {name.replace("__", "."): str(value) for name, value in changed.items()}
        return load(self.layout.settings(party), pairs)

    def client(self, name: str, file: str = "chain") -> str:
        return str(self.layout.certificate(name, file))

    def copied(self, path: Path, mode: int | None = None) -> Path:
        """A copy that may be spoiled; with a mode of its files."""
        target = self.folder / path.name
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        copy(path, target)
        if mode is not None:
            for each in target.iterdir() if target.is_dir() else [target]:
                each.chmod(mode)
        return target

    def file(self, content: bytes) -> Path:
        path = self.folder / "file"
        path.touch(mode=0o600)
        path.write_bytes(content)
        return path

    def stranger(self) -> Authority:
        return Authority(self.folder / "stranger").create()

    def license(self, **changed: object) -> Settings:
        """The EDP's settings with its last license (electricity alone) changed."""
        settings = self.settings("edp")
        *others, last = settings.scheme.licenses
        licenses = (*others, last.model_copy(update=changed))
        return settings.model_copy(update={"scheme": settings.scheme.model_copy(update={"licenses": licenses})})


@pytest.fixture
def ward(sandbox: RunningSandbox, tmp_path: Path) -> Ward:
    return Ward(sandbox, tmp_path)


@pytest.fixture(autouse=True)
def clock_given_back() -> Iterator[None]:
    yield
    clock.step_by(int)


def examined(settings: Settings, at: int | None = None) -> list[Finding]:
    return list(doctor.examine(settings, clock.now() if at is None else at))


def bad(findings: list[Finding]) -> list[str]:
    return [finding.what for finding in findings if finding.level == doctor.FAIL]


@pytest.mark.parametrize("party", ["edp", "cap"])
def test_a_sound_deployment_passes(ward: Ward, party: str) -> None:
    done = CliRunner().invoke(main, ["doctor", "--config", str(ward.layout.settings(party))])
    assert (done.exit_code, done.exception) == (0, None), done.output
    assert len(done.output.splitlines()) > 40
    assert all(line.startswith("ok    ") for line in done.output.splitlines()), done.output


@pytest.mark.parametrize(
    ("to", "code", "said"),
    [
        ("operator@tallyleaf.example", 0, "ok    mail: the relay took the test"),
        (
            "operator@tallyleaf.example\nBcc: all@x.example",
            1,
            "FAIL  mail: the test was not sent: this is no e-mail address",
        ),
    ],
)
def test_O7_a_test_mail_is_sent_on_request(ward: Ward, to: str, code: int, said: str) -> None:
    before = mailed(ward.layout)
    done = CliRunner().invoke(main, ["doctor", "--config", str(ward.layout.settings("cap")), "--mail-to", to])
    assert (done.exit_code, said in done.output) == (code, True), done.output
    # the jobs of the sandbox send mails meanwhile
    found = [mail["to"] for mail in mailed(ward.layout)[len(before) :] if mail["to"].startswith("operator@")]
    assert found == ([to] if code == 0 else [])


def test_O7_a_relay_without_tls_is_named(ward: Ward) -> None:
    found = examined(ward.settings("cap", mail__source="smtp://127.0.0.1:1", mail__unencrypted="true"))
    assert [each.what for each in found if each.level == "warn"] == [
        "mail: the relay is spoken to without TLS (mail.unencrypted)"
    ]


Spoil = Callable[[Ward], Settings]

SPOILED: dict[str, tuple[Spoil, str]] = {
    # roots and certificates
    "client-root-missing": (lambda w: w.settings("edp", clients__root="/nowhere.pem"), "client root: /nowhere.pem"),
    "client-root-and-more": (
        lambda w: w.settings(
            "edp", clients__root=w.file(w.layout.authority.joinpath("client_root.pem").read_bytes() * 2)
        ),
        "client root: not one self-signed authority",
    ),
    "client-root-of-signatures": (
        lambda w: w.settings("edp", clients__root=w.layout.authority / "signing_root.pem"),
        "client certificate: chain to the root",
    ),
    "issuers-of-another-root": (
        lambda w: w.settings("edp", clients__issuers=w.layout.authority / "signing_issuer.pem"),
        "client issuers: not issued by the client root",
    ),
    "signing-root-no-pem": (lambda w: w.settings("edp", keys__signing_root=w.file(b"PEM?")), "signing root: "),
    "server-certificate-of-another-host": (
        lambda w: w.settings("edp", public__certificate=w.stranger().server(("other.example",)).chain),
        "public door certificate: does not name localhost",
    ),
    "server-certificate-without-its-issuer": (
        lambda w: w.settings("edp", mutual_tls__certificate=w.layout.server_certificate("certificate")),
        "mutual-TLS door certificate: chain",
    ),
    "server-key-of-another": (
        lambda w: w.settings("edp", public__key=w.client("edp", "key")),
        "public door certificate: key: ",
    ),
    "client-certificate-expired": (
        lambda w: w.settings("edp", keys__client_certificate=w.client("expired")),
        "client certificate: days left: expired",
    ),
    "client-certificate-of-another": (
        lambda w: w.settings("edp", keys__client_certificate=w.client("edp2")),
        "client certificate: is ",
    ),
    "client-certificate-malformed": (
        lambda w: w.settings("edp", keys__client_certificate=w.client("two_uris")),
        "client certificate: the subject alternative name",
    ),
    "client-certificate-without-role": (
        lambda w: w.settings("edp", keys__client_certificate=w.client("no_role")),
        "client certificate: role",
    ),
    "client-certificate-of-a-stranger": (
        lambda w: w.settings("edp", keys__client_certificate=w.client("wrong_ca")),
        "client certificate: chain to the root",
    ),
    "client-certificate-revoked": (
        lambda w: w.settings("edp", keys__client_certificate=w.client("revoked")),
        "revocation list: our client certificate",
    ),
    "client-certificate-missing": (
        lambda w: w.settings("edp", keys__client_certificate="/nowhere.pem"),
        "client certificate: /nowhere.pem",
    ),
    "client-key-of-another": (
        lambda w: w.settings("edp", keys__client_key=w.client("edp2", "key")),
        "client certificate: key: ",
    ),
    "signing-certificate-of-the-client-root": (
        lambda w: w.settings("edp", keys__signing_certificate=w.client("edp_service")),
        "signing certificate: chain to the root",
    ),
    # keys and database
    "no-signing-keys": (lambda w: w.settings("edp", keys__tokens="/nowhere"), "token signing keys: "),
    "open-signing-keys": (
        lambda w: w.settings("edp", keys__tokens=w.copied(w.layout.party("edp") / "keys" / "tokens", 0o644)),
        "token signing keys: ",
    ),
    "no-refresh-keys": (lambda w: w.settings("edp", keys__refresh=w.folder), "refresh-token keys: "),
    "short-sealing-key": (lambda w: w.settings("edp", keys__sealing=w.file(b"short")), "sealing key: "),
    "no-database": (lambda w: w.settings("edp", database__url=f"sqlite:///{w.folder}/no.db"), "database: "),
    "database-not-migrated": (
        lambda w: w.settings("edp", database__url=f"sqlite:///{w.file(b'')}"),
        "database: not the newest schema",
    ),
    "database-down": (
        lambda w: w.settings("edp", database__url="postgresql+psycopg://nobody@127.0.0.1:1/none"),
        "database: ",
    ),
    "keys-that-the-door-does-not-have": (
        lambda w: w.settings("edp", keys__tokens=w.layout.party("cap") / "keys" / "tokens"),
        "JWKS: lacks the key in use",
    ),
    # the trust framework
    "server-roots-missing": (lambda w: w.settings("edp", keys__server_roots="/nowhere.pem"), "server roots "),
    "server-roots-of-others": (
        lambda w: w.settings("edp", keys__server_roots=w.layout.authority / "client_root.pem"),
        "Directory: localhost: tls",
    ),
    "list-not-there": (
        lambda w: w.settings("edp", revocation_list__source=f"{w.layout.control}/no.crl"),
        "revocation list: localhost: status 404",
    ),
    "list-unreadable": (
        lambda w: w.settings("edp", revocation_list__source=w.file(b"CRL?")),
        "revocation list: cannot be read",
    ),
    "list-of-a-stranger": (
        lambda w: w.settings("edp", revocation_list__source=w.file(w.stranger().crl([]))),
        "revocation list: not signed",
    ),
    "unknown-member": (
        lambda w: w.settings("edp", member__url=f"{w.layout.directory_url}/m/none"),
        "member entry: localhost: status 404",
    ),
    "member-of-another-role": (
        lambda w: w.settings("edp", member__url=w.layout.member("fsp")),
        "member entry: our role",
    ),
    "unknown-application": (
        lambda w: w.settings("edp", member__application=f"{w.layout.directory_url}/a/none"),
        "application entry: localhost: status 404",
    ),
    "application-of-another-member": (
        lambda w: w.settings("edp", member__application=w.layout.application("edp2")),
        "application entry: published by ",
    ),
    "application-of-another-role": (
        lambda w: w.settings("edp", member__application=w.layout.application("fsp")),
        "application entry: our role",
    ),
    "messages-go-elsewhere": (
        lambda w: w.settings("cap", member__application=w.layout.application("cap2")),
        "application entry: message delivery is ",
    ),
    "messages-go-nowhere": (
        lambda w: w.settings("cap", member__application=w.layout.application("edp")),
        "application entry: message delivery is missing",
    ),
    "service-not-listed": (
        lambda w: w.settings("edp", member__data_service=w.layout.data_service("cap")),
        "data catalogue: no ",
    ),
    "issuer-not-byte-equal": (
        lambda w: w.settings("edp", issuer=f"{w.layout.issuer('edp')}/edp"),
        "data catalogue: oauthIssuer is ",
    ),
    "endpoint-elsewhere": (
        lambda w: w.settings("edp", mutual_tls__origin="https://localhost:1"),
        "data catalogue: endpointURL is ",
    ),
    "host-not-allowed": (
        lambda w: w.settings("edp", mutual_tls__origin="https://other.example"),
        "server allowlist: lacks other.example",
    ),
    "allowlist-elsewhere": (
        lambda w: w.settings("edp", scheme__server_allowlist=f"{w.layout.directory_url}/none"),
        "server allowlist https://localhost:",
    ),
    "allowlist-of-another-framework": (
        lambda w: w.settings("edp", scheme__trust_framework=f"{w.layout.registry}/another"),
        "server allowlist https://localhost:",
    ),
    "metadata-not-there": (
        lambda w: w.settings("edp", issuer=f"{w.layout.issuer('edp')}/edp"),
        "metadata: localhost: status 404",
    ),
    "door-closed": (
        lambda w: w.settings("edp", public__origin="https://localhost:1", issuer="https://localhost:1"),
        "metadata: localhost: connect (it cannot be reached at this port)",
    ),
    "text-changed": (lambda w: w.license(text_sha256="0" * 64), "license "),
    "text-without-the-fuel": (lambda w: w.license(fuels=("electricity", "gas")), "license "),
    "license-unknown": (lambda w: w.license(url=f"{w.layout.registry}/scheme/perseus/license/none/1"), "license "),
    "duration-of-another": (lambda w: w.license(duration="2 years"), "license "),
    "register-that-is-not-there": (
        lambda w: w.settings("edp", metering__register_source="no.such:register"),
        "metering.register_source: no.such:register cannot be loaded",
    ),
    "readings-that-lack-a-method": (
        lambda w: w.settings("edp", metering__readings_source="tests.metering.plug_ins:register"),
        "metering.readings_source: tests.metering.plug_ins:register has no half_hours(request)",
    ),
    "register-that-finds-everybody": (
        lambda w: w.settings("edp", metering__register_source="tests.metering.plug_ins:anybody"),
        "metering: find returned a business for unknown numbers",
    ),
    "log-in-elsewhere": (lambda w: w.settings("edp", login__issuer="https://localhost:1"), "login: localhost: connect"),
    "log-in-under-another-name": (
        lambda w: w.settings("edp", login__issuer=f"{w.layout.customers}/"),
        "login: localhost: unreadable",
    ),
    "log-in-without-secret": (
        lambda w: w.settings("edp", login__secret=w.folder / "nothing"),
        "login: ",
    ),
    "mail-down": (lambda w: w.settings("cap", mail__source="smtp://127.0.0.1:1"), "mail: 127.0.0.1: connection"),
    "mail-forgotten": (lambda w: w.settings("cap", mail__source=""), "mail: mail.source"),
}


@pytest.mark.parametrize("row", SPOILED)
def test_what_is_spoiled_is_found(ward: Ward, row: str) -> None:
    spoil, line = SPOILED[row]
    found = examined(spoil(ward))
    assert any(what.startswith(line) for what in bad(found)), bad(found)
    assert all(finding.todo for finding in found if finding.level != "ok")
    # a fault is found by the check for it, and never by one that stumbles
    assert not any("could not be looked at" in what for what in bad(found)), bad(found)


def test_an_error_that_a_check_did_not_foresee_is_a_finding_and_the_next_check_runs() -> None:
    def stumbles() -> Iterator[Finding]:
        yield fine("before")
        raise RuntimeError("why")

    found = list(doctor.each_carefully({"roots": stumbles(), "servers": iter([fine("after")])}))
    assert [finding.what for finding in found] == [
        "before",
        "roots: could not be looked at (RuntimeError: why)",
        "after",
    ]
    assert [finding.level for finding in found] == ["ok", "FAIL", "ok"]


def test_a_suspended_membership_is_found(ward: Ward) -> None:
    membership.change(ward.layout, "member", "operator", "suspended")  # it opens no door
    try:
        found = examined(ward.settings("edp", member__url=ward.layout.member("operator")))
    finally:
        membership.change(ward.layout, "member", "operator", "active")
    assert "member entry: membership is not active" in bad(found)


def test_time_alone_ends_certificates_and_the_list(ward: Ward) -> None:
    found = bad(examined(ward.settings("edp"), clock.now() + 1400 * DAY))
    for name in ("client root", "signing root", "public door", "mutual-TLS door", "client certificate", "signing cert"):
        assert any(what.startswith(name) and "expired" in what for what in found), name
    assert any(what.startswith("revocation list: in force from") for what in found)


@pytest.mark.parametrize(
    ("days", "level", "todo"),
    [
        (61, "ok", ""),
        (60, "ok", ""),
        (59, "warn", "order"),
        (30, "warn", "order"),
        (29, "warn", "this week"),
        (7, "warn", "this week"),
        (6, "warn", "today"),
        (0, "warn", "today"),
        (-1, "FAIL", "now"),
    ],
)
def test_days_left_are_warned_of(days: int, level: str, todo: str) -> None:
    found = days_left("certificate", 1773307800 + days * DAY, 1773307800)
    assert found.level == level
    assert todo in found.todo


@pytest.mark.parametrize(
    ("offset", "in_sandbox", "level"),
    [(0, False, "ok"), (6, False, "warn"), (-6, False, "warn"), (60, False, "FAIL"), (86400, True, "warn")],
)
def test_the_clock_is_held_against_the_directorys(ward: Ward, offset: int, in_sandbox: bool, level: str) -> None:
    settings = ward.settings("edp")
    if not in_sandbox:
        settings = settings.model_copy(update={"sandbox": settings.sandbox.model_copy(update={"clock": None})})
    clock.step_by(lambda: offset)
    (found,) = [each for each in examined(settings) if each.what.startswith("clock: ")]
    assert found.level == level


def test_without_a_revocation_list_the_sandbox_is_warned(ward: Ward) -> None:
    (found,) = [
        each for each in examined(ward.settings("edp", revocation_list__source="")) if "revocation list" in each.what
    ]
    assert found.level == "warn"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("issuer=http://localhost", "FAIL  settings: issuer: "),
        ("issuer=https://elsewhere.example", "FAIL  settings: settings: "),
        ("lifetimes.code=61", "FAIL  settings: lifetimes.code: "),
        ("no.such.key=1", "FAIL  settings: no: "),
    ],
)
def test_settings_that_do_not_load_are_the_first_thing(ward: Ward, override: str, says: str) -> None:
    arguments = ["doctor", "--config", str(ward.layout.settings("edp")), "--set", override]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert done.output.startswith(says)
    assert "docs/settings.md" in done.output


def test_a_failure_is_the_commands_exit_status(ward: Ward) -> None:
    arguments: list[Any] = ["doctor", "--config", str(ward.layout.settings("edp"))]
    done = CliRunner().invoke(main, [*arguments, "--set", "keys.tokens=/nowhere"])
    assert done.exit_code == 1
    assert "FAIL  token signing keys: /nowhere" in done.output
    assert "to mend before this goes live" in done.output
    assert "Traceback" not in done.output


NOW = 1773316800
OTHER = "https://directory.core.trust.ib1.org/m/other"


@pytest.mark.parametrize(
    ("policy", "until", "ours", "others"),
    [
        ("refuse", NOW + 61 * 86400, "ok", "ok"),
        ("refuse", NOW + 60 * 86400, "warn", "warn"),
        ("refuse", NOW, "FAIL", "warn"),
        ("warn", NOW, "warn", "warn"),
        ("refuse", None, "FAIL", "warn"),
    ],
)
def test_agreements_that_ended_or_end_within_sixty_days(policy: str, until: int | None, ours: str, others: str) -> None:
    settings = load(ROOT / "config" / "cap.toml", {"clients.lapsed_agreements": policy})
    roles = {settings.member.url: settings.scheme.cap_roles, OTHER: settings.scheme.edp_roles}

    def member(url: str) -> Member:
        agreements = () if until is None else (Agreement(roles[url], 0, NOW - 1), Agreement(roles[url], 0, until))
        return Member(url, url[-5:], None, roles[url], None, True, agreements)

    service = DataService("s", None, OTHER, "Readings", "https://other.example", None)
    outside: Any = SimpleNamespace(directory=SimpleNamespace(member=member, data_services=lambda _: [service]))
    own = [each for each in scheme.member(settings, outside, NOW) if "agreement" in each.what]
    listed = list(scheme.agreements(settings, outside, NOW))
    assert [each.level for each in own] == [ours]
    assert [(each.level, "other" in each.what) for each in listed] == [(others, True)]


def test_an_edp_without_a_privacy_policy_is_told() -> None:
    settings = load(ROOT / "config" / "edp.toml")
    entry = Member(settings.member.url, "Us", None, settings.scheme.edp_roles, None, True)
    outside: Any = SimpleNamespace(directory=SimpleNamespace(member=lambda _: entry))
    found = scheme.member(settings, outside, NOW)
    assert next(each.what for each in found if each.level == "FAIL") == "member entry: privacy policy"
