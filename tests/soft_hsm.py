"""Debian's SoftHSM as an HSM: a token, and a key in it."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from consent_server.signing import hsm as module

PIN = "739104"
MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")


@dataclass
class Hsm:
    """SoftHSM with one token, `consent`, whose user's PIN is in a file."""

    folder: Path
    pin: Path

    def uri(self, key: str = "", token: str = "consent") -> str:
        return f"pkcs11:token={token}{key}?module-path={MODULE}&pin-source=file:{self.pin}"

    def log_out(self) -> None:
        """Make it, and the file with the PIN, as a new process finds them."""
        self.pin.unlink(missing_ok=True)
        self.pin.touch(0o600)
        self.pin.write_text(f"{PIN}\n")
        module._open.refused.clear()
        module._begin_anew(module._parsed(self.uri())[0])

    def go(self) -> None:
        (self.folder / "tokens").rename(self.folder / "gone")
        (self.folder / "tokens").mkdir()

    def come_back(self) -> None:
        (self.folder / "tokens").rmdir()
        (self.folder / "gone").rename(self.folder / "tokens")


def make(folder: Path) -> Hsm:
    """A token in a folder. The library reads where it is from the environment."""
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\n")
    (folder / "tokens").mkdir()
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    token = ["softhsm2-util", "--init-token", "--free", "--label", "consent", "--so-pin", "0000", "--pin", PIN]
    subprocess.run(token, check=True, capture_output=True)
    return Hsm(folder, folder / "hsm.pin")
