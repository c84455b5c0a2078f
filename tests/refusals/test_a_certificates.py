"""Section A of the security matrix: who is calling. The rows' ids are the tests'.

Each row is tried at the sandbox's own door, where gunicorn ends TLS, and behind a real nginx (escaped PEM) and a real haproxy
(RFC 9440 Client-Cert), as far as the row has to do with them.
"""

import base64
import datetime
import itertools
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from consent_server.pki.member_certificate import encode_roles
from consent_server.sandbox.authority import Authority
from consent_server.sandbox.browser import Browser, follow
from tests.conftest import RunningSandbox, free_ports
from tests.refusals import fronts as ways
from tests.refusals.certificates import Forge, Holder, element, held
from tests.refusals.fronts import PROXY, Behind, Front
from tests.refusals.oracle import Oracle

pytestmark = pytest.mark.xdist_group("sandbox")

NAMES = ("direct", "nginx", "haproxy")
ENDPOINTS = ("/par", "/token", "/revoke", "/permission", "/introspect")
DATA = ("/datasources", "/datasources/x/import?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z")
DAY = datetime.timedelta(days=1)


@pytest.fixture(scope="module")
def forge(sandbox: RunningSandbox, oracle: Oracle, tmp_path_factory: pytest.TempPathFactory) -> Forge:
    folder = tmp_path_factory.mktemp("forge") / "authority"
    return Forge(sandbox.directory / "trust", folder, oracle.manifest["clients"]["cap"])


@pytest.fixture(scope="module")
def all_fronts(
    sandbox: RunningSandbox, oracle: Oracle, forge: Forge, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Front]]:
    """The sandbox's own door, one behind nginx, one behind haproxy, and one that binds tokens to certificates."""
    ways.need("nginx", "haproxy")
    folder = tmp_path_factory.mktemp("fronts")
    certificate = forge.authority.server(["localhost", ways.PUBLIC])
    behind = {"clients.proxies": [PROXY]}
    arrivals = {
        "edp_behind_nginx": {"clients.arrival": "escaped-pem", **behind},
        "edp_behind_haproxy": {"clients.arrival": "client-cert", **behind},
        "edp_bound": {"tokens.bind_to_certificate": True},
    }
    ports = itertools.count(free_ports(len(arrivals) + 2))
    doors = {name: ways.start_door(sandbox, name, next(ports), **settings) for name, settings in arrivals.items()}
    running = [process for process, _ in doors.values()]
    try:
        nginx = ways.start_nginx(folder / "nginx", next(ports), oracle, doors["edp_behind_nginx"][1], certificate)
        running.append(nginx[0])
        haproxy = ways.start_haproxy(
            folder / "haproxy", next(ports), oracle, doors["edp_behind_haproxy"][1], certificate
        )
        running.append(haproxy[0])
        logs = sandbox.directory / "logs"
        ways.listening([nginx, haproxy, *((*door, logs / f"{name}.log") for name, door in doors.items())])
        own = httpx.URL(oracle.manifest["doors"]["edp"]).port
        assert own is not None
        found = {
            "direct": Front("direct", "edp_mutual_tls", own, oracle),
            "nginx": Behind("nginx", "edp_behind_nginx", nginx[1], oracle, nginx[2]),
            "haproxy": Behind("haproxy", "edp_behind_haproxy", haproxy[1], oracle, haproxy[2]),
            # around the proxies, straight to what is behind them
            "behind-nginx": Front("behind-nginx", "edp_behind_nginx", doors["edp_behind_nginx"][1], oracle),
            "behind-haproxy": Front("behind-haproxy", "edp_behind_haproxy", doors["edp_behind_haproxy"][1], oracle),
            "bound": Front("bound", "edp_bound", doors["edp_bound"][1], oracle),
        }
        for name in ("behind-nginx", "behind-haproxy", "bound"):
            found[name].wait_until_healthy()
        yield found
        for front in found.values():
            front.close()
    finally:
        ways.stop(running)


@pytest.fixture(params=NAMES)
def front(request: pytest.FixtureRequest, all_fronts: dict[str, Front]) -> Front:
    return all_fronts[request.param]


@pytest.fixture
def cap(oracle: Oracle) -> Holder:
    return held(oracle.manifest["clients"]["cap"])


@pytest.fixture
def victim(oracle: Oracle) -> Holder:
    return held(oracle.manifest["clients"]["cap2"])


def pushing(
    front: Front,
    who: Holder | None,
    form: dict[str, str] | None = None,
    *,
    source: str | None = None,
    headers: Any = None,
) -> Callable[[], Any]:
    """An act: a good request of the client `cap`, pushed with the certificate of `who`."""

    def act() -> httpx.Response:
        with front.client(who, source=source) as client:
            return client.post("/par", data=form or front.oracle.good_push("cap"), headers=headers)

    return act


