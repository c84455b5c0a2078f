"""The one table of clients' scenarios: what happens, at which endpoints, and what the client's software should do then.

The doors, the page, the API and docs/client-scenarios.md are made from it. A refusal's words are its own: they are not
written a second time here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from consent_server import parties  # noqa: F401 - this and those below, so that every refusal of a door is in the family
from consent_server.issuer import authorize  # noqa: F401
from consent_server.issuer import views as issuer  # noqa: F401
from consent_server.issuer.metadata import AUTHORIZE, INTROSPECT, PAR, PERMISSION, REVOKE, TOKEN
from consent_server.refusal import Refusal
from consent_server.resource import views as resource  # noqa: F401
from consent_server.web import refusals  # noqa: F401

HEADER: Final = "X-Sandbox-Scenario"
#: What a client is made to meet when it is to meet nothing any more, as a business is.
NORMAL: Final = "normal"

DATASOURCES: Final = "/datasources"
READINGS: Final = "/datasources/…"
EMISSIONS: Final = "/emissions"
MESSAGES: Final = "/messages"

BACK_CHANNEL: Final = (PAR, TOKEN, PERMISSION, REVOKE)
DATA: Final = (DATASOURCES, READINGS, EMISSIONS)
EVERYWHERE: Final = (*BACK_CHANNEL, INTROSPECT, *DATA, MESSAGES)

#: Flask's endpoints -> how the table names them.
ENDPOINTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "journey.authorization_endpoint": AUTHORIZE,
        "issuer_mutual_tls.pushed_authorization_request": PAR,
        "issuer_mutual_tls.token": TOKEN,
        "issuer_mutual_tls.permission": PERMISSION,
        "issuer_mutual_tls.revoke": REVOKE,
        "issuer_mutual_tls.introspect": INTROSPECT,
        "energy.datasources": DATASOURCES,
        "energy.readings": READINGS,
        "emissions.months": EMISSIONS,
        "inbox.messages": MESSAGES,
    }
)


class Duty(StrEnum):
    """What the client's software should do, as far as a server can see it."""

    WAIT = "wait"
    BACK_OFF = "back_off"
    CORRECT = "correct"
    REFRESH = "refresh"
    ASK_AGAIN = "ask_again"
    STOP = "stop"
    DISCARD = "discard"
    DELETE = "delete"
    VERIFY = "verify"


DUTIES: Final[Mapping[Duty, str]] = MappingProxyType(
    {
        Duty.WAIT: "Send the request again once the seconds in Retry-After are over, and not before.",
        Duty.BACK_OFF: "Try again with growing pauses: at most five times in a minute.",
        Duty.CORRECT: "Do not send the same request again: it cannot succeed. Report it to a person, or correct it.",
        Duty.REFRESH: "Obtain another access token with the refresh token; do not use the old one again.",
        Duty.ASK_AGAIN: "Do not send the spent value again. Begin a new authorization request.",
        Duty.STOP: "Stop calling and report it to a person: at most three calls in the next minute.",
        Duty.DISCARD: "Refuse the response and do not redeem its code (RFC 9207 2.4; RFC 6749 10.12).",
        Duty.DELETE: "Stop after the refusals that say so (one of the data, one of the refresh), and delete what must be.",
        Duty.VERIFY: "Refuse the data, and keep none of it. A server cannot see this: look at your own log.",
    }
)


@dataclass(frozen=True)
class ClientScenario:
    """One thing to meet. `refusals` has the code of the refusal for each endpoint where it is one of the server's own."""

    name: str
    at: tuple[str, ...]
    about: str
    duty: Duty
    advice: str = ""
    refusals: Mapping[str, str] = field(default_factory=dict)

    @property
    def todo(self) -> str:
        return f"{DUTIES[self.duty]} {self.advice}".strip()


def _refusals(duty: Duty, at: tuple[str, ...], *codes: str) -> tuple[ClientScenario, ...]:
    """Return one scenario for each refusal, in its own words."""
    family = Refusal.family
    return tuple(
        ClientScenario(code, at, family[code].public, duty, family[code].help, dict.fromkeys(at, code))
        for code in codes
    )


