# syntax=docker/dockerfile:1
# fossilrepo in a container, for amd64 and arm64. See compose.yaml for ports and volumes.
FROM debian:bookworm-slim

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates fossil git openssh-client python3 python3-venv util-linux \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --user-group --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin fossilrepo

WORKDIR /opt/fossilrepo
COPY pyproject.toml README.md LICENSE Caddyfile config.example.toml ./
COPY fossilrepo ./fossilrepo
COPY templates ./templates
COPY static ./static
# hadolint ignore=DL3013
RUN python3 -m venv .venv && .venv/bin/pip install --no-cache-dir . \
    && ln -s /opt/fossilrepo/.venv/bin/fossilrepo /usr/local/bin/fossilrepo \
    && install -d -o fossilrepo -g fossilrepo -m 0711 /data

# The data is the account's, and what reads repositories runs as it. Root is left to make Fossil's
# chroot: containers have no namespaces of their own for that.
ENV FOSSILREPO_DATA_DIR=/data PYTHONUNBUFFERED=1
WORKDIR /data
VOLUME /data
EXPOSE 80 443 443/udp 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["fossilrepo", "status"]
ENTRYPOINT ["fossilrepo"]
CMD ["serve"]