def escaped(*holders: Holder) -> str:
    """What nginx's $ssl_client_escaped_cert would be, of one certificate or, wrongly, of several."""
    return quote("".join(holder.pem for holder in holders), safe="")


def byte_sequence(der: bytes) -> str:
    """An RFC 9440 Client-Cert value."""
    return f":{base64.b64encode(der).decode()}:"


# A01


def test_A01_another_ones_certificate_in_the_header(front: Front, oracle: Oracle, cap: Holder, victim: Holder) -> None:
    """The header says `cap2`, the TLS certificate says `cap`: the caller is `cap`."""
    forged = {"X-SSL-Client-Cert": escaped(victim), "Client-Cert": byte_sequence(victim.der)}
    as_victim = pushing(front, cap, oracle.good_push("cap2"), headers=forged)
    front.refused(as_victim, "client_id_mismatch", 401, "invalid_client", secrets=forged.values())
    before = {row["digest"] for row in oracle.stores["edp"].rows("pushed_request")}
    assert pushing(front, cap, headers=forged)().status_code == 201
    new = [row for row in oracle.stores["edp"].rows("pushed_request") if row["digest"] not in before]
    assert [row["client_id"] for row in new] == [oracle.manifest["clients"]["cap"]["client_id"]]


# A02


@pytest.mark.parametrize("name", ["behind-nginx", "behind-haproxy"])
def test_A02_header_sent_around_the_proxy(all_fronts: dict[str, Front], name: str, cap: Holder) -> None:
    """From an address that is not the proxy's, straight to the door behind it."""
    headers = {"X-SSL-Client-Cert": escaped(cap), "Client-Cert": byte_sequence(cap.der)}
    front = all_fronts[name]
    proxied = all_fronts[name.removeprefix("behind-")]
    for who in (None, cap):
        act = pushing(front, who, headers=headers)
        proxied.refused(act, "no_certificate", 401, "invalid_client", secrets=headers.values())


def test_A02_header_without_a_certificate_at_the_doors_own_tls(all_fronts: dict[str, Front], cap: Holder) -> None:
    for name in NAMES:
        front = all_fronts[name]
        headers = {"X-SSL-Client-Cert": escaped(cap), "Client-Cert": byte_sequence(cap.der)}
        front.turned_away(pushing(front, None, headers=headers))


