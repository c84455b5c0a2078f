"""The clients with which the doctor asks what is outside: the server's own, without its caches and client certificate."""

from consent_server.outbound.cache import MemoryCache
from consent_server.outbound.directory import Directory
from consent_server.outbound.mail import Mail
from consent_server.outbound.registry import Registry
from consent_server.outbound.session import Limits, Session
from consent_server.outbound.upstream import Upstream
from consent_server.settings import Settings

_LIMITS = Limits(connect_s=5.0, read_s=5.0, total_s=10.0)


class Outside:
    """What is outside, as a deployment reaches it."""

    def __init__(self, settings: Settings) -> None:
        """Raise OSError when the roots for calls out cannot be read."""
        keys = settings.keys.model_copy(update={"client_certificate": None})
        cache = MemoryCache()
        self.session = Session(settings.model_copy(update={"keys": keys}), limits=_LIMITS)
        self.directory = Directory(settings, self.session, cache)
        self.registry = Registry(settings, self.session, cache)
        self.upstream = Upstream(settings.member.application, self.session, cache)
        self.mail = Mail(settings, self.session)
