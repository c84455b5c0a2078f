import pytest

from consent_server.scheme import roles

PRODUCTION = "https://registry.core.trust.ib1.org"
SANDBOX = "https://registry.core.sandbox.trust.ib1.org"
CAP = roles.url(SANDBOX, roles.CAP)


def test_role_urls_are_the_registrys():
    assert CAP == "https://registry.core.sandbox.trust.ib1.org/scheme/perseus/role/carbon-accounting-provider"
    assert roles.url(PRODUCTION, roles.EDP).endswith("/scheme/perseus/role/energy-data-provider")
    assert roles.url(PRODUCTION, roles.FSP).endswith("/scheme/perseus/role/financial-service-provider")


@pytest.mark.parametrize(
    ("held", "accepted", "expected"),
    [
        ({CAP}, [CAP], True),
        ({roles.url(SANDBOX, roles.FSP), CAP}, [CAP], True),
        ({CAP}, [roles.url(PRODUCTION, roles.CAP), CAP], True),
        (set(), [CAP], False),
        ({CAP}, [], False),
        ({roles.url(SANDBOX, roles.EDP)}, [CAP], False),
        ({roles.url(PRODUCTION, roles.CAP)}, [CAP], False),
        ({CAP.upper()}, [CAP], False),
        ({CAP.replace("https", "http")}, [CAP], False),
        ({CAP + "/"}, [CAP], False),
        ({CAP + "/2026-03-12"}, [CAP], False),
        ({CAP[:-1]}, [CAP], False),
        ({CAP + "\n"}, [CAP], False),
        ({CAP.replace("perseus", "other")}, [CAP], False),
        ({roles.url(SANDBOX, "carbon-accounting-platform")}, [CAP], False),
        ({roles.url(SANDBOX, "carbon-accounting")}, [CAP], False),
    ],
    ids=[
        "exact",
        "one of two",
        "two accepted",
        "none held",
        "none accepted",
        "another role",
        "another environment",
        "case",
        "http",
        "slash",
        "version",
        "prefix",
        "newline",
        "another scheme",
        "early name",
        "oldest name",
    ],
)
def test_roles_are_compared_whole(held, accepted, expected):
    assert roles.holds(held, accepted) is expected


def test_the_role_that_asks_for_each_license():
    assert roles.asks_for["energy-consumption-edp-cap"] == roles.CAP
    assert roles.asks_for["energy-consumption-emissions-edp-cap-fsp"] == roles.CAP
    assert roles.asks_for["emissions-cap-fsp"] == roles.FSP
    assert set(roles.asks_for.values()) == {roles.CAP, roles.FSP}
