"""The keys of a party: made once, before the first start, and never silently."""

from consent_server.settings import Settings
from consent_server.store.sealing import Sealer
from consent_server.tokens import keys, refresh_token


def make_missing(settings: Settings, at: int) -> list[str]:
    """Make the keys that do not exist yet; answers one line for each key, made or found. Existing ones are left alone."""
    lines = []
    folder = settings.keys.tokens
    if any(folder.glob("*.pem")):
        lines.append(f"token signing keys: already in {folder}")
    else:
        lines.append(f"token signing keys: made {keys.make(folder, at)} in {folder}")
    folder = settings.keys.refresh
    if folder.is_dir() and any(folder.iterdir()):
        lines.append(f"refresh-token keys: already in {folder}")
    else:
        lines.append(f"refresh-token keys: made version {refresh_token.rotate(folder, at)} in {folder}")
    existed = settings.keys.sealing.exists()
    Sealer.make(settings.keys.sealing)
    lines.append(f"sealing key: {'already there' if existed else 'made'}: {settings.keys.sealing}")
    return lines
