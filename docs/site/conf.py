"""The documentation as a site, made by `make docs`: every page of the repository, found by its reader in index.md."""

import re
from pathlib import Path

from sphinx.application import Sphinx

project = "consent-server"
root_doc = "docs/site/index"
include_patterns = ["*.md", "docs/**.md", "deploy/**.md"]
exclude_patterns = [".*"]
extensions = ["myst_parser"]
myst_enable_extensions = ["html_image"]
myst_heading_anchors = 4  # by the rule of the places where the repository is read
highlight_language = "none"
smartquotes = False  # two dashes are an option
# Requests are shown without their version, and JSON with ellipses; tests/documentation/test_blocks.py holds what is whole.
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"  # brings its own scripts and has the reader's own fonts
html_title = "consent-server"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_use_index = False
html_extra_path = ["top"]

_LINK = re.compile(r"\[([^\]\n]+)\]\(([^)#\s:]+)\)")


def setup(app: Sphinx) -> None:
    app.connect("source-read", _name_folders)


def _name_folders(app: Sphinx, page: str, source: list[str]) -> None:
    """Leave the name alone where the repository is linked to one of its folders, which has no page here."""
    here = (Path(app.srcdir) / page).parent
    source[0] = _LINK.sub(lambda link: link[1] if (here / link[2]).is_dir() else link[0], source[0])
