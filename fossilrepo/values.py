"""How values are written in the configuration: durations, sizes, addresses, URLs.

Owns the two-way reading of `90s` and `2GiB`, the checks of single values with
their words for people, and the types that the keys of `config` have. Knows no
key, file or environment.
"""

from __future__ import annotations

import ipaddress
import re
from decimal import Decimal
from typing import Annotated, TypeVar
from urllib.parse import SplitResult, urlsplit, urlunsplit

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,24})?)([smhd])")
_SIZE = re.compile(r"([0-9]{1,18})(B|[KMGT]iB)")
_LISTEN = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|[A-Za-z0-9.-]+):(?P<port>[0-9]{1,5})")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_MASK = "**********"

Number = TypeVar("Number", int, float)


def parse_duration(value: object) -> float:
    """Seconds from `90s`, `15m`, `24h`, `30d`; ValueError otherwise."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a number and a unit: 90s, 15m, 24h or 30d")
    return float(match[1]) * _UNITS[match[2]]


def parse_size(value: object) -> int:
    """Bytes from `512MiB`, `2GiB`; ValueError otherwise."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a whole number and a unit: 512KiB, 200MiB or 2GiB")
    return int(match[1]) * _SIZES[match[2]]


def format_duration(seconds: float) -> str:
    """The shortest exact form that `parse_duration` reads."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{int(seconds // _UNITS[unit])}{unit}"
    if seconds == int(seconds):
        return f"{int(seconds)}s"
    return f"{Decimal(repr(float(seconds))):f}s"


def format_size(size: int) -> str:
    """The shortest exact form that `parse_size` reads."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _SIZES[unit] == 0:
            return f"{size // _SIZES[unit]}{unit}"
    return f"{size}B"


def _share(value: object) -> float:
    match = (
        re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%", value) if isinstance(value, str) else None
    )
    if match is None or float(match[1]) > 90:
        raise ValueError("write a share of the disk between 0% and 90%, for example 10%")
    return float(match[1]) / 100


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise ValueError(f"{value!r} is no network; write 10.0.0.0/8 or a single address") from None


def _listen(value: str) -> str:
    match = _LISTEN.fullmatch(value)
    if match is None or int(match["port"]) > 65535:
        raise ValueError("write ADDRESS:PORT, for example 127.0.0.1:8000 (port 0: any free port)")
    if match["six"] is not None:
        try:
            ipaddress.IPv6Address(match["six"])
        except ValueError:
            raise ValueError(f"{match['six']!r} is no IPv6 address; write [::1]:8000") from None
    return value


def _loopback(value: str) -> str:
    host, _ = split_listen(value)
    if not is_loopback(host):
        raise ValueError(
            f"{host} is reachable from other machines, and Fossil must only be reached through "
            "server.listen; write a loopback address like 127.0.0.1:8001"
        )
    return value


def _domain(value: str) -> str:
    if not _DOMAIN.fullmatch(value) or len(value) > 180:
        raise ValueError("write a lower-case host name without scheme or port, like example.org")
    return value


def _public_url(value: str) -> str:
    if not value:
        return value
    url = _split(value)
    plain = url is not None and url.path in ("", "/") and not (url.query or url.fragment)
    if not url or not plain or url.scheme not in ("http", "https") or "@" in url.netloc:
        raise ValueError("write scheme and host only, like https://example.org")
    return value.rstrip("/")


def _database_url(value: str) -> str:
    if value == "sqlite":
        return value
    url = _split(value)
    if url is None or url.scheme not in ("postgresql", "postgres") or len(url.path) < 2:
        raise ValueError('write "sqlite" or postgresql://USER:PASSWORD@HOST/DATABASE')
    return value


def _backup_url(value: str) -> str:
    url = _split(value)
    is_file = url is not None and url.scheme == "file" and not url.netloc and len(url.path) > 1
    is_bucket = url is not None and url.scheme == "s3" and bool(url.hostname) and "@" not in value
    if value != "file" and not is_file and not is_bucket:
        raise ValueError('write "file", file:///FOLDER or s3://BUCKET/PREFIX')
    return value


def _endpoint(value: str) -> str:
    url = _split(value)
    if value and (not url or url.scheme not in ("http", "https") or "@" in value):
        raise ValueError("write scheme and host of the S3 server, like https://s3.example.org")
    return value


def _split(value: str) -> SplitResult | None:
    """The parts of a URL, or None when it is none or its port is none."""
    try:
        url = urlsplit(value)
        _ = url.port
    except ValueError:
        return None
    return url if url.hostname or url.scheme in ("file", "postgresql", "postgres") else None


def _folder(value: str) -> str:
    if not value.strip() or "\0" in value:
        raise ValueError("write the path of a folder, for example ./data")
    return value


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(f"{value!r} is no address; write 192.0.2.1 or 2001:db8::1") from None


def _issuer(value: str) -> str:
    url = _split(value)
    is_directory = url is not None and url.scheme == "https" and not set(value) & set(' {}"`\n')
    if value not in ("auto", "acme", "internal") and not is_directory:
        raise ValueError('write "auto", "acme", "internal", or the https:// address of a directory')
    return value


def is_loopback(host: str) -> bool:
    """Whether the host of a `listen` key is this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def split_listen(value: str) -> tuple[str, int]:
    """(address, port) of an `ADDRESS:PORT` key; brackets of IPv6 are taken off."""
    host, _, port = value.rpartition(":")
    return host.strip("[]"), int(port)


def _above_zero(value: Number, what: str) -> Number:
    if value <= 0:
        raise ValueError(f"the {what} must be more than zero")
    return value


def mask_url(value: str) -> str:
    """`value` without its password, which PostgreSQL takes before the host or in the query."""
    url = urlsplit(value)
    account, at, host = url.netloc.rpartition("@")
    user, colon, _ = account.partition(":")
    netloc = f"{user}{colon}{_MASK}{at}{host}" if colon else url.netloc
    query = re.sub(r"(?i)(^|&)((?:ssl)?password)=[^&]*", rf"\1\2={_MASK}", url.query)
    if (netloc, query) == (url.netloc, url.query):
        return value
    return urlunsplit(url._replace(netloc=netloc, query=query))


Duration = Annotated[float, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
Period = Annotated[Duration, AfterValidator(lambda v: _above_zero(v, "duration"))]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    AfterValidator(lambda v: _above_zero(v, "size")),
    PlainSerializer(format_size),
]
Share = Annotated[float, BeforeValidator(_share), PlainSerializer(lambda v: f"{v * 100:g}%")]
Network = Annotated[str, AfterValidator(_network)]
Address = Annotated[str, AfterValidator(_address)]
Issuer = Annotated[str, AfterValidator(_issuer)]
Listen = Annotated[str, AfterValidator(_listen)]
Domain = Annotated[str, AfterValidator(_domain)]
Loopback = Annotated[Listen, AfterValidator(_loopback)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
BackupUrl = Annotated[str, AfterValidator(_backup_url)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
Folder = Annotated[str, AfterValidator(_folder)]
