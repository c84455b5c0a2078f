import pytest

from tests.caller.certificates import Certificates
from tests.serving.doors import Door


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def mutual_tls_door(certificates, tmp_path_factory):
    door = Door(certificates, tmp_path_factory.mktemp("mutual"), "mutual_tls")
    yield door
    assert door.stop() < 10


@pytest.fixture(scope="session")
def public_door(certificates, tmp_path_factory):
    door = Door(certificates, tmp_path_factory.mktemp("public"), "public")
    yield door
    assert door.stop() < 10


@pytest.fixture
def open_door(certificates, tmp_path):
    """A door of one's own, for tests that stop it or change its settings."""
    doors = []

    def open_one(door="mutual_tls", **how):
        directory = tmp_path / str(len(doors))
        directory.mkdir()
        doors.append(Door(certificates, directory, door, **how))
        return doors[-1]

    yield open_one
    for door in doors:
        if door.process.poll() is None:
            door.stop()