def test_A02_nothing_listens_without_tls(all_fronts: dict[str, Front], oracle: Oracle) -> None:
    """Plain HTTP to a door is no request: there is no port 80 that could forward one."""
    text = (ways.ROOT / "config" / "nginx.conf").read_text(encoding="utf-8")
    listening = [line.split() for line in text.splitlines() if line.strip().startswith("listen")]
    assert listening
    assert all(words[2].rstrip(";") == "ssl" for words in listening)
    for name in NAMES:
        front = all_fronts[name]
        log = oracle.log(front.door)
        with socket.create_connection(("127.0.0.1", front.port), timeout=30) as plain:
            plain.sendall(b"POST /par HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
            try:
                said = plain.recv(4096)
            except ConnectionResetError:
                said = b""
        assert said[:12] in (b"", b"HTTP/1.1 400")
        assert not ways.reached(log)
        front.honest()


def test_nginx_says_in_json_that_the_door_behind_it_is_closed(
    forge: Forge, oracle: Oracle, cap: Holder, tmp_path: Path
) -> None:
    ways.need("nginx")
    port = free_ports(2)
    certificate = forge.authority.server(["localhost", ways.PUBLIC])
    process, _, log = ways.start_nginx(tmp_path / "nginx", port, oracle, port + 1, certificate)
    try:
        ways.listening([(process, port, log)])
        answer = pushing(Behind("nginx", "edp_mutual_tls", port, oracle, log), cap)()
    finally:
        ways.stop([process])
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    assert answer.json()["correlation_id"] == answer.headers["X-Request-Id"]
    assert answer.headers["Retry-After"] == "5"
    assert "no-store" in answer.headers["Cache-Control"]


# A03


def _long(header: str) -> str:
    return f"{header}: {'A' * 9000}"


VARIANTS: dict[str, Callable[[str, str], list[str]]] = {
    "underscores": lambda pem, sequence: [f"X_SSL_Client_Cert: {pem}", f"Client_Cert: {sequence}"],
    "mixed": lambda pem, sequence: [f"X-SSL_Client-Cert: {pem}", f"client-cert_: {sequence}"],
    "case": lambda pem, sequence: [f"x-ssl-CLIENT-cert: {pem}", f"CLIENT-cert: {sequence}"],
    "doubled": lambda pem, sequence: [f"X-SSL-Client-Cert: {pem}", f"Client-Cert: {sequence}"] * 2,
    "folded": lambda pem, sequence: [f"X-SSL-Client-Cert: x\r\n {pem}", f"Client-Cert: x\r\n {sequence}"],
    "space-before-colon": lambda pem, sequence: [f"X-SSL-Client-Cert : {pem}", f"Client-Cert : {sequence}"],
    "chain-alone": lambda pem, sequence: [f"Client-Cert-Chain: {sequence}"],
    "over-8190-bytes": lambda pem, sequence: [_long("X-SSL-Client-Cert"), _long("Client-Cert")],
    "hop-by-hop": lambda pem, sequence: [
        "Connection: close, X-SSL-Client-Cert, Client-Cert",
        f"X-SSL-Client-Cert: {pem}",
    ],
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_A03_variants_of_the_header_make_nobody_else(
    front: Front, oracle: Oracle, cap: Holder, victim: Holder, variant: Callable[[str, str], list[str]]
) -> None:
    """Beside an own certificate, and with the victim's client_id: it is dropped (401 for the client_id) or malformed."""
    from urllib.parse import urlencode

    body = urlencode(oracle.good_push("cap2"))
    head = [
        "POST /par HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(body)}",
        *variant(escaped(victim), byte_sequence(victim.der)),
        "",
        body,
    ]
    before, log = oracle.stores["edp"].contents(), oracle.log(front.door)
    status, said = front.send(cap, "\r\n".join(head).encode())
    assert status in {400, 401, 431}, said
    if status == 401:
        assert '"invalid_client"' in said
    assert oracle.stores["edp"].contents() == before
    assert victim.pem.split("\n")[3] not in said + log.text()
    front.honest()


# A04


def _several(kind: str, own: Holder, victim: Holder) -> dict[str, list[tuple[str, str]]]:
    if kind == "nginx":
        name = "X-SSL-Client-Cert"
        return {
            "victim-second": [(name, escaped(own, victim))],
            "victim-first": [(name, escaped(victim, own))],
            "chain": [(name, escaped(own, replace(own, der=own.intermediates[0])))],
            "doubled": [(name, escaped(victim)), (name, escaped(own))],
            "not-escaped": [(name, victim.pem.replace("\n", " ").strip())],
            "text-around": [(name, quote(f"x\n{victim.pem}", safe=""))],
            "half": [(name, escaped(victim)[:-60])],
        }
    name = "Client-Cert"
    return {
        "victim-second": [(name, f"{byte_sequence(own.der)}, {byte_sequence(victim.der)}")],
        "victim-first": [(name, f"{byte_sequence(victim.der)}, {byte_sequence(own.der)}")],
        "doubled": [(name, byte_sequence(victim.der)), (name, byte_sequence(own.der))],
        "parameter": [(name, f"{byte_sequence(victim.der)};a=1")],
        "pem": [(name, escaped(victim))],
        "no-colons": [(name, base64.b64encode(victim.der).decode())],
        "url-safe": [(name, f":{base64.urlsafe_b64encode(victim.der).decode()}_:")],
    }


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
def test_A04_more_than_one_certificate_from_the_proxy(
    all_fronts: dict[str, Front], oracle: Oracle, kind: str, cap: Holder, victim: Holder
) -> None:
    """Even the proxy's own address (127.0.0.2) may name one certificate, and one alone."""
    front, honest = all_fronts[f"behind-{kind}"], all_fronts[kind].honest
    for headers in _several(kind, cap, victim).values():
        for client in ("cap", "cap2"):
            act = pushing(front, None, oracle.good_push(client), headers=headers, source=PROXY)
            oracle.refused(act, "bad_certificate", 401, "invalid_client", door=front.door, honest=honest)


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
def test_A04_what_a_proxy_passes_on_is_judged_again(
    all_fronts: dict[str, Front], oracle: Oracle, forge: Forge, kind: str
) -> None:
    """A proxy that verifies nothing opens no door: chain, dates, profile and revocation are ours to judge (A06 to A13)."""
    front, honest = all_fronts[f"behind-{kind}"], all_fronts[kind].honest
    fake = forge.below(forge.issuer, ca=False)
    stranger = forge.forged()
    cases = {
        "certificate_untrusted": [
            forge.leaf(signer=stranger),
            forge.leaf(signer=fake, beside=[fake.certificate, forge.issuer.certificate]),
            held(oracle.manifest["clients"]["self_signed"]),
            held(oracle.manifest["clients"]["wrong_ca"]),
        ],
        "certificate_out_of_date": [
            held(oracle.manifest["clients"]["expired"]),
            forge.leaf(start=DAY, end=2 * DAY),
        ],
        "certificate_malformed": [held(oracle.manifest["clients"]["two_uris"])],
        "certificate_revoked": [held(oracle.manifest["clients"]["revoked"])],
    }
    for refusal, holders in cases.items():
        for holder in holders:
            headers = (
                {"X-SSL-Client-Cert": escaped(holder)}
                if kind == "nginx"
                else {
                    "Client-Cert": byte_sequence(holder.der),
                    "Client-Cert-Chain": ", ".join(byte_sequence(each) for each in holder.intermediates),
                }
            )
            act = pushing(front, None, headers=headers, source=PROXY)
            oracle.refused(act, refusal, 401, "invalid_client", door=front.door, honest=honest)


# A05


def test_A05_no_certificate(front: Front) -> None:
    for path in ENDPOINTS:
        with front.client() as client:
            front.turned_away(lambda at=client, to=path: at.post(to, data=front.oracle.good_push("cap")))
    for path in DATA:
        with front.client() as client:
            headers = {"Authorization": "Bearer x"}
            front.turned_away(lambda at=client, to=path, sent=headers: at.get(to, headers=sent))


# A06 to A14: certificates that TLS itself turns away

TURNED_AWAY: dict[str, Callable[[Forge, Oracle], Holder]] = {
    "A06-expired": lambda forge, oracle: held(oracle.manifest["clients"]["expired"]),
    "A06-expired-an-hour-ago": lambda forge, _: forge.leaf(start=-DAY, end=-datetime.timedelta(hours=1)),
    "A06-not-yet-valid": lambda forge, _: forge.leaf(start=DAY, end=2 * DAY),
    "A09-signing-ca": lambda forge, _: forge.leaf(signer=forge.signer("signing")),
    "A09-server-ca": lambda forge, _: forge.leaf(signer=forge.signer("server")),
    "A10-self-signed": lambda forge, oracle: held(oracle.manifest["clients"]["self_signed"]),
    "A10-another-authority": lambda forge, oracle: held(oracle.manifest["clients"]["wrong_ca"]),
    "A10-forged-names": lambda forge, _: forge.leaf(signer=forge.forged()),
    "A10-forged-names-with-root": lambda forge, _: _with_root(forge),
    "A10-intermediate-that-is-no-ca": lambda forge, _: _below(forge, ca=False),
    "A10-missing-intermediate": lambda forge, _: forge.leaf(beside=[]),
    "A10-extra-depth": lambda forge, _: _below(forge, ca=True),
    "A14-sha1": lambda forge, _: forge.leaf(sha1=True),
}


def _with_root(forge: Forge) -> Holder:
    signer = forge.forged()
    return forge.leaf(signer=signer, beside=[signer.certificate, forge.forged_root])


def _below(forge: Forge, *, ca: bool) -> Holder:
    signer = forge.below(forge.issuer, ca=ca)
    return forge.leaf(signer=signer, beside=[signer.certificate, forge.issuer.certificate])


@pytest.mark.parametrize("make", TURNED_AWAY.values(), ids=TURNED_AWAY.keys())
def test_turned_away_by_tls(
    front: Front, forge: Forge, oracle: Oracle, make: Callable[[Forge, Oracle], Holder]
) -> None:
    who = make(forge, oracle)
    front.turned_away(pushing(front, who))


def test_A09_a_certificate_of_a_public_authority(front: Front, forge: Forge, tmp_path: Path) -> None:
    """A server certificate such as any public authority sells, with a client's name in it."""
    public = Authority(tmp_path).create()
    issuer = x509.load_pem_x509_certificate((tmp_path / "server_issuer.pem").read_bytes())
    issued = public.server(["cap.example"])
    front.turned_away(
        pushing(front, Holder(issued.der, (issuer.public_bytes(Encoding.DER),), issued.chain, issued.key))
    )


def test_A06_judged_by_the_servers_clock_on_a_connection_that_stays_open(
    front: Front, oracle: Oracle, forge: Forge, sandbox: RunningSandbox
) -> None:
    """TLS let it in; two hours later by the sandbox's clock its hour is over."""
    who = forge.leaf()
    with front.client(who) as client:
        assert client.post("/par", data=oracle.good_push("cap")).status_code == 201
        sandbox.control("clock", offset_s=7200)
        try:
            act: Callable[[], Any] = lambda: client.post("/par", data=oracle.good_push("cap"))  # noqa: E731
            front.refused(act, "certificate_out_of_date", 401, "invalid_client")
        finally:
            sandbox.control("clock", offset_s=0)
        assert client.post("/par", data=oracle.good_push("cap")).status_code == 201


# A07


def test_A07_revoked_on_a_connection_that_is_still_open(
    all_fronts: dict[str, Front], oracle: Oracle, sandbox: RunningSandbox
) -> None:
    name = "cap_fsp"
    who = held(oracle.manifest["clients"][name])
    form = oracle.good_push(name)
    elsewhere = ssl.create_default_context(cafile=oracle.manifest["trust"]["server_ca"])
    elsewhere.load_cert_chain(who.chain, who.key)
    opened = {front: all_fronts[front].client(who) for front in NAMES}
    others = {party: httpx.Client(verify=elsewhere, trust_env=False) for party in ("cap", "fsp")}
    try:
        for client in opened.values():
            assert client.post("/par", data=form).status_code == 201
        try:
            assert sandbox.control("crl", revoke=name)
            # the sandbox has waited for its own doors; the two others poll the store at most once a second
            time.sleep(1.1)
            for each, client in opened.items():
                act: Callable[[], Any] = lambda at=client: at.post("/par", data=form)  # noqa: E731
                answer = all_fronts[each].refused(act, "certificate_revoked", 401, "invalid_client")
                assert "close" not in answer.headers.get("Connection", "")
                connections = client._transport._pool.connections  # type: ignore[attr-defined]
                assert len(connections) == 1, "not the connection that was opened before the revocation"
            act = lambda: others["cap"].get(f"{oracle.manifest['resources']['cap']}/emissions")  # noqa: E731
            oracle.refused(act, "certificate_revoked", 401, "invalid_client", door="cap_mutual_tls")
            answer = others["fsp"].post(f"{oracle.manifest['doors']['fsp']}/messages", content=b"x")
            assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        finally:
            sandbox.control("crl", restore=name)
        time.sleep(1.1)
        for client in opened.values():
            assert client.post("/par", data=form).status_code == 201
    finally:
        for client in (*opened.values(), *others.values()):
            client.close()


# The manifest's bad clients, at every mutual-TLS door and before any token is looked at

BAD = ("nobody", "expired", "revoked", "no_role", "self_signed", "wrong_ca", "two_uris")


@pytest.mark.parametrize("party", ["edp", "cap", "fsp"])
@pytest.mark.parametrize("name", BAD)
def test_A05_to_A13_a_bad_client_meets_what_the_manifest_says(oracle: Oracle, name: str, party: str) -> None:
    entry = oracle.manifest["clients"].get(name, {"meets": "tls"})  # no certificate at all meets an alert too
    door = f"{party}_mutual_tls"
    path = {"edp": "/datasources", "cap": "/emissions", "fsp": "/messages"}[party]
    context = ssl.create_default_context(cafile=oracle.manifest["trust"]["server_ca"])
    if name != "nobody":
        context.load_cert_chain(entry["chain"], entry["key"])
    with httpx.Client(base_url=oracle.manifest["doors"][party], verify=context, trust_env=False) as client:
        headers = {"Authorization": "Bearer x"}
        act: Callable[[], Any] = lambda: (  # noqa: E731
            client.post(path, content=b"x", headers=headers) if party == "fsp" else client.get(path, headers=headers)
        )
        if entry["meets"] == "tls":
            if party == "fsp":
                with pytest.raises((httpx.TransportError, ssl.SSLError)):
                    act()
            else:
                oracle.handshake_refused(act, door=door)
            return
        error = {401: "invalid_client", 403: "unauthorized_client"}[entry["meets"]]
        if party == "fsp":
            answer = act()
            assert (answer.status_code, answer.json()["error"]) == (entry["meets"], error)
            return
        reason = {"revoked": "certificate_revoked", "two_uris": "certificate_malformed", "no_role": "role_missing"}[
            name
        ]
        oracle.refused(act, reason, entry["meets"], error, door=door)


# A11


def _roles(oracle: Oracle) -> dict[str, list[str]]:
    good = oracle.manifest["clients"]["cap"]["roles"][0]
    sandbox_host = oracle.manifest["trust"]["registry"].split("/")[2]
    return {
        "none": [],
        "another": oracle.manifest["clients"]["fsp"]["roles"],
        "of-another-scheme": [good.replace("/scheme/perseus/", "/scheme/another/")],
        "longer": [f"{good}-plus", f"{good}/2026-03-12"],
        "shorter": [good[:-1]],
        "case": [good.replace("carbon-accounting", "Carbon-Accounting")],
        "production-host": [good.replace(sandbox_host, "registry.core.trust.ib1.org")],
        "http": [good.replace("https://", "http://")],
    }


@pytest.mark.parametrize(
    "name", ["none", "another", "of-another-scheme", "longer", "shorter", "case", "production-host", "http"]
)
def test_A11_a_good_certificate_without_the_role(
    all_fronts: dict[str, Front], oracle: Oracle, forge: Forge, name: str
) -> None:
    front = all_fronts["direct"]
    roles = _roles(oracle)[name]
    who = forge.leaf(role_extensions=[encode_roles(roles)] if roles else [])
    with front.client(who) as client:
        for path in ENDPOINTS:
            act: Callable[[], Any] = lambda to=path: client.post(to, data=oracle.good_push("cap"))  # noqa: E731
            # introspection is for the EDP's own applications, whatever their roles
            refusal = "not_an_introspector" if path == "/introspect" else "role_missing"
            front.refused(act, refusal, 403, "unauthorized_client")
        for path in DATA:
            act = lambda to=path: client.get(to, headers={"Authorization": "Bearer x"})  # noqa: E731
            front.refused(act, "role_missing", 403, "unauthorized_client")


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_A11_without_the_role_behind_a_proxy(all_fronts: dict[str, Front], oracle: Oracle, name: str) -> None:
    front = all_fronts[name]
    act = pushing(front, held(oracle.manifest["clients"]["no_role"]))
    front.refused(act, "role_missing", 403, "unauthorized_client")


# A12 to A14: certificates that TLS lets in and the parser does not


MALFORMED: dict[str, Callable[[Forge], Holder]] = {
    "A12-trailing-bytes": lambda forge: forge.leaf(role_extensions=[encode_roles(forge.like["roles"]) + b"\0"]),
    "A12-indefinite-length": lambda forge: forge.leaf(
        role_extensions=[b"\x30\x80" + encode_roles(forge.like["roles"])[2:] + b"\0\0"]
    ),
    "A12-long-form-length": lambda forge: forge.leaf(
        role_extensions=[b"\x30\x82\x00" + encode_roles(forge.like["roles"])[1:]]
    ),
    "A12-not-utf-8": lambda forge: forge.leaf(role_extensions=[element(0x30, element(0x0C, b"https://a/\xff\xfe"))]),
    "A12-another-string-type": lambda forge: forge.leaf(
        role_extensions=[element(0x30, element(0x16, forge.like["roles"][0].encode()))]
    ),
    "A12-empty-list": lambda forge: forge.leaf(role_extensions=[b"\x30\x00"]),
    "A12-65-roles": lambda forge: forge.leaf(
        role_extensions=[encode_roles([f"https://r.example/{number}" for number in range(65)])]
    ),
    "A12-twice": lambda forge: forge.leaf(role_extensions=[encode_roles(forge.like["roles"])] * 2),
    "A13-two-uris": lambda forge: forge.leaf(names=[_uri(forge, ""), _uri(forge, "x")]),
    "A13-the-same-uri-twice": lambda forge: forge.leaf(names=[_uri(forge, ""), _uri(forge, "")]),
    "A13-dns-before-uri": lambda forge: forge.leaf(names=[x509.DNSName("cap.example"), _uri(forge, "")]),
    "A13-uri-before-email": lambda forge: forge.leaf(names=[_uri(forge, ""), x509.RFC822Name("a@cap.example")]),
    "A13-no-uri": lambda forge: forge.leaf(names=[x509.DNSName("localhost")]),
    "A13-no-san": lambda forge: forge.leaf(names=[], common_name="localhost"),
    "A13-host-in-capitals": lambda forge: forge.leaf(uri=forge.like["client_id"].replace("localhost", "LOCALHOST")),
    "A13-slash-at-the-end": lambda forge: forge.leaf(uri=forge.like["client_id"] + "/"),
    "A13-doubled-slash": lambda forge: forge.leaf(uri=forge.like["client_id"].replace("/a/", "//a/")),
    "A13-encoded": lambda forge: forge.leaf(uri=forge.like["client_id"].replace("/a/", "/%61/")),
    "A14-rsa": lambda forge: forge.leaf(key=rsa.generate_private_key(65537, 2048)),
    "A14-p521": lambda forge: forge.leaf(key=ec.generate_private_key(ec.SECP521R1())),
    "A14-ed25519": lambda forge: forge.leaf(key=ed25519.Ed25519PrivateKey.generate()),
}


def _uri(forge: Forge, more: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(forge.like["client_id"] + more)


#: Behind a proxy the same parser reads the same bytes: a few, to see that they arrive unchanged.
ALSO_BEHIND = {"A12-trailing-bytes", "A12-twice", "A13-two-uris", "A13-dns-before-uri", "A13-no-san", "A14-p521"}


@pytest.mark.parametrize(
    ("front", "make"),
    [
        pytest.param(front, make, id=f"{front}-{name}")
        for name, make in MALFORMED.items()
        for front in NAMES
        if front == "direct" or name in ALSO_BEHIND
    ],
    indirect=["front"],
)
def test_refused_by_the_parser(front: Front, forge: Forge, make: Callable[[Forge], Holder]) -> None:
    who = make(forge)
    front.refused(pushing(front, who), "certificate_malformed", 401, "invalid_client", secrets=[who.pem])


def test_A12_1000_roles(front: Front, forge: Forge, oracle: Oracle) -> None:
    """TLS takes as much; a header does not, so a proxy's door refuses it before it is parsed, or without its certificate."""
    who = forge.leaf(role_extensions=[encode_roles([f"{forge.like['roles'][0]}/{n}" for n in range(1000)])])
    if front.name == "direct":
        front.refused(pushing(front, who), "certificate_malformed", 401, "invalid_client")
        return
    before = oracle.stores["edp"].contents()
    answer = pushing(front, who)()
    assert answer.status_code in {400, 401, 431}, answer.text
    assert answer.json()["error"] in {"invalid_request", "invalid_client"}
    assert oracle.stores["edp"].contents() == before
    front.honest()


def test_A12_10000_roles(front: Front, forge: Forge) -> None:
    """Too long for TLS itself (OpenSSL takes 100 kB of certificates), whichever server ends it."""
    many = encode_roles([f"{forge.like['roles'][0]}/{number}" for number in range(10_000)])
    front.turned_away(pushing(front, forge.leaf(role_extensions=[many])))


NOT_THE_SAME = {
    "path-in-capitals": lambda url: url.replace("/a/", "/A/"),
    "another": lambda url: url[:-1],
}


@pytest.mark.parametrize("change", NOT_THE_SAME.values(), ids=NOT_THE_SAME.keys())
def test_A13_a_variant_of_anothers_url_is_not_that_other(
    front: Front, forge: Forge, change: Callable[[str], str]
) -> None:
    """Whole-string comparison in the Directory too: this application is not listed there, whatever client_id it sends."""
    who = forge.leaf(uri=change(forge.like["client_id"]))
    front.refused(pushing(front, who), "application_withdrawn", 403, "unauthorized_client")


def test_A13_the_common_name_counts_for_nothing(front: Front, forge: Forge, oracle: Oracle) -> None:
    victim = oracle.manifest["clients"]["cap2"]["client_id"]
    who = forge.leaf(common_name=victim[:64])
    front.refused(pushing(front, who, oracle.good_push("cap2")), "client_id_mismatch", 401, "invalid_client")
    assert pushing(front, who)().status_code == 201


def test_A14_tls_1_2(front: Front, cap: Holder) -> None:
    def act() -> object:
        context = front.context(cap)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with httpx.Client(base_url=front.base, verify=context, trust_env=False) as client:
            return client.post("/par", data=front.oracle.good_push("cap"))

    if front.name == "nginx":  # its access log has no line for such a handshake
        with pytest.raises(httpx.ConnectError):
            act()
        front.honest()
    else:
        front.turned_away(act)


# A15


def test_A15_a_session_of_the_public_door_is_none_at_the_mutual_tls_door(
    all_fronts: dict[str, Front], oracle: Oracle
) -> None:
    """CVE-2025-23419: one address and port, two names; and the two doors of the sandbox itself."""
    public_port = httpx.URL(oracle.manifest["pages"]["edp"]).port
    for front, port, name in (
        (all_fronts["nginx"], all_fronts["nginx"].port, ways.PUBLIC),
        (all_fronts["direct"], public_port, "localhost"),
    ):
        context = front.context()
        with context.wrap_socket(
            socket.create_connection(("127.0.0.1", port), timeout=30), server_hostname=name
        ) as first:
            first.sendall(f"GET /health HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            assert first.recv(4096).startswith(b"HTTP/1.1 200")
            session = first.session
        if front.name == "direct":
            assert session is None or not session.has_ticket

        def act(at: ssl.SSLContext = context, to: Front = front, old: Any = session) -> object:
            raw = socket.create_connection(("127.0.0.1", to.port), timeout=30)
            with at.wrap_socket(raw, server_hostname="localhost", session=old) as second:
                assert not second.session_reused
                second.sendall(b"POST /par HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
                said = second.recv(4096)
            if not said:
                return None
            head, _, body = said.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:])
            return httpx.Response(int(lines[0].split()[1]), headers=headers, content=body)

        front.turned_away(act)


# A16


@pytest.mark.parametrize(
    ("front", "path"),
    [("nginx", "/par"), ("haproxy", "/par"), *(("direct", path) for path in ENDPOINTS)],
    indirect=["front"],
)
def test_A16_anothers_client_id(front: Front, oracle: Oracle, path: str) -> None:
    own = "edp" if path == "/introspect" else "cap"
    other = oracle.manifest["clients"]["cap2"]["client_id"]
    form = {**oracle.good_push(own), "grant_type": "refresh_token", "refresh_token": "x", "token": "x"}
    without = {name: value for name, value in form.items() if name != "client_id"}
    with front.client(held(oracle.manifest["clients"][own])) as client:
        spoilt: dict[str, Callable[[], Any]] = {
            "in the form": lambda: client.post(path, data=form | {"client_id": other}),
            "in the query": lambda: client.post(path, params={"client_id": other}, data=form),
            "in the query alone": lambda: client.post(path, params={"client_id": other}, data=without),
            "with a slash": lambda: client.post(path, data=form | {"client_id": form["client_id"] + "/"}),
        }
        for act in spoilt.values():
            front.refused(act, "client_id_mismatch", 401, "invalid_client")


@pytest.mark.parametrize("front", ["direct"], indirect=True)
@pytest.mark.parametrize("path", ["/par", "/token"])
def test_A16_no_client_id(front: Front, oracle: Oracle, cap: Holder, path: str) -> None:
    form = {**oracle.good_push("cap"), "grant_type": "refresh_token", "refresh_token": "x"}
    del form["client_id"]
    with front.client(cap) as client:
        # RFC 6749 section 3.1: a parameter without a value is as good as none
        for sent in (form, form | {"client_id": ""}):
            act: Callable[[], Any] = lambda body=sent: client.post(path, data=body)  # noqa: E731
            front.refused(act, "client_id_missing", 401, "invalid_client")


# A17

SECOND_METHODS: dict[str, dict[str, Any]] = {
    "basic": {"headers": {"Authorization": f"Basic {base64.b64encode(b'cap:canary-secret').decode()}"}},
    "bearer": {"headers": {"Authorization": "Bearer canary-secret"}},
    "client_secret": {"more": {"client_secret": "canary-secret"}},
    "client_assertion": {
        "more": {
            "client_assertion": "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJjYXAifQ.canary-secret",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        }
    },
    "assertion-type-alone": {
        "more": {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}
    },
}


@pytest.mark.parametrize("path", ["/par", "/token", "/revoke"])
@pytest.mark.parametrize("method", SECOND_METHODS.values(), ids=SECOND_METHODS.keys())
def test_A17_a_second_authentication_method(
    all_fronts: dict[str, Front], oracle: Oracle, cap: Holder, path: str, method: dict[str, Any]
) -> None:
    front = all_fronts["direct"]
    form = {**oracle.good_push("cap"), "grant_type": "refresh_token", "refresh_token": "x", "token": "x"}
    with front.client(cap) as client:
        act: Callable[[], Any] = lambda: client.post(  # noqa: E731
            path, data=form | method.get("more", {}), headers=method.get("headers", {})
        )
        front.refused(act, "second_authentication_method", 400, "invalid_request", secrets=["canary-secret"])


# A18


def test_A18_a_renewed_certificate(all_fronts: dict[str, Front], oracle: Oracle, forge: Forge) -> None:
    """Same URL, new key: the refresh token works on; an old access token does too, unless it is bound to the certificate."""
    client = oracle.client("cap")
    client.discover(oracle.manifest["issuers"]["edp"])
    browser = Browser(Path(oracle.manifest["trust"]["server_ca"]))
    steps = next(sme for sme in oracle.manifest["smes"] if sme["name"] == "electricity_only")["journey"]["edp"]
    request = client.push(oracle.manifest["licenses"]["electricity_and_gas"], "https://client.example/renewed")
    try:
        page = follow(browser, browser.open(request.url), steps)
    finally:
        browser.close()
    tokens = client.redeem(request, client.code(request, page.url)).json()
    refresh = {
        "grant_type": "refresh_token",
        "refresh_token": tokens["refresh_token"],
        "client_id": client.client_id,
    }
    old, renewed = held(oracle.manifest["clients"]["cap"]), forge.leaf()

    def data(front: Front, who: Holder, token: str) -> httpx.Response:
        with front.client(who) as at:
            return at.get("/datasources", headers={"Authorization": f"Bearer {token}"})

    try:
        for name in NAMES:
            front = all_fronts[name]
            with front.client(renewed) as at:
                assert at.post("/token", data=refresh).status_code == 200
            assert data(front, renewed, tokens["access_token"]).status_code == 200
        bound = all_fronts["bound"]
        with bound.client(old) as at:
            token = at.post("/token", data=refresh).json()["access_token"]
        assert data(bound, old, token).status_code == 200
        answer = bound.refused(
            lambda: data(bound, renewed, token), "token_of_another_certificate", 401, "invalid_token", secrets=[token]
        )
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        with bound.client(renewed) as at:
            again = at.post("/token", data=refresh).json()["access_token"]
        assert data(bound, renewed, again).status_code == 200
        # under certificate binding a token without one is no token
        bound.refused(
            lambda: data(bound, old, tokens["access_token"]), "token_of_another_certificate", 401, "invalid_token"
        )
    finally:
        assert client.revoke(tokens["refresh_token"]).status_code == 200
