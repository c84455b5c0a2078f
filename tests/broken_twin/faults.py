"""The mistakes of the broken twin: each is one that a comparable server made, or that ours once had, and can be switched on.

A mistake is a change of one module of ours, made as soon as that module is imported and before another can take a name from
it (site/sitecustomize.py), in every process of the test: also in the doors of a sandbox that it starts. Nothing but the
standard library is imported here.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.jose import claims_of, unsegment

#: The environment variable that names the mistake of a process.
SWITCH = "CONSENT_SERVER_BROKEN_TWIN"

Change = Callable[[ModuleType], None]


@dataclass(frozen=True)
class Mistake:
    """`row` is the row of docs/refusals.md that must notice, by `test`, which that row names."""

    row: str
    test: str
    module: str
    change: Change


def without(*checks: str) -> Change:
    """Leave out checks of a module's CHECKS."""

    def change(module: ModuleType) -> None:
        kept = tuple(check for check in module.CHECKS if check.__name__ not in checks)
        assert len(module.CHECKS) - len(kept) == len(checks), f"{module.__name__} has no such check"
        module.CHECKS = kept  # type: ignore[attr-defined]

    return change


def instead(name: str, make: Callable[[Any, ModuleType], Any]) -> Change:
    """Put in place of a module's attribute what `make` returns for it and its module."""

    def change(module: ModuleType) -> None:
        owner: Any = module
        *path, last = name.split(".")
        for step in path:
            owner = getattr(owner, step)
        setattr(owner, last, make(getattr(owner, last), module))

    return change


def always(value: Any) -> Callable[[Any, ModuleType], Any]:
    """Return what makes a function that returns `value` whatever it is given."""
    return lambda _original, _module: lambda *_arguments, **_named: value


def both(*changes: Change) -> Change:
    def change(module: ModuleType) -> None:
        for each in changes:
            each(module)

    return change


def _header_also_under_tls(original: Any, module: ModuleType) -> Any:
    def arrived(environ: Mapping[str, Any], clients: Any) -> Any:
        value = environ.get("HTTP_CLIENT_CERT")
        return module.from_header(value, "client-cert", None) if value else original(environ, clients)

    return arrived


def _algorithm_of_the_token(original: Any, module: ModuleType) -> Any:
    def verify(text: str, keys: Any, *, typ: str, limit: int) -> Any:
        try:
            return original(text, keys, typ=typ, limit=limit)
        except module.Unacceptable:
            head, body, *_ = text.split(".")
            header, claims = unsegment(head), unsegment(body)
            key = keys.public(header.get("kid", ""))
            if header["alg"] == "ES256" or key is None:
                raise
            return header["kid"], key, claims

    return verify


def _own_claim_as_expected(claim: str, parameter: str) -> Callable[[Any, ModuleType], Any]:
    def make(original: Any, _module: ModuleType) -> Any:
        def read(text: str, keys: Any, **expected: Any) -> Any:
            with suppress(IndexError, ValueError, KeyError, TypeError):
                expected[parameter] = claims_of(text)[claim]
            return original(text, keys, **expected)

        return read

    return make


def _any_client_revokes(original: Any, module: ModuleType) -> Any:
    def revoke(caller: Any, token: str) -> None:
        permission = module.of_refresh_token(token)
        original(caller if permission is None else SimpleNamespace(application=permission.client_id), token)

    return revoke


def _logged(original: Any, _module: ModuleType) -> Any:
    def token_response(*arguments: Any) -> Any:
        import logging

        response = original(*arguments)
        logging.getLogger("consent_server.issuer").warning("issued %s", response)
        return response

    return token_response


def _spent_by_a_wrong_verifier(_original: Any, module: ModuleType) -> Any:
    return lambda c, code: module.redeem(c, code, 1)


def _any_challenge(_original: Any, module: ModuleType) -> Any:
    def pkce_with_s256(push: Any) -> Any:
        return module.CodeChallengeMissing() if "code_challenge" not in push.form else None

    return pkce_with_s256


def _prefix(_original: Any, _module: ModuleType) -> Any:
    return lambda uri, *, sandbox: None if uri.startswith("https://") else "must begin with https://"


