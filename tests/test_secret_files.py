"""Files that hold secrets: which settings name one, and that no command starts while others can read or change it."""

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import AfterValidator, BaseModel

from consent_server.bank.settings import BankSettings
from consent_server.cli import main
from consent_server.resource.gate_settings import MetersSettings
from consent_server.resource.signing_settings import SigningSettings
from consent_server.sandbox.parties import to_toml
from consent_server.settings import BadSettings, Settings, load
from consent_server.settings.section import Section, load_section, path_keys
from consent_server.settings.values import _private
from tests.deployments import layout

#: Settings that name a file without a secret: certificates, lists, pictures, places. `tokens` and `refresh` are folders, whose
#: files are looked at one by one (tests/tokens/test_keys.py).
PUBLIC = {
    ("public", "certificate"),
    ("public", "brand", "logo"),
    ("mutual_tls", "certificate"),
    ("clients", "root"),
    ("clients", "issuers"),
    ("database", "withdrawal_journal"),
    ("keys", "tokens"),
    ("keys", "refresh"),
    ("keys", "client_certificate"),
    ("keys", "signing_certificate"),
    ("keys", "signing_root"),
    ("keys", "server_roots"),
    ("metering", "parquet", "roots"),
    ("metering", "parquet", "register_folder"),
    ("metering", "parquet", "readings_folder"),
    ("metering", "http", "roots"),
    ("metering", "http", "certificate"),
    ("collection", "timestamp_roots"),
    ("mail", "roots"),
    ("sandbox", "clock"),
    ("sandbox", "fixed_codes"),
}


def secrets_of(section: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    for key, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from ((key, *deeper) for deeper in secrets_of(field.annotation))
        elif AfterValidator(_private) in field.metadata:
            yield (key,)


SECRET = sorted(secrets_of(Settings))


def test_each_file_of_the_settings_is_secret_or_is_not() -> None:
    assert set(SECRET) == path_keys(Settings) - PUBLIC


@pytest.mark.parametrize(
    ("kind", "secret"),
    [
        (BankSettings, {("keys", "client_key"), ("keys", "sealing"), ("public", "key"), ("mutual_tls", "key")}),
        (MetersSettings, {("key",)}),
        (SigningSettings, {("signing_key",)}),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_so_are_those_of_programs_beside_the_server(kind: type[BaseModel], secret: set[tuple[str, ...]]) -> None:
    found = set(secrets_of(kind))
    assert found == {key for key in secret if key[0] in kind.model_fields}


@pytest.fixture
def settings_with(tmp_path: Path) -> Callable[[tuple[str, ...], int], Path]:
    """Settings of an EDP, one of whose secrets is in a file of a mode; the file of the settings."""

    def write(key: tuple[str, ...], mode: int) -> Path:
        secret = tmp_path / "secret"
        secret.write_text("secret")
        secret.chmod(mode)
        *sections, last = key
        config = tmp_path / "edp.toml"

        values = tomllib.loads(layout().settings("edp").read_text(encoding="utf-8"))
        table = values
        for section in sections:
            table = table.setdefault(section, {})
        table[last] = str(secret)
        if key[0] == "mail":
            values["mail"] |= {"source": "smtp://relay.example", "user": "edp"}
        if key == ("metering", "http", "key"):
            table["certificate"] = str(secret)
        if key == ("login", "key"):
            values["login"]["secret"] = ""
        config.write_text(to_toml(values), encoding="utf-8")
        return config

    return write


@pytest.mark.parametrize("key", SECRET, ids=".".join)
def test_one_that_is_open_stops_the_start(
    settings_with: Callable[[tuple[str, ...], int], Path], key: tuple[str, ...]
) -> None:
    assert load(settings_with(key, 0o600))
    with pytest.raises(BadSettings) as refused:
        load(settings_with(key, 0o644))
    (_, line) = str(refused.value).splitlines()
    assert line.strip().startswith(f"{'.'.join(key)}: ")
    assert line.endswith("others can read or change this secret; chmod 600")


@pytest.mark.parametrize(
    ("mode", "opens"),
    [
        *((mode, True) for mode in (0o600, 0o400, 0o640, 0o440, 0o700)),  # a mounted secret belongs to a group
        *((mode, False) for mode in (0o604, 0o644, 0o606, 0o660, 0o620, 0o601, 0o777)),
    ],
    ids=lambda each: oct(each) if not isinstance(each, bool) else "",
)
def test_its_group_may_read_and_its_owner_alone_may_write(
    settings_with: Callable[[tuple[str, ...], int], Path], mode: int, opens: bool
) -> None:
    config = settings_with(("keys", "client_key"), mode)
    if opens:
        assert load(config)
    else:
        with pytest.raises(BadSettings, match="chmod 600"):
            load(config)


def test_a_link_is_judged_by_what_it_leads_to(
    settings_with: Callable[[tuple[str, ...], int], Path], tmp_path: Path
) -> None:
    config = settings_with(("keys", "sealing"), 0o640)
    secret = tmp_path / "secret"
    secret.rename(tmp_path / "mounted")
    secret.symlink_to(tmp_path / "mounted")
    assert load(config)
    (tmp_path / "mounted").chmod(0o644)
    with pytest.raises(BadSettings, match="chmod 600"):
        load(config)


@pytest.mark.parametrize(
    "command", [("serve", "--door", "public"), ("work", "--once"), ("doctor",), ("db", "upgrade")], ids=" ".join
)
def test_each_command_stops_at_an_open_secret_file(
    settings_with: Callable[[tuple[str, ...], int], Path], command: tuple[str, ...]
) -> None:
    done = CliRunner().invoke(main, [*command, "--config", str(settings_with(("public", "key"), 0o644))])
    assert done.exit_code == 1
    assert "public.key: " in done.output
    assert "chmod 600" in done.output


def test_a_program_beside_the_server_does_not_start_either(tmp_path: Path) -> None:
    (tmp_path / "key.pem").touch(mode=0o644)
    (tmp_path / "signing.toml").write_text(
        'registry = "https://registry.example"\ndata_service = "x"\nsigning_certificate = "c"\nsigning_key = "key.pem"\n'
    )
    with pytest.raises(BadSettings, match=r"signing_key: .*chmod 600"):
        load_section(tmp_path / "signing.toml", SigningSettings)
