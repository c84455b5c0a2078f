"""An energy data provider that answers as the scheme's public demo provider does: our own words for its published behaviour.

Its records differ from the specification in what docs/interop.md names. They are signed when they are asked for.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

from consent_server import clock
from consent_server.outbound.session import Response
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.provenance.container import Record, SignedRecord
from consent_server.scheme.provenance.step import Step
from consent_server.scheme.provenance.steps import consumption_standard, scheme_url, trust_framework_url
from tests.scheme.signing import EDP_ROLE, REGISTRY, SMART_METERS, member_signer

MOST_DAYS = 396
METERS = {"S0180110": "electricity", "G0417": "gas"}
UNIT = {"electricity": "WHR", "gas": "MTQ"}

_READINGS = re.compile(r"/datasources/([^/]+)/(?:import|export)")


@dataclass
class DemoEnergyProvider:
    """The consumption API at `host`. `recipient` is the application of the certificate that calls; `changes` is laid over the
    transfer step, for what no honest provider sends."""

    host: str
    license: str
    recipient: str
    changes: Step = field(default_factory=dict)
    signs: str = "edp"

    def get(self, url: str, *, limit: int, bearer: str) -> Response:
        """Answer as the demo provider does, in place of `outbound.session.Session`, which always offers gzip."""
        assert bearer == "access-edp"
        parts = urlsplit(url)
        if parts.path.rstrip("/") == "/datasources":
            return self._answer({"data": [self._source(meter) for meter in METERS]})
        asked = _READINGS.fullmatch(parts.path)
        assert asked is not None, url
        query = {name: value for name, (value,) in parse_qs(parts.query).items()}
        start, end = instant.parse(query["from"]), instant.parse(query["to"])
        if end - start > MOST_DAYS * DAY:
            return self._answer({"error": "invalid_request"}, 400)
        return self._answer(
            {
                "data": list(_half_hours(METERS[unquote(asked[1])], start, end)),
                "location": {"ukPostcodeOutcode": "SW8"},
                "provenance": self.record(f"https://{self.host}{parts.path}", start, end),
            }
        )

    def record(self, address: str, start: int, end: int) -> SignedRecord:
        """Return permission, origin and transfer in the demo provider's form; `address` is the URL that was called."""
        scheme, now = scheme_url(REGISTRY), clock.now()
        window = {"from": f"{instant.text(start)[:16]}Z", "to": f"{instant.text(end)[:16]}Z"}
        record = Record(trust_framework_url(REGISTRY))
        common = {"scheme": scheme, "timestamp": instant.text(now)}
        permission = record.add_step(
            common
            | {
                "type": "permission",
                # It cuts the last seven characters off a time with microseconds and an offset.
                "timestamp": f"{instant.text(now)[:-1]}.12345Z",
                "account": "sub-1",
                "allows": {"licenses": [self.license]},
                "expires": f"{instant.text(now + 365 * DAY)[:-1]}.12345Z",
            }
        )
        origin = record.add_step(
            common
            | {
                "type": "origin",
                "sourceType": f"{scheme}/source-type/Meter",
                "origin": SMART_METERS.service,
                "originLicense": SMART_METERS.license,
                "external": True,
                "permissions": [permission],
                "perseus:scheme": {"meteringPeriod": window},
                "perseus:assurance": {
                    "missingData": f"{scheme}/assurance/missing-data/Missing",
                    "originMethod": f"{scheme}/assurance/origin-method/SmartDCCOtherUser",
                },
            }
        )
        transfer = common | {
            "type": "transfer",
            "of": origin,
            "to": self.recipient,
            "standard": consumption_standard(REGISTRY),
            "license": self.license,
            "service": address,
            "path": "/readings",
            "parameters": {"measure": "import", **window},
            "permissions": [permission],
        }
        record.add_step(transfer | self.changes)
        return record.sign(member_signer(self.signs, EDP_ROLE), now)

    def _source(self, meter: str) -> dict[str, Any]:
        measures = ["import"] if METERS[meter] == "gas" else ["import", "export"]
        location = {"ukPostcodeOutcode": "SW8"}
        return {"id": meter, "type": METERS[meter], "location": location, "availableMeasures": measures}

    def _answer(self, document: dict[str, Any], status: int = 200) -> Response:
        return Response(status, {}, self.host, orjson.dumps(document))


def _half_hours(fuel: str, start: int, end: int) -> Iterator[dict[str, Any]]:
    total = 0.0
    for at in range(start, end, HALF_HOUR):
        total += 1.0
        yield {
            "type": fuel,
            "from": instant.text(at),
            "to": instant.text(at + HALF_HOUR),
            "takenAt": instant.text(at + 2 * HALF_HOUR),
            "energy": {"value": 1.0, "unitCode": UNIT[fuel]},
            "cumulative": {"value": total, "unitCode": UNIT[fuel]},
        }
