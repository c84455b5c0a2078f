"""An energy data provider that does what the specifications allow and clients seldom expect, and what they forbid.

One real server with mutual TLS: issuer and data API. It is kind until a test changes something: `rotates` and the other
attributes, or the response of one path (`instead`), or the JSON document in it (`spoil`). It checks what a client must do,
and `complaints` holds what it did not.
"""

import gzip
import json
import re
import secrets
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from cryptography import x509

from consent_server import clock
from consent_server.scheme import instant
from consent_server.scheme.instant import HALF_HOUR
from consent_server.scheme.provenance.steps import COMPLETE, GrantedPermission, MeterRelease, edp_record
from consent_server.scheme.readings import UNIT
from tests import records
from tests.deployments import layout
from tests.jose import s256
from tests.outbound.conftest import Answer, Asked, WireServer, json_answer, server_context
from tests.scheme.signing import SMART_METERS

METADATA: Final = "/.well-known/oauth-authorization-server"
METER: Final = "the only meter"
LONGEST_WINDOW: Final = 366 * instant.DAY
Document = dict[str, Any]
Change = Callable[[Document], Document]


def any_token() -> str:
    """A token of every character that the grammar allows (RFC 6749 appendices A.11, A.12 and A.17), the space inside."""
    return secrets.token_urlsafe(8) + "".join(map(chr, range(0x20, 0x7F))) + secrets.token_urlsafe(8)


def without(*names: str) -> Change:
    return lambda document: {name: value for name, value in document.items() if name not in names}


def with_(**members: Any) -> Change:
    return lambda document: {**document, **members}


