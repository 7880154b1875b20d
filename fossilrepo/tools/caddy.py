"""The `caddy` program: how it is started, told of new certificates, and what it got.

Owns its environment (the Caddyfile takes everything from there), its folder in the data folder and
the reading of certificates. It runs as Fossil's account; of root's powers it keeps the one to
listen on ports below 1024.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shutil
import socket
import ssl
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from fossilrepo.config import Settings, effective_issuer
from fossilrepo.errors import ConfigError, ToolFailed
from fossilrepo.runtime import process
from fossilrepo.runtime.process import Command
from fossilrepo.tools.identity import Identity, give

_SOCKET = "admin.sock"  # below the folder that Caddy works in: a socket's path may have 107 bytes
_POWER = "-all,+net_bind_service"
_YEAR = 31_536_000  # seconds
_SECONDS = 20.0
# Warnings of Caddy's that are no news: the socket is in a closed folder, http only leads to https.
_NO_NEWS = ("byeee", "admin endpoint on open interface", "skipped because it requires TLS")
_LEVELS = {"warn": logging.WARNING, "error": logging.ERROR, "panic": logging.ERROR}


@dataclass(frozen=True, slots=True)
class Certificate:
    """`issuer` is who signed it, as people know it; times are in UTC."""

    names: tuple[str, ...]
    issuer: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Doors:
    """Where Caddy's requests go (HOST:PORT), and the port in public addresses, if any."""

    site: str
    fossil: str
    public_port: int | None


def program() -> str:
    """The path of the program; ToolFailed when it is not installed."""
    own = Path(sysconfig.get_path("scripts"), "caddy")
    found = str(own) if os.access(own, os.X_OK) else shutil.which("caddy")
    if found is None:
        raise ToolFailed("caddy is not installed", hint="install fossilrepo again")
    return found


class Caddy:
    """Caddy's own folder: `files/` are certificates of ours, `flags/` what the Caddyfile asks."""

    def __init__(self, settings: Settings, caddyfile: Path, identity: Identity | None) -> None:
        self._settings = settings
        self._caddyfile = caddyfile
        self._identity = identity
        self.folder = settings.data / "caddy"

    def prepare(self) -> None:
        """Make its folders and put our certificate there; ConfigError when that cannot be used."""
        for folder in (self.folder, self._files, self._flags):
            folder.mkdir(mode=0o700, exist_ok=True)
            give(folder, self._identity)
        if self._settings.caddy.certificate:
            self._put_certificate()

    @property
    def _files(self) -> Path:
        return self.folder / "files"

    @property
    def _flags(self) -> Path:
        return self.folder / "flags"

    def flag(self, name: str, *, up: bool) -> None:
        """Raise or lower a flag; `read-only` sends pushes to the site, which refuses them."""
        path = self._flags / name
        if up and self._flags.is_dir():
            path.touch(mode=0o644)
        elif not up:
            path.unlink(missing_ok=True)

    def addresses(self) -> list[str]:
        """Where it listens."""
        everywhere = ["0.0.0.0", "::"] if _has_ipv6() else ["0.0.0.0"]  # noqa: S104 - it is the door
        return self._settings.caddy.bind or everywhere

    def command(self, doors: Doors) -> Command:
        before = _lowered(self._identity) if self._identity is not None else ()
        run = (program(), "run", "--adapter", "caddyfile", "--config", str(self._caddyfile))
        return Command((*before, *run), env=self._environment(doors), cwd=self.folder)

    async def is_up(self) -> bool:
        """Whether it has taken its configuration, as its private socket tells."""
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_unix_connection(
                    f"/proc/self/fd/{folder}/{_SOCKET}"
                )
                writer.write(b"GET /config/ HTTP/1.0\r\nHost: localhost\r\n\r\n")
                answer = await reader.readline()
                writer.close()
        except (OSError, TimeoutError):
            return False
        finally:
            os.close(folder)
        return b" 200 " in answer

    async def reload(self, doors: Doors) -> None:
        """Have it read certificates and settings again; open connections stay."""
        command = Command(
            (
                *(program(), "reload", "--force", "--address", f"unix/{_SOCKET}"),
                *("--adapter", "caddyfile", "--config", str(self._caddyfile)),
            ),
            env=self._environment(doors),
            cwd=self.folder,
        )
        done = await process.run(command, timeout=_SECONDS)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["it said nothing"]
            raise ToolFailed(f"caddy did not take its new settings: {lines[-1][:300]}")

    async def touch(self, name: str) -> None:
        """Begin a connection as a browser does that wants this name."""
        address = self.addresses()[0]
        address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104
        port = self._settings.caddy.https_port
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_SECONDS):
                _, writer = await asyncio.open_connection(
                    address, port, ssl=context, server_hostname=name
                )
                writer.close()

    def _environment(self, doors: Doors) -> dict[str, str]:
        caddy, domain = self._settings.caddy, self._settings.server.domain
        issuer = effective_issuer(self._settings)
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder),
            "XDG_DATA_HOME": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder),
            "CADDY_ADMIN": f"unix/{_SOCKET}",
            "DOMAIN": domain,
            "DOMAIN_PATTERN": re.escape(domain),
            "PORT_SUFFIX": f":{doors.public_port}" if doors.public_port else "",
            "HTTP_PORT": str(caddy.http_port),
            "HTTPS_PORT": str(caddy.https_port),
            "BIND": " ".join(f"[{one}]" if ":" in one else one for one in self.addresses()),
            "SITE": doors.site,
            "FOSSIL": doors.fossil,
            "TLS_ASK": f"http://{doors.site}/internal/tls-ask",
            "CADDY_EMAIL": f'"{caddy.email}"',  # one word, also when there is none
            "CADDY_ISSUER": f"acme {issuer}" if "//" in issuer else issuer,
            "CERTIFICATES": "files" if caddy.certificate else "on_demand",
            "CERTIFICATE": str(self._files / "certificate.pem"),
            "CERTIFICATE_KEY": str(self._files / "key.pem"),
            "ROUTING": f"by_{self._settings.server.routing}",
            "STRICT": "strict" if caddy.hsts else "plain",
            "MAX_AGE": str(_YEAR),
            "FLAGS": str(self._flags),
            "SERVED": str(self._settings.served),
            "SERVED_NAME": "/{repo}.fossil",
            "MAX_PUSH": str(self._settings.limits.push),
            "MAX_UPLOAD": str(self._settings.limits.upload),
        }

    # Certificates

    def sources(self) -> tuple[Path, Path]:
        """The files that people keep: certificate and key."""
        caddy = self._settings.caddy
        return Path(caddy.certificate).expanduser(), Path(caddy.key).expanduser()

    def _put_certificate(self) -> None:
        """Copies that Caddy's account may read: certbot keeps its own for root."""
        certificate, key = self.sources()
        pem, secret = _read("caddy.certificate", certificate), _read("caddy.key", key)
        check_pair(pem, secret, certificate, key)
        for name, content in (("certificate.pem", pem), ("key.pem", secret)):
            target = self._files / name
            partial = target.with_suffix(".new")
            partial.unlink(missing_ok=True)
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
            give(partial, self._identity)
            partial.replace(target)

    def certificates(self) -> list[Certificate]:
        """Those in use, the one that ends first in front; what cannot be read is left out."""
        if self._settings.caddy.certificate:
            places: Iterator[Path] = iter([self._files / "certificate.pem"])
        else:
            places = (self.folder / "caddy" / "certificates").glob("*/*/*.crt")
        found = [one for path in places if (one := _certificate(path)) is not None]
        return sorted(found, key=lambda one: one.not_after)

    def has_certificate(self, name: str) -> bool:
        """Whether Caddy fetched one for the name, be it an old one."""
        return any((self.folder / "caddy" / "certificates").glob(f"*/{name}/{name}.crt"))


