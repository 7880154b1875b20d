"""Settings: TOML file, then environment, then checks.

Owns every key, its default, its meaning and the words of its errors. Durations
and sizes are written as people write them (`90s`, `24h`, `2GiB`). Reads files
and the environment once, at start; nothing else in the program does.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationError,
    model_validator,
)

from fossilrepo.errors import ConfigError

ENV_PREFIX = "FOSSILREPO_"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


def parse_duration(value: object) -> float:
    """Seconds from `90s`, `15m`, `24h`, `30d`; ValueError otherwise."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a number and a unit: 90s, 15m, 24h or 30d")
    return float(match[1]) * _UNITS[match[2]]


def parse_size(value: object) -> int:
    """Bytes from `512MiB`, `2GiB`; ValueError otherwise."""
    match = re.fullmatch(r"(\d+)(B|[KMGT]iB)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a whole number and a unit: 512KiB, 200MiB or 2GiB")
    return int(match[1]) * _SIZES[match[2]]


def format_duration(seconds: float) -> str:
    """The shortest exact form that `parse_duration` reads."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{int(seconds // _UNITS[unit])}{unit}"
    return f"{seconds:g}s"


def format_size(size: int) -> str:
    """The shortest exact form that `parse_size` reads."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _SIZES[unit] == 0:
            return f"{size // _SIZES[unit]}{unit}"
    return f"{size}B"


def _share(value: object) -> object:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)%", value) if isinstance(value, str) else None
    if match is None or float(match[1]) > 90:
        raise ValueError("write a share of the disk between 0% and 90%, for example 10%")
    return float(match[1]) / 100


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise ValueError(f"{value!r} is no network; write 10.0.0.0/8 or a single address") from None


