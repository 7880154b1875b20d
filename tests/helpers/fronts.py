"""What stands before Fossil in the tests of the mapping: the gateway, or Caddy with the gateway.

Owns how each is started as a program of its own.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers import gateway_parts as parts
from tests.helpers.gateway_parts import Served


@contextmanager
def gateway_front(
    served: Served, base: Path, public_url: str = "", routing: str = "host"
) -> Iterator[int]:
    """The gateway alone, with an apex that only says so; its port."""
    port = parts.free_port()
    settings = json.dumps(
        {"server": {"public_url": public_url, "routing": routing}, "limits": {"push": "3MiB"}}
    )
    module = [sys.executable, "-m", "tests.helpers.gateway_process"]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(parts.ROOT)}
    argv = [*module, str(port), str(served.port), settings]
    with parts.program(argv, env, base / "gateway.log"):
        parts.until(lambda: parts.answers(port), 20, "the gateway's answer")
        yield port


@contextmanager
def caddy(base: Path, port: int, site: int, fossil: int, **more: str) -> Iterator[None]:
    """Caddy with our Caddyfile at `port`, before a site and Fossil at theirs."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(base),
        "XDG_DATA_HOME": str(base / "caddy"),
        "XDG_CONFIG_HOME": str(base / "caddy"),
        "DOMAIN": "localhost",
        "DOMAIN_PATTERN": "localhost",
        "PORT_SUFFIX": f":{port}",
        "HTTPS_PORT": str(port),
        "HTTP_PORT": str(parts.free_port()),
        "BIND": "127.0.0.1",
        "SITE": f"127.0.0.1:{site}",
        "FOSSIL": f"127.0.0.1:{fossil}",
        "TLS_ASK": f"http://127.0.0.1:{site}/internal/tls-ask",
        "CADDY_ISSUER": "internal",
        **more,
    }
    argv = [str(parts.CADDY), "run", "--adapter", "caddyfile"]
    config = ["--config", str(parts.ROOT / "Caddyfile")]
    with parts.program([*argv, *config], env, base / "caddy.log"):
        parts.until(lambda: parts.answers(port), 20, "Caddy's answer")
        yield


@contextmanager
def front(kind: str, served: Served, base: Path, routing: str = "host") -> Iterator[parts.Site]:
    """The `gateway` alone, or `caddy` with the gateway behind it where the site would be."""
    if kind == "gateway":
        with gateway_front(served, base, routing=routing) as port:
            yield parts.Site(port)
        return
    port = parts.free_port()
    more = {
        "FLAGS": str(base / "flags"),
        "MAX_PUSH": "3MiB",
        "ROUTING": f"by_{routing}",
        "SERVED": str(served.folder),
        "SERVED_NAME": "/{repo}.fossil",
    }
    with (
        gateway_front(served, base, f"https://localhost:{port}", routing) as gateway,
        caddy(base, port, gateway, served.port, **more),
    ):
        yield parts.Site(port, tls=True)