def check_pair(pem: bytes, secret: bytes, certificate: Path, key: Path) -> None:
    """ConfigError unless the first certificate of `pem` belongs to the key."""
    try:
        public = x509.load_pem_x509_certificates(pem)[0].public_key()
    except (ValueError, IndexError):
        raise _unusable("caddy.certificate", f"{certificate} is no certificate (PEM)") from None
    try:
        private = load_pem_private_key(secret, None)
    except (ValueError, TypeError):
        raise _unusable("caddy.key", f"{key} is no private key (PEM, no password)") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != public.public_bytes(*form):
        raise _unusable("caddy.key", f"{key} is not the key of {certificate}")


def listener(log: logging.Logger) -> Callable[[str], None]:
    """Takes Caddy's lines (JSON) into our log: its warnings and errors as such."""

    def feed(line: str) -> None:
        try:
            said = json.loads(line)
            level = _LEVELS.get(said["level"], logging.DEBUG)
            words = f"{said['msg']}: {said['error']}" if said.get("error") else str(said["msg"])
        except (ValueError, KeyError, TypeError, AttributeError):
            level, words = logging.DEBUG, line
        if any(known in words for known in _NO_NEWS):
            level = logging.DEBUG
        log.log(level, "Caddy: %s", words)

    return feed


def _has_ipv6() -> bool:
    try:
        with closing(socket.socket(socket.AF_INET6)) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def _lowered(identity: Identity) -> tuple[str, ...]:
    return (
        *("setpriv", f"--reuid={identity.uid}", f"--regid={identity.gid}", "--clear-groups"),
        *(f"--inh-caps={_POWER}", f"--ambient-caps={_POWER}", f"--bounding-set={_POWER}"),
        *("--no-new-privs", "--pdeathsig=KILL", "--"),
    )


def _read(key: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unusable(key, f"{path} cannot be read: {error.strerror}") from None


def _unusable(key: str, message: str) -> ConfigError:
    return ConfigError(
        f"configuration key {key}: {message}",
        hint="write the files of one certificate for the domain and *.domain",
        field=key,
    )


def _certificate(path: Path) -> Certificate | None:
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())[0]
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        issuers = found.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        issuers = issuers or found.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
        return Certificate(
            names=tuple(names.get_values_for_type(x509.DNSName)),
            issuer=str(issuers[0].value) if issuers else "",
            not_before=found.not_valid_before_utc,
            not_after=found.not_valid_after_utc,
        )
    except (OSError, ValueError, IndexError, x509.ExtensionNotFound):
        return None