def _listen(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("write ADDRESS:PORT, for example 127.0.0.1:8000 (port 0: any free port)")
    return value


Duration = Annotated[float, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
Size = Annotated[int, BeforeValidator(parse_size), PlainSerializer(format_size)]
Share = Annotated[float, BeforeValidator(_share), PlainSerializer(lambda v: f"{v * 100:g}%")]
Network = Annotated[str, AfterValidator(_network)]
Listen = Annotated[str, AfterValidator(_listen)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Server(_Section):
    listen: Listen = "127.0.0.1:8000"
    domain: str = "localhost"
    public_url: str = ""
    trusted_proxies: list[Network] = ["127.0.0.0/8", "::1/128"]

    @model_validator(mode="after")
    def _coherent(self) -> Server:
        if not _DOMAIN.fullmatch(self.domain) or len(self.domain) > 180:
            raise ValueError("domain: write a lower-case host name without scheme or port")
        if self.public_url:
            url = urlsplit(self.public_url)
            if url.scheme not in ("http", "https") or not url.hostname or url.path not in ("", "/"):
                raise ValueError("public_url: write scheme and host only, like https://example.org")
            if url.hostname != self.domain:
                raise ValueError(
                    f"public_url: its host {url.hostname!r} is not server.domain {self.domain!r}"
                )
        return self


class FossilServer(_Section):
    listen: Listen = "127.0.0.1:8001"
    max_requests: int = Field(default=64, ge=1, le=10_000)


class Database(_Section):
    url: str = "sqlite"

    @model_validator(mode="after")
    def _known(self) -> Database:
        if self.url != "sqlite" and urlsplit(self.url).scheme not in ("postgresql", "postgres"):
            raise ValueError('url: write "sqlite" or postgresql://USER:PASSWORD@HOST/DATABASE')
        return self


class Backup(_Section):
    url: str = "file"
    endpoint: str = ""
    region: str = ""
    access_key_id: SecretStr = SecretStr("")
    secret_access_key: SecretStr = SecretStr("")
    sync_interval: Duration = 1.0
    snapshot_interval: Duration = 86400.0
    retention: Duration = 30 * 86400.0
    verify: Duration = 86400.0


class Caddy(_Section):
    enabled: bool = False
    email: str = ""


class Limits(_Section):
    repository: Size = 2 * 2**30
    upload: Size = 2 * 2**30
    push: Size = 2**30
    free_disk: Share = 0.10
    import_time: Duration = 6 * 3600.0


class Sync(_Section):
    workers: int = Field(default=2, ge=1, le=64)
    settle: Duration = 1.0
    allowed_networks: list[Network] = []


class Alerts(_Section):
    urls: list[SecretStr] = []
    ping_url: SecretStr = SecretStr("")


class Log(_Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Settings(_Section):
    """Everything that can be configured. Frozen; the paths below derive from `data_dir`."""

    data_dir: str = "./data"
    server: Server = Server()
    fossil: FossilServer = FossilServer()
    database: Database = Database()
    backup: Backup = Backup()
    caddy: Caddy = Caddy()
    limits: Limits = Limits()
    sync: Sync = Sync()
    alerts: Alerts = Alerts()
    log: Log = Log()

    @property
    def data(self) -> Path:
        return Path(self.data_dir).expanduser().absolute()

    @property
    def repos(self) -> Path:
        """Names for people, and Fossil's jail: everything below may be seen by Fossil."""
        return self.data / "repos"

    @property
    def store(self) -> Path:
        return self.repos / ".store"

    @property
    def served(self) -> Path:
        return self.repos / ".served"

    @property
    def run_dir(self) -> Path:
        return self.data / "run"

    @property
    def scratch(self) -> Path:
        """Files on their way in or out; emptied at start."""
        return self.data / "tmp"

    @property
    def incoming(self) -> Path:
        """Files that were dropped on a name already in use."""
        return self.data / "incoming"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def database_file(self) -> Path:
        return self.data / "fossilrepo.db"

    @property
    def key_file(self) -> Path:
        return self.data / "secret.key"

    @property
    def control_socket(self) -> Path:
        return self.run_dir / "control.sock"


def split_listen(value: str) -> tuple[str, int]:
    """(address, port) of an `ADDRESS:PORT` key; brackets of IPv6 are taken off."""
    host, _, port = value.rpartition(":")
    return host.strip("[]"), int(port)


def load(path: Path | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """Settings from the file (or the usual places) and the environment.

    Raises ConfigError, naming the key, for anything unknown, wrong or contradictory.
    """
    env = os.environ if env is None else env
    data = _read_file(_find_file(path, env))
    _overlay(data, env)
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        raise _explain(error) from None


def _find_file(path: Path | None, env: Mapping[str, str]) -> Path | None:
    if path is None and env.get("FOSSILREPO_CONFIG"):
        path = Path(env["FOSSILREPO_CONFIG"])
    if path is not None:
        if not path.is_file():
            raise ConfigError(f"configuration file {path} does not exist", field="--config")
        return path
    default = Path("config.toml")
    return default if default.is_file() else None


def _read_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def _overlay(data: dict[str, Any], env: Mapping[str, str]) -> None:
    """Put FOSSILREPO_SECTION__KEY over the file; types follow the key's own type."""
    for variable, text in env.items():
        if not variable.startswith(ENV_PREFIX) or variable == "FOSSILREPO_CONFIG":
            continue
        parts = variable[len(ENV_PREFIX) :].lower().split("__")
        if len(parts) > 2 or (len(parts) == 1 and parts[0] != "data_dir"):
            continue
        target = data
        if len(parts) == 2:
            section = data.setdefault(parts[0], {})
            if not isinstance(section, dict):
                raise ConfigError(f"{parts[0]} is a section, not a value", field=parts[0])
            target = section
        target[parts[-1]] = _from_env(parts, text)


def _from_env(parts: list[str], text: str) -> Any:
    model: type[BaseModel] = Settings
    for part in parts[:-1]:
        field = model.model_fields.get(part)
        if field is None or not isinstance(field.default, BaseModel):
            return text
        model = type(field.default)
    field = model.model_fields.get(parts[-1])
    default = field.default if field else ""
    if isinstance(default, bool):
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    if isinstance(default, int) and text.isdigit():
        return int(text)
    if isinstance(default, list):
        if text.startswith("["):
            try:
                return json.loads(text)
            except json.JSONDecodeError:
                return text
        return [item.strip() for item in text.split(",") if item.strip()]
    return text


def _explain(error: ValidationError) -> ConfigError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
    message = str(first["msg"]).removeprefix("Value error, ")
    named = re.match(r"([a-z_]+): (.*)", message, re.DOTALL)
    if first["type"] == "value_error" and named:
        key, message = f"{key}.{named[1]}".strip("."), named[2]
    if first["type"] == "extra_forbidden":
        message = "there is no such key"
        hint = "see config.example.toml for every key, or run `fossilrepo config show`"
    else:
        message = message[:1].lower() + message[1:]
        hint = f"correct {key} in the file or in {ENV_PREFIX}{key.upper().replace('.', '__')}"
    return ConfigError(f"configuration key {key}: {message}", hint=hint, field=key)


def masked(settings: Settings) -> dict[str, Any]:
    """The settings as plain data for people to see, secrets as `********`."""
    shown = settings.model_dump(mode="json")
    url = urlsplit(settings.database.url)
    if url.password:
        shown["database"]["url"] = settings.database.url.replace(f":{url.password}@", ":********@")
    return shown