_ROWS: Final = (
    # the certificate and the member: any endpoint of a mutual-TLS door
    *_refusals(
        Duty.STOP,
        EVERYWHERE,
        "no_certificate",
        "bad_certificate",
        "certificate_malformed",
        "certificate_untrusted",
        "certificate_from_elsewhere",
        "certificate_out_of_date",
        "certificate_revoked",
        "role_missing",
        "membership_suspended",
        "application_withdrawn",
        "agreement_lapsed",
    ),
    *_refusals(
        Duty.WAIT,
        EVERYWHERE,
        "membership_unknown",
        "revocation_list_stale",
        "temporarily_unavailable",
        "store_unavailable",
        "outcome_unknown",
        "schema_not_current",
    ),
    *_refusals(Duty.BACK_OFF, EVERYWHERE, "server_error"),
    *_refusals(Duty.CORRECT, EVERYWHERE, "bad_http_request", "not_found"),
    # the form of a request to the issuer
    *_refusals(
        Duty.CORRECT,
        BACK_CHANNEL,
        "not_a_form",
        "body_too_large",
        "malformed_parameters",
        "missing_parameter",
        "repeated_parameter",
        "parameter_in_query",
        "parameter_too_long",
        "too_many_parameters",
        "client_id_missing",
        "client_id_mismatch",
        "second_authentication_method",
    ),
    # the pushed request
    *_refusals(
        Duty.CORRECT,
        (PAR,),
        "another_text_was_read",
        "bank_not_in_license",
        "bank_unknown",
        "code_challenge_missing",
        "code_challenge_malformed",
        "code_challenge_method_unsupported",
        "license_missing",
        "license_unknown",
        "more_than_one_license",
        "redirect_uri_missing",
        "redirect_uri_refused",
        "request_object",
        "response_mode_unsupported",
        "response_type_missing",
        "response_type_unsupported",
        "state_too_long",
    ),
    *_refusals(Duty.WAIT, (PAR,), "too_many_pushed_requests"),
    # the way back through the browser
    *_refusals(Duty.ASK_AGAIN, (AUTHORIZE,), "request_expired", "request_used"),
    ClientScenario(
        "access_denied",
        (AUTHORIZE,),
        "The browser comes back with error=access_denied: the business declined, or pressed Cancel.",
        Duty.ASK_AGAIN,
        "Say so to the business in its own words, and ask again only when it wants you to.",
    ),
    ClientScenario(
        "authorize_server_error",
        (AUTHORIZE,),
        "The browser comes back with error=server_error (RFC 6749 4.1.2.1).",
        Duty.ASK_AGAIN,
    ),
    ClientScenario(
        "authorize_unavailable",
        (AUTHORIZE,),
        "The browser comes back with error=temporarily_unavailable (RFC 6749 4.1.2.1).",
        Duty.ASK_AGAIN,
        "Let the business try again later.",
    ),
    ClientScenario(
        "wrong_state",
        (AUTHORIZE,),
        "The browser comes back with a code and a state that the client did not send.",
        Duty.DISCARD,
    ),
    ClientScenario(
        "wrong_issuer",
        (AUTHORIZE,),
        "The browser comes back with a code and the iss of another issuer: a mix-up.",
        Duty.DISCARD,
    ),
    # codes and refresh tokens
    *_refusals(
        Duty.ASK_AGAIN, (TOKEN,), "code_refused", "code_replayed", "code_verifier_refused", "refresh_token_refused"
    ),
    *_refusals(
        Duty.CORRECT,
        (TOKEN,),
        "grant_type_unsupported",
        "code_request_incomplete",
        "refresh_token_missing",
        "scope_not_granted",
    ),
    *_refusals(Duty.ASK_AGAIN, (PERMISSION,), "no_permission_record"),
    *_refusals(Duty.STOP, (INTROSPECT,), "not_an_introspector"),
    # data
    *_refusals(Duty.REFRESH, DATA, "token_expired", "invalid_token", "token_of_another_certificate"),
    *_refusals(Duty.ASK_AGAIN, DATA, "permission_ended", "license_not_accepted", "text_not_accepted"),
    *_refusals(Duty.CORRECT, DATA, "token_missing", "token_in_query", "token_for_another_server", "token_not_yours"),
    *_refusals(Duty.CORRECT, (READINGS, EMISSIONS), "bad_window"),
    *_refusals(Duty.CORRECT, (READINGS,), "fuel_not_covered", "no_such_data_source", "no_such_measure"),
    *_refusals(Duty.WAIT, DATA, "withdrawals_unknown", "keys_unknown"),
    *_refusals(Duty.WAIT, (DATASOURCES, READINGS), "metering_unavailable", "meters_unknown"),
    *_refusals(Duty.WAIT, (READINGS, EMISSIONS), "signing_certificate_not_valid"),
    # messages
    *_refusals(
        Duty.CORRECT,
        (MESSAGES,),
        "message_malformed",
        "message_not_json",
        "message_not_yours",
        "message_too_large",
    ),
    # bad days
    ClientScenario(
        "expired_everything",
        (AUTHORIZE, TOKEN, PERMISSION, *DATA),
        "Nothing that the client holds is good any longer: request_uri, code, refresh token and access token.",
        Duty.ASK_AGAIN,
        refusals={
            AUTHORIZE: "request_expired",
            TOKEN: "refresh_token_refused",
            PERMISSION: "no_permission_record",
            **dict.fromkeys(DATA, "token_expired"),
        },
    ),
    ClientScenario(
        "withdrawn_midway",
        DATA,
        "The data are given, and then the business withdraws: the permission really ends, and the next call is refused.",
        Duty.DELETE,
        "An application with an inbox is sent the withdrawal message besides.",
    ),
    ClientScenario(
        "not_ready",
        (READINGS, EMISSIONS),
        "202 with Retry-After 5: the data are still being collected.",
        Duty.WAIT,
        "A body of 202 holds no data.",
    ),
    ClientScenario(
        "gaps",
        (READINGS,),
        "Readings are missing: in every other month some hours of the 9th and all of the 17th.",
        Duty.VERIFY,
        "Here: work with what is there, and do not take a missing half-hour for zero.",
    ),
    ClientScenario(
        "no_readings",
        (READINGS,),
        "200 with an empty list, and its provenance.",
        Duty.VERIFY,
        "Here: report that there are no readings, which are not readings of zero.",
    ),
    ClientScenario(
        "rate_limited",
        EVERYWHERE,
        "429 with Retry-After 10 and a page of HTML, as a proxy in front of the server sends one.",
        Duty.WAIT,
        "Do not expect JSON of an error.",
    ),
    ClientScenario(
        "bad_gateway",
        EVERYWHERE,
        "502 with a page of HTML, as a proxy in front of the server sends one.",
        Duty.BACK_OFF,
        "Do not expect JSON of an error.",
    ),
    ClientScenario(
        "gateway_timeout",
        EVERYWHERE,
        "504 with a page of HTML after the request was carried out: its outcome is lost.",
        Duty.BACK_OFF,
        "A code that was sent may have been redeemed.",
    ),
    ClientScenario(
        "slow",
        EVERYWHERE,
        "The response comes after 20 seconds.",
        Duty.BACK_OFF,
        "Have a limit of your own on every call, and let nobody wait for it at a page.",
    ),
    ClientScenario(
        "cut_off",
        EVERYWHERE,
        "The connection ends in the middle of the body, before Content-Length is reached.",
        Duty.BACK_OFF,
        "Use no part of such a body.",
    ),
    ClientScenario(
        "not_json",
        EVERYWHERE,
        "200 with Content-Type application/json, and a body that is no JSON.",
        Duty.BACK_OFF,
    ),
    ClientScenario(
        "provenance_missing",
        (READINGS, EMISSIONS),
        "Data without a provenance record.",
        Duty.VERIFY,
    ),
    ClientScenario(
        "provenance_signature_broken",
        (READINGS, EMISSIONS),
        "The last signature of the provenance record does not verify.",
        Duty.VERIFY,
    ),
    ClientScenario(
        "provenance_step_altered",
        (READINGS, EMISSIONS),
        "A step of the provenance record is another than the one that was signed.",
        Duty.VERIFY,
    ),
    ClientScenario(
        "provenance_certificate_missing",
        (READINGS, EMISSIONS),
        "The provenance record lacks the certificates of its signers.",
        Duty.VERIFY,
    ),
)

SCENARIOS: Final[Mapping[str, ClientScenario]] = MappingProxyType({row.name: row for row in _ROWS})