class UnkindEdp:
    port = 0  # any that is free

    def __init__(self, chain: Path, key: Path, client_root: Path) -> None:
        self._context = server_context(chain, key)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.load_verify_locations(client_root)
        self.server = WireServer(self._context, self.port)
        self.url = self.server.url(host="localhost")
        self.issuer = self.url
        self.metadata: Document = {
            "issuer": self.issuer,
            **{name: f"{self.url}/{name}" for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")},
            **{
                name: f"{self.url}/{name}"
                for name in ("pushed_authorization_request_endpoint", "revocation_endpoint", "ib1_permission_endpoint")
            },
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
        self.rotates = False
        self.demands_gzip = False
        self.late: list[str] = []  # a Retry-After for each 202 before the readings
        self.new_code: Callable[[], str] = lambda: secrets.token_urlsafe(16)
        self.new_token: Callable[[], str] = lambda: secrets.token_urlsafe(16)
        self.spoil: dict[str, Change] = {}
        self.instead: dict[str, Answer] = {}
        self.complaints: list[str] = []
        self.refresh_tokens: set[str] = set()  # those that still work
        self.access_token = ""
        self.revoked: list[str] = []
        self._pushed: dict[str, dict[str, str]] = {}
        self._codes: dict[str, dict[str, str]] = {}
        self._verifiers: set[str] = set()
        kind: dict[str, Callable[[Asked], Answer]] = {
            METADATA: lambda asked: json_answer(self.metadata, Cache_Control="no-store"),
            "/pushed_authorization_request_endpoint": self._push,
            "/token_endpoint": self._token,
            "/ib1_permission_endpoint": self._permission,
            "/revocation_endpoint": self._revoke,
            "/jwks_uri": lambda asked: json_answer({"keys": []}),
            "/datasources": self._datasources,
        }
        for path, answer in kind.items():
            self.server.routes[path] = lambda asked, path=path, answer=answer: self._spoilt(path, answer, asked)
        self.server.routes["*"] = lambda asked: self._spoilt("/readings", self._readings, asked)

    def asked(self, path: str) -> list[Asked]:
        return [each for each in self.server.asked if each.path == path]

    def renew(self, chain: Path, key: Path) -> None:
        """Take another certificate, for the connections that come from now on."""
        self._context.load_cert_chain(chain, key)

    def stop(self) -> None:
        self.server.stop()

    def _spoilt(self, path: str, answer: Callable[[Asked], Answer], asked: Asked) -> Answer:
        if path in self.instead:
            return self.instead[path]
        kind = answer(asked)
        if path in self.spoil and kind.status < 300:
            return replace(kind, body=json.dumps(self.spoil[path](json.loads(kind.body))).encode())
        return kind

    # The issuer

    def authorize(self, url: str, **changes: str | None) -> str:
        """The SME allows at once: the query that comes back, `changes` made to it (None: left out)."""
        sent = dict(parse_qsl(urlsplit(url).query, strict_parsing=True))
        if sent.keys() != {"client_id", "request_uri"}:
            self.complaints.append(f"the browser brought {sorted(sent)}")  # FAPI 2.0 5.3.3.2-6
        pushed = self._pushed.pop(sent["request_uri"])
        code = self.new_code()
        self._codes[code] = pushed
        back: dict[str, str | None] = {"code": code, "state": pushed["state"], "iss": self.issuer, **changes}
        return urlencode({name: value for name, value in back.items() if value is not None})

    def _push(self, asked: Asked) -> Answer:
        form = asked.form()
        request_uri = f"urn:ietf:params:oauth:request_uri:{secrets.token_urlsafe(16)}"
        self._check_client(asked)
        if form["response_type"] != "code" or form["code_challenge_method"] != "S256":
            self.complaints.append("neither a code nor S256")
        if not re.fullmatch(r"[A-Za-z0-9._~-]{1,128}", form["state"]):
            self.complaints.append("a state that is long, or not safe in a URL")
        self._pushed[request_uri] = form
        return json_answer({"request_uri": request_uri, "expires_in": 90}, 201)

    def _token(self, asked: Asked) -> Answer:
        form = asked.form()
        self._check_client(asked)
        if form["grant_type"] == "authorization_code":
            pushed = self._codes.pop(form["code"], None)
            if form["code_verifier"] in self._verifiers or len(form["code_verifier"]) < 43:
                self.complaints.append("a verifier that was used before, or is short")
            self._verifiers.add(form["code_verifier"])
            if pushed is None or pushed["redirect_uri"] != form["redirect_uri"] or not _proves(form, pushed):
                return json_answer({"error": "invalid_grant"}, 400)
        elif form["refresh_token"] not in self.refresh_tokens:
            return json_answer({"error": "invalid_grant"}, 400)
        self.access_token = self.new_token()
        document = {"access_token": self.access_token, "token_type": "Bearer", "expires_in": 600}
        if form["grant_type"] == "authorization_code" or self.rotates:
            self.refresh_tokens = {self.new_token()}
            document["refresh_token"] = min(self.refresh_tokens)
        return json_answer(document, Cache_Control="no-store")

    def _permission(self, asked: Asked) -> Answer:
        if asked.form()["token"] not in self.refresh_tokens:
            return json_answer({"error": "invalid_grant"}, 400)
        at = clock.now()
        record = {
            "oauthIssuer": self.issuer,
            "client": _client(asked),
            "license": layout().license("electricity_and_gas"),
            "account": "an account",
            "lastGranted": instant.text(at),
            "expires": instant.text(at + 365 * instant.DAY),
            "evidence": f"{self.url}/evidence/1",
            "dataAvailableFrom": instant.text(at),
            "tokenIssuedAt": instant.text(at),
            "tokenExpires": instant.text(at + 365 * instant.DAY),
        }
        return json_answer({"permissions": record})  # the wrapper of issuers in use

    def _revoke(self, asked: Asked) -> Answer:
        self.revoked.append(asked.form()["token"])
        self.refresh_tokens.discard(asked.form()["token"])
        return Answer()

    def _check_client(self, asked: Asked) -> None:
        if asked.form()["client_id"] != _client(asked):
            self.complaints.append("client_id is not the certificate's")

    # The data API

    def _datasources(self, asked: Asked) -> Answer:
        source = {
            "id": METER,
            "type": "electricity",
            "location": {"ukPostcodeOutcode": "S3"},
            "availableMeasures": ["import"],
        }
        return self._released(asked, {"data": [source]})

    def _readings(self, asked: Asked) -> Answer:
        if unquote(asked.path) != f"/datasources/{METER}/import":
            return Answer(404)
        start, end = (instant.parse(asked.query[name]) for name in ("from", "to"))
        if end - start > LONGEST_WINDOW:
            self.complaints.append("a window of more than 366 days")
            return json_answer({"detail": "the window is too long"}, 422)
        if self.late:
            return Answer(202, headers={"Retry-After": self.late.pop(0)})
        data = [
            {
                "type": "electricity",
                "from": instant.text(at),
                "to": instant.text(at + HALF_HOUR),
                "takenAt": instant.text(at + HALF_HOUR),
                "energy": {"value": 100.0, "unitCode": UNIT["electricity"]},
            }
            for at in range(start, min(end, start + instant.DAY), HALF_HOUR)  # the days after it are missing
        ]
        return self._released(asked, {"data": data, "provenance": _provenance(start, end)})

    def _released(self, asked: Asked, document: Document) -> Answer:
        if "access_token" in asked.query:
            self.complaints.append("a token in the query")
        if asked.headers.get("authorization") != f"Bearer {self.access_token}":
            return Answer(401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        answer = json_answer(document)
        if not self.demands_gzip:
            return answer
        if "gzip" not in asked.headers.get("accept-encoding", ""):
            return Answer(406)
        return Answer(200, gzip.compress(answer.body), {**answer.headers, "Content-Encoding": "gzip"})


def _client(asked: Asked) -> str:
    """The application that a client's certificate names."""
    certificate = x509.load_der_x509_certificate(asked.certificate or b"")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)[0]


def _proves(form: dict[str, str], pushed: dict[str, str]) -> bool:
    return s256(form["code_verifier"]) == pushed["code_challenge"]


def _provenance(start: int, end: int) -> Document:
    here, at = layout(), clock.now()
    grant = GrantedPermission(
        account="an account",
        license=here.license("electricity_and_gas"),
        granted=at,
        expires=at + 365 * instant.DAY,
        fuels=("electricity", "gas"),
    )
    release = MeterRelease(
        registry=here.registry,
        grant=grant,
        origin=SMART_METERS,
        to=here.member("cap"),
        service=here.data_service("edp"),
        measure="import",
        start=start,
        end=end,
        outcode="S3",
        missing_data=COMPLETE,
        at=at,
    )
    return edp_record(release, records.signer("edp_service"))