def _first_of_two(_original: Any, module: ModuleType) -> Any:
    def chosen(pairs: Any, required: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, value in pairs:
            found.setdefault(name, value)
        for name in required:
            if not found.get(name):
                raise module.MissingParameter(name, public=f"The parameter {name} is missing.")
        return {name: found[name] for name in (*required, *optional) if found.get(name)}

    return chosen


def _framable(original: Any, _module: ModuleType) -> Any:
    return lambda targets=(): original(targets).replace("frame-ancestors 'none'; ", "")


def _every_fuel(original: Any, _module: ModuleType) -> Any:
    return lambda caller, token, fuels: original(caller, token, frozenset({"electricity", "gas"}))


def _as_if_none_had_ended(original: Any, _module: ModuleType) -> Any:
    def of_access_token(token: str, at: int) -> Any:
        found = original(token, at)
        return found and (found[0], found[1]._replace(ended=None))

    return of_access_token


def _without_issuer(original: Any, _module: ModuleType) -> Any:
    return lambda url, parameters: original(url, {name: value for name, value in parameters.items() if name != "iss"})


def _from_anyone(original: Any, module: ModuleType) -> Any:
    class OfTheRightMember(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            return True

        def __ne__(self, other: object) -> bool:
            return False

    def receive(sender: Any, document: object) -> Any:
        return original(
            SimpleNamespace(member=OfTheRightMember(sender.member), application=sender.application), document
        )

    return receive


def _callers_id(_original: Any, module: ModuleType) -> Any:
    def install(app: Any) -> None:
        from flask import request

        app.before_request(
            lambda: module.audit.correlation_id.set(request.headers.get(module.HEADER, "made-up")) and None
        )

        def name_it(response: Any) -> Any:
            response.headers[module.HEADER] = module.audit.correlation_id.get()
            return response

        app.after_request(name_it)

    return install


def _every_list_for_every_issuer(original: Any, _module: ModuleType) -> Any:
    return lambda self, _link: True


def _shut_until_midnight(_original: Any, module: ModuleType) -> Any:
    def wait(self: Any, _c: Any, _subject: str, left: int) -> None:
        raise module.TooMany("the budget is used up", self.counted, left)

    return wait


def _direct_dependents_alone(_original: Any, module: ModuleType) -> Any:
    return lambda c, subject, _at: {each: subject for each in module.links.dependents(c, subject) if each != subject}


def _as_the_standard_library_has_it(_original: Any, _module: ModuleType) -> Any:
    return lambda address: bool(address.is_global)


def _whole_window(_original: Any, _module: ModuleType) -> Any:
    return lambda self, start, end: (start, end)


MISTAKES: dict[str, Mistake] = {
    # what the scheme's public demo does
    "the certificate header is believed from anyone": Mistake(
        "A02",
        "tests/caller/test_arrival.py::test_A02_a_header_is_believed_from_configured_proxies_alone",
        "consent_server.caller.arrival",
        instead("_is_proxy", always(True)),
    ),
    "the certificate header is read beside TLS": Mistake(
        "A01",
        "tests/caller/test_arrival.py::test_A01_where_tls_ends_here_a_header_is_not_even_looked_at",
        "consent_server.caller.arrival",
        instead("arrived", _header_also_under_tls),
    ),
    "the algorithm is the token's": Mistake(
        "C19",
        "tests/tokens/test_access_token.py::test_a_header_that_is_not_exactly_ours",
        "consent_server.tokens.compact",
        instead("verify", _algorithm_of_the_token),
    ),
    "the audience is not asked": Mistake(
        "C16",
        "tests/tokens/test_access_token.py::test_issuer_and_audience_are_judged_on_every_use",
        "consent_server.tokens.access_token",
        instead("read", _own_claim_as_expected("aud", "audience")),
    ),
    "the issuer is not asked": Mistake(
        "C16",
        "tests/tokens/test_access_token.py::test_issuer_and_audience_are_judged_on_every_use",
        "consent_server.tokens.access_token",
        instead("read", _own_claim_as_expected("iss", "issuer")),
    ),
    "any member reads any permission": Mistake(
        "D08",
        "tests/issuer/test_refusals.py::test_what_is_not_this_clients_refresh_token_is_answered_alike",
        "consent_server.issuer.permission_record",
        without("token_is_this_clients"),
    ),
    "any member revokes any permission": Mistake(
        "D05",
        "tests/issuer/test_refusals.py::test_revoking_what_is_not_ones_own_is_answered_alike_and_does_nothing",
        "consent_server.issuer.revocation",
        instead("revoke", _any_client_revokes),
    ),
    "tokens are logged": Mistake(
        "F06",
        "tests/issuer/test_refusals.py::test_F06_no_secret_reaches_the_log_whatever_is_switched_on",
        "consent_server.issuer.issue",
        instead("token_response", _logged),
    ),
    "a request_uri works again after its decision": Mistake(
        "B02",
        "tests/issuer/test_refusals.py::test_a_used_or_expired_request_goes_back_to_its_client",
        "consent_server.issuer.authorize",
        without("request_is_open"),
    ),
    "a request_uri works for any client": Mistake(
        "B05",
        "tests/issuer/test_refusals.py::test_another_clients_request_uri_gets_the_page_whatever_its_state",
        "consent_server.issuer.authorize",
        without("request_is_this_clients"),
    ),
    "withdrawn permissions release data": Mistake(
        "D03",
        "tests/resource/test_guard.py::test_a_spoilt_call_is_refused",
        "consent_server.resource.guard",
        without("is_not_withdrawn"),
    ),
    "introspection calls the access token of a withdrawn permission active": Mistake(
        "D03",
        "tests/issuer/test_flow.py::test_introspection_tells_our_own_resource_server_what_lives",
        "consent_server.issuer.presented",
        instead("of_access_token", _as_if_none_had_ended),
    ),
    # what libraries and other servers did, or might do
    "a pushed request never expires": Mistake(
        "B04",
        "tests/issuer/test_refusals.py::test_a_used_or_expired_request_goes_back_to_its_client",
        "consent_server.issuer.authorize",
        without("request_is_fresh"),
    ),
    "a code is redeemed as often as it is sent": Mistake(
        "C01",
        "tests/issuer/test_refusals.py::test_a_code_used_twice_ends_what_it_issued",
        "consent_server.issuer.code",
        both(without("code_is_unused"), instead("codes.answer", always(True))),
    ),
    "of many redemptions at once several win": Mistake(
        "C02",
        "tests/issuer/test_single_use.py::test_the_race_is_lost_in_the_database_and_not_in_the_check",
        "consent_server.store.codes",
        instead("answer", always(True)),
    ),
    "a code is spent before its verifier is checked": Mistake(
        "C05",
        "tests/issuer/test_refusals.py::test_a_code_presented_wrongly_is_not_consumed",
        "consent_server.store.codes",
        instead("wrong_verifier", _spent_by_a_wrong_verifier),
    ),
    "the verifier is not checked": Mistake(
        "C07",
        "tests/issuer/test_refusals.py::test_a_code_presented_wrongly_is_not_consumed",
        "consent_server.issuer.code",
        without("verifier_matches"),
    ),
    "another client's code is redeemed": Mistake(
        "C04",
        "tests/issuer/test_refusals.py::test_another_clients_code_changes_nothing",
        "consent_server.issuer.code",
        without("code_is_this_clients"),
    ),
    "a code never expires": Mistake(
        "C03",
        "tests/issuer/test_refusals.py::test_a_code_is_over_when_its_time_is",
        "consent_server.issuer.code",
        without("code_is_fresh"),
    ),
    "PKCE may be plain": Mistake(
        "B13",
        "tests/issuer/test_refusals.py::test_pushed_request",
        "consent_server.issuer.par",
        both(
            without("pkce_with_s256"),
            lambda module: setattr(module, "CHECKS", (_any_challenge(None, module), *module.CHECKS)),
        ),
    ),
    "a request_uri is taken in a pushed request": Mistake(
        "B07",
        "tests/issuer/test_refusals.py::test_pushed_request",
        "consent_server.issuer.par",
        without("no_request_object"),
    ),
    "another response mode is taken": Mistake(
        "B11",
        "tests/issuer/test_refusals.py::test_pushed_request",
        "consent_server.issuer.par",
        without("response_mode_is_query"),
    ),
    "any license is taken": Mistake(
        "B14",
        "tests/issuer/test_refusals.py::test_pushed_request",
        "consent_server.issuer.par",
        without("one_known_license"),
    ),
    "redirect URIs are compared by their beginning": Mistake(
        "B16",
        "tests/issuer/test_refusals.py::test_pushed_request",
        "consent_server.issuer.redirect_uri",
        instead("fault", _prefix),
    ),
    "the first of two parameters is taken": Mistake(
        "B08",
        "tests/web/test_parameters.py::test_refused_forms",
        "consent_server.web.parameters",
        instead("_chosen", _first_of_two),
    ),
    "the authorization response does not name its issuer": Mistake(
        "B20",
        "tests/issuer/test_flow.py::test_the_whole_path_ends_in_tokens_that_say_what_was_agreed",
        "consent_server.refusal",
        instead("with_query", _without_issuer),
    ),
    "a refresh token works for any client": Mistake(
        "C09",
        "tests/issuer/test_refusals.py::test_what_is_not_this_clients_refresh_token_is_answered_alike",
        "consent_server.issuer.refresh",
        without("token_is_this_clients"),
    ),
    "a refresh may ask for more": Mistake(
        "C12",
        "tests/issuer/test_refusals.py::test_refresh",
        "consent_server.issuer.refresh",
        without("scope_is_the_granted"),
    ),
    "a refresh token outlives its permission": Mistake(
        "C13",
        "tests/issuer/test_refusals.py::test_an_expired_permission_refreshes_no_more",
        "consent_server.issuer.refresh",
        without("permission_is_live"),
    ),
    "an access token works for any caller": Mistake(
        "C15",
        "tests/resource/test_guard.py::test_a_spoilt_call_is_refused",
        "consent_server.resource.guard",
        without("is_the_callers_own"),
    ),
    "permission for electricity releases gas": Mistake(
        "D01",
        "tests/resource/test_guard.py::test_gas_leaves_only_when_token_and_text_both_cover_it",
        "consent_server.resource.guard",
        instead("Release", _every_fuel),
    ),
    "introspection is for every member": Mistake(
        "D07",
        "tests/issuer/test_refusals.py::test_introspection_by_anyone_else",
        "consent_server.issuer.introspection",
        instead("require_introspector", always(None)),
    ),
    "a withdrawal message is believed from any member": Mistake(
        "D12",
        "tests/withdrawal/test_inbox.py::test_D12_a_refused_message_changes_nothing",
        "consent_server.withdrawal.inbox",
        instead("receive", _from_anyone),
    ),
    "the role of a caller is not asked": Mistake(
        "A11",
        "tests/caller/test_trust.py::test_A11_a_role_is_compared_whole",
        "consent_server.caller.trust",
        instead("require_role", always(None)),
    ),
    "forms are taken from any page": Mistake(
        "E01",
        "tests/journey/test_edp_journey.py::test_e01_a_form_that_is_not_ours",
        "consent_server.web.csrf",
        instead("check", always(None)),
    ),
    "pages may be framed": Mistake(
        "E02",
        "tests/journey/test_edp_journey.py::test_e02_e08_e13_headers",
        "consent_server.web.headers",
        instead("page_policy", _framable),
    ),
    "a decision counts for another text than was shown": Mistake(
        "E07",
        "tests/issuer/test_decision.py::test_a_decision_that_is_refused_grants_nothing_and_leaves_the_request_open",
        "consent_server.issuer.decision",
        without("text_is_the_licenses"),
    ),
    # what our own did once
    "a false claim removes the provider that it imitates": Mistake(
        "H05",
        "tests/portal/test_connecting.py::test_H05_S3_a_false_claim_costs_the_entry_that_makes_it_and_no_other",
        "consent_server.caller.catalogue",
        instead("_is_confirmed", always(False)),
    ),
    "wrong guesses of others shut the owner out": Mistake(
        "H06",
        "tests/accounts/test_sign_in.py::test_H06_wrong_codes_from_the_owners_network_slow_it_by_a_minute_at_most",
        "consent_server.web.limits",
        instead("Limit._wait", _shut_until_midnight),
    ),
    "the status list is signed for every reader": Mistake(
        "H11",
        "tests/issuer/test_status_list.py::test_H11_a_list_is_signed_once_for_each_change_and_interval",
        "consent_server.issuer.status_list",
        instead("_served", always(None)),
    ),
    "paths and headers are not looked at": Mistake(
        "H14",
        "tests/web/test_door.py::test_H14_a_path_that_is_no_text_is_nowhere",
        "consent_server.web.door",
        instead("_require_text", always(None)),
    ),
    "a request needs no host": Mistake(
        "H14",
        "tests/web/test_door.py::test_H14_a_request_names_one_host",
        "consent_server.web.door",
        instead("_require_host", always(None)),
    ),
    "a caller chooses the correlation id": Mistake(
        "H16",
        "tests/web/test_shared.py::test_H16_the_id_of_a_request_is_ours",
        "consent_server.web.correlation",
        instead("install", _callers_id),
    ),
    "an address is public where the standard library says so": Mistake(
        "H17",
        "tests/outbound/test_network.py::test_H17_no_address_of_a_special_block_is_public",
        "consent_server.outbound.addresses",
        instead("is_public", _as_the_standard_library_has_it),
    ),
    "a revocation list speaks for every issuer": Mistake(
        "H18",
        "tests/caller/test_revocation.py::test_H18_a_list_speaks_for_its_issuer_alone",
        "consent_server.pki.crl",
        instead("RevokedSerials.covers", _every_list_for_every_issuer),
    ),
    "only what rests on a permission directly falls with it": Mistake(
        "H22",
        "tests/withdrawal/test_ending_with.py::test_H22_the_page_before_a_withdrawal_and_the_withdrawal_agree",
        "consent_server.withdrawal.ending_with",
        instead("ending_with", _direct_dependents_alone),
    ),
    "half-hours from before the tenancy leave": Mistake(
        "H23",
        "tests/resource/test_tenancy.py::test_H23_nothing_from_before_the_tenancy_leaves",
        "consent_server.metering.register",
        instead("Tenancy.clamp", _whole_window),
    ),
}
