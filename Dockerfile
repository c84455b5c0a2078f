# One image for the three processes of a party: serve --door public, serve --door mutual_tls, work.
#
#   docker build -t consent-server .
#   docker run -v /srv/edp:/etc/consent-server:ro -p 443:8443 consent-server serve --door public
#
# /etc/consent-server holds settings.toml and the certificates and keys that it names (docs/operator.md).

# The base is named by the digest of its index for all platforms, so that the same image is built next year. A digest that nobody
# renews keeps a base after its faults are known: docs/operator.md says how to renew it each month.
ARG BASE=python:3.11-slim-bookworm@sha256:0bee7276f83efd4a1ee05bbbf4281d95ed28e079220a9457f25a93e3f1e3c31b

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements requirements
# What runs: every package by its hash, none by its name alone.
RUN python -m venv /opt/consent-server \
 && /opt/consent-server/bin/pip install --require-hashes -r requirements/production.lock
# What builds: the backend and its own needs, at the versions and hashes of the development lock.
RUN python -m venv /opt/build \
 && awk '/^[a-z]/ { keep = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/ } keep' requirements/dev.lock > build.lock \
 && /opt/build/bin/pip install --require-hashes -r build.lock
COPY pyproject.toml README.md ./
COPY config config
COPY templates templates
COPY consent_server consent_server
RUN /opt/build/bin/python -m hatchling build -t wheel -d dist \
 && /opt/consent-server/bin/pip install --no-deps --no-index dist/*.whl \
 && /opt/consent-server/bin/pip check \
 && /opt/consent-server/bin/pip uninstall --yes pip setuptools

FROM ${BASE}
# A new volume has the owner of the folder that it is mounted on.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin consent \
 && install -d -o consent -g consent -m 700 /var/lib/consent-server
COPY --from=build /opt/consent-server /opt/consent-server
COPY scripts/healthcheck.py /opt/consent-server/healthcheck.py
ENV PATH=/opt/consent-server/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CONSENT_CONFIG=/etc/consent-server/settings.toml
USER 10001:10001
WORKDIR /tmp
EXPOSE 8443 8444
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "/opt/consent-server/healthcheck.py"]
ENTRYPOINT ["consent-server"]
CMD ["serve", "--door", "public"]
