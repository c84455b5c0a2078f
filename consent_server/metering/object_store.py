"""The S3-compatible object store in which Parquet files may be.

Credentials are where the AWS libraries look for them: the environment, the file that AWS_SHARED_CREDENTIALS_FILE names, or the
role of the machine. They are in no setting and no URL.
"""

import re
from typing import Final
from urllib.parse import urlsplit

from pyarrow import fs

from consent_server.settings import BadSettings
from consent_server.settings.metering import ParquetSettings

_FOLDER: Final = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[^?#@\\]*)?)")
_CONNECT_S: Final = 2.0
#: A failed call is tried once more; the caller waits at most `longest_s` whatever happens.
_TRIES: Final = 2


def opened(setting: str, where: str, settings: ParquetSettings) -> tuple[fs.FileSystem, str, str]:
    """Return the store, a folder's path in it, and the store's name for the log. Raise BadSettings, which repeats no URL."""
    found = _FOLDER.fullmatch(where)
    if found is None:
        raise BadSettings(f"{setting}: must be s3://bucket/folder; keys are taken from the environment or a file")
    endpoint = urlsplit(settings.endpoint)
    if settings.endpoint and (endpoint.scheme != "https" or endpoint.path or "@" in endpoint.netloc):
        raise BadSettings("metering.parquet.endpoint: must be https:// with a host and a port, and nothing else")
    store = fs.S3FileSystem(
        region=settings.region or None,
        endpoint_override=endpoint.netloc or None,
        scheme="https",
        tls_ca_file_path=str(settings.roots) if settings.roots else None,
        connect_timeout=min(_CONNECT_S, settings.longest_s),
        request_timeout=settings.longest_s,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_TRIES),
    )
    return store, found[1].rstrip("/"), endpoint.netloc or f"S3 in {settings.region or 'its own region'}"
