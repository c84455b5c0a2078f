"""`make screenshots` finds its way through the pages as they are, and takes the pictures that the documents show."""

from pathlib import Path

import pytest

from scripts import screenshots
from tests.conftest import program
from tests.documents.sample import PICTURE


@pytest.mark.long
@pytest.mark.browser
@pytest.mark.timeout(600)
def test_every_picture_can_be_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program("chromium")
    shown = {path.name for path in screenshots.IMAGES.glob("*.*") if path.stem != PICTURE.name}
    monkeypatch.setattr(screenshots, "IMAGES", tmp_path)
    monkeypatch.setattr(screenshots, "STATES", tmp_path / "states")
    screenshots.main()
    assert {path.name for path in tmp_path.glob("*.*")} == shown
    assert any((tmp_path / "states").iterdir())
