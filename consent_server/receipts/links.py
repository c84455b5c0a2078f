"""The link in a receipt: whoever has it can see the receipt, and can withdraw that one permission while it is in force.

It needs no account, no bill and no cookie, so it works for a business that has moved out, and in any browser and network.
Its handle has 256 bits. It is derived from the permission's id with the sealing key, so that a mail that is sent later can
name it, and the store keeps its digest: neither the store nor the key alone reveals it.
"""

from typing import Final

from consent_server import store
from consent_server.deployment import current
from consent_server.store import receipt_links

PATH: Final = "/receipt/"
LONGEST_HANDLE: Final = 64


def make_path(subject: str) -> str:
    """Return the path of the receipt's page, which works from now on: it is kept."""
    # A line end, which no other text has of which digests are made with this key: none of them is a handle.
    handle = current().sealer.mac(f"receipt\n{subject}")
    with store.writing() as c:
        receipt_links.keep(c, handle, subject)
    return f"{PATH}{handle}"


def make_address(subject: str) -> str:
    """Return the same with our origin, for a mail and for paper."""
    return f"{current().settings.public.origin}{make_path(subject)}"


def subject_of(handle: str) -> str | None:
    """Return the permission or connection whose receipt a handle opens; None for an unknown one."""
    if len(handle) > LONGEST_HANDLE:
        return None
    with store.reading() as c:
        return receipt_links.subject_of(c, handle)
