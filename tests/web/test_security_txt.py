"""/.well-known/security.txt by RFC 9116, of a whole party."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from consent_server import clock
from consent_server.scheme import instant
from consent_server.settings import BadSettings
from consent_server.web import security_txt
from tests.deployments import deploy, opened, settings_of

CONTACT = "mailto:security@edp.example.org"


def client(folder: Path, contact: str, party: str = "edp") -> FlaskClient:
    settings = settings_of(party, f"sqlite:///{folder / 'x.sqlite'}", {"public.contact.security": contact})
    return opened(deploy(settings), "public").test_client()


@pytest.mark.parametrize("party", ["edp", "cap"])
@pytest.mark.parametrize("contact", [CONTACT, "https://edp.example.org/security"])
def test_the_fields_of_security_txt(party: str, contact: str, tmp_path: Path) -> None:
    answer = client(tmp_path, contact, party).get(security_txt.PATH)
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    fields = dict(line.split(": ", 1) for line in answer.text.splitlines())
    assert (fields["Contact"], fields["Preferred-Languages"]) == (contact, "en, cy")
    assert fields["Canonical"].endswith(security_txt.PATH)
    assert 29 * instant.DAY < instant.parse(fields["Expires"]) - clock.now() <= 30 * instant.DAY
    assert list(fields) == ["Contact", "Expires", "Preferred-Languages", "Canonical"]


def test_without_a_contact_there_is_no_file(tmp_path: Path) -> None:
    assert client(tmp_path, "").get(security_txt.PATH).status_code == 404


@pytest.mark.parametrize(
    "contact",
    [
        pytest.param("security@edp.example.org", id="no URI"),
        pytest.param("http://edp.example.org/security", id="not https"),
        pytest.param(f"{CONTACT}\nContact: mailto:stranger@example.org", id="a second line"),
    ],
)
def test_a_contact_that_the_file_cannot_have(contact: str) -> None:
    with pytest.raises(BadSettings, match=r"public\.contact\.security"):
        settings_of("edp", "sqlite://", {"public.contact.security": contact})
