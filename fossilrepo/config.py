"""Settings: TOML file, then environment, then checks.

Owns every key, its default, its meaning and the words of its errors. Durations
and sizes are written as people write them (`90s`, `24h`, `2GiB`). Reads files
and the environment once, at start; nothing else in the program does. Secrets
never appear in its errors, nor in what `masked` gives.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo

from fossilrepo.errors import ConfigError
from fossilrepo.values import (
    Address,
    BackupUrl,
    DatabaseUrl,
    Domain,
    Duration,
    Endpoint,
    Folder,
    Issuer,
    Listen,
    Loopback,
    Network,
    Period,
    PublicUrl,
    Share,
    Size,
    format_duration,
    format_size,
    is_loopback,
    mask_url,
    parse_duration,
    parse_size,
    split_listen,
)

__all__ = [
    "CONFIG_VARIABLE",
    "Settings",
    "correct",
    "effective_issuer",
    "effective_retention",
    "format_duration",
    "format_size",
    "load",
    "masked",
    "parse_duration",
    "parse_size",
    "split_listen",
]

ENV_PREFIX = "FOSSILREPO_"
CONFIG_VARIABLE = "FOSSILREPO_CONFIG"
_SAME_DISK_RETENTION = 7 * 86400.0
_MAIL_HOST = re.compile(r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]")
_MAIL_SENDER = re.compile(
    r"[^\s<>@,;:]+@[A-Za-z0-9.-]+|[^\r\n<>@,;:]+ <[^\s<>@,;:]+@[A-Za-z0-9.-]+>"
)
_THIS_MACHINE = ("localhost", "127.0.0.1", "[::1]")
_LIST = "see config.example.toml for every key, or run `fossilrepo config show`"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Server(_Section):
    listen: Listen = "127.0.0.1:8000"
    domain: Domain = "localhost"
    public_url: PublicUrl = ""
    routing: Literal["host", "path"] = "host"
    trusted_proxies: list[Network] = ["127.0.0.0/8", "::1/128"]

    @model_validator(mode="after")
    def _coherent(self) -> Server:
        host = urlsplit(self.public_url).hostname
        if self.public_url and host != self.domain:
            raise ValueError(
                f"public_url: its host {host!r} is not server.domain {self.domain!r}; "
                "write the same name in both"
            )
        return self


class FossilServer(_Section):
    listen: Loopback = "127.0.0.1:8001"
    max_requests: int = Field(default=64, ge=1, le=10_000)


class Database(_Section):
    url: DatabaseUrl = "sqlite"


class Backup(_Section):
    """Keys of S3 are no settings: `credentials` reads them from `credentials_file` or AWS_…."""

    url: BackupUrl = "file"
    endpoint: Endpoint = ""
    region: str = ""
    credentials_file: str = ""
    sync_interval: Period = 1.0
    snapshot_interval: Period = 86400.0
    retention: Period = 30 * 86400.0
    verify: Period = 86400.0

    @model_validator(mode="after")
    def _coherent(self) -> Backup:
        for key in ("endpoint", "region", "credentials_file"):
            if getattr(self, key) and not self.url.startswith("s3://"):
                raise ValueError(f"{key}: only used with S3; set backup.url to s3://BUCKET/PREFIX")
        if self.retention < self.snapshot_interval:
            raise ValueError(
                f"retention: {format_duration(self.retention)} is shorter than "
                f"backup.snapshot_interval ({format_duration(self.snapshot_interval)}), so nothing "
                "could be restored; write a longer one"
            )
        return self


class Caddy(_Section):
    enabled: bool = False
    email: str = ""
    bind: list[Address] = []
    http_port: int = Field(default=80, ge=1, le=65535)
    https_port: int = Field(default=443, ge=1, le=65535)
    issuer: Issuer = "auto"
    certificate: str = ""
    key: str = ""
    hsts: bool = False

    @model_validator(mode="after")
    def _coherent(self) -> Caddy:
        if bool(self.certificate) != bool(self.key):
            missing = "key" if self.certificate else "certificate"
            raise ValueError(f"{missing}: certificate and key belong together; write both")
        if not re.fullmatch(r"([^\s<>@\"{}]+@[A-Za-z0-9.-]+)?", self.email):
            raise ValueError("email: write one address, like ada@example.org")
        if self.http_port == self.https_port:
            raise ValueError(f"https_port: {self.https_port} is caddy.http_port too")
        return self


class Limits(_Section):
    repository: Size = 2 * 2**30
    upload: Size = 2 * 2**30
    push: Size = 2**30
    free_disk: Share = 0.10
    import_time: Period = 6 * 3600.0


class Sync(_Section):
    workers: int = Field(default=2, ge=1, le=64)
    settle: Duration = 1.0
    job_time: Period = 2 * 3600.0
    allowed_networks: list[Network] = []


class Alerts(_Section):
    urls: list[SecretStr] = []
    ping_url: SecretStr = SecretStr("")


class Mail(_Section):
    """The password is here, in the environment or in `password_file`; see `credentials`."""

    server: str = ""
    security: Literal["starttls", "tls", "none"] = "starttls"
    sender: str = ""
    user: str = ""
    password: SecretStr = SecretStr("")
    password_file: str = ""

    @model_validator(mode="after")
    def _coherent(self) -> Mail:
        host, _, port = self.server.rpartition(":")
        named = _MAIL_HOST.fullmatch(host) and port.isascii() and port.isdigit()
        if self.server and not (named and 1 <= int(port[:6]) <= 65535):
            raise ValueError("server: write HOST:PORT, for example mail.example.org:587")
        if self.server and not _MAIL_SENDER.fullmatch(self.sender):
            raise ValueError("sender: write the address that mail comes from: fossil@example.org")
        if self.password.get_secret_value() and self.password_file:
            raise ValueError("password_file: there is mail.password too; write one of the two")
        if self.user and self.security == "none" and host not in _THIS_MACHINE:
            raise ValueError(
                "security: with none the password would cross the network in clear text; "
                "write starttls or tls"
            )
        return self


class Log(_Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    slow: Period = 2.0


class Settings(_Section):
    """Everything that can be configured. Frozen; the paths below derive from `data_dir`."""

    data_dir: Folder = "./data"
    server: Server = Server()
    fossil: FossilServer = FossilServer()
    database: Database = Database()
    backup: Backup = Backup()
    caddy: Caddy = Caddy()
    limits: Limits = Limits()
    sync: Sync = Sync()
    alerts: Alerts = Alerts()
    mail: Mail = Mail()
    log: Log = Log()

    @model_validator(mode="after")
    def _coherent(self) -> Settings:
        if self.server.listen == self.fossil.listen and split_listen(self.server.listen)[1]:
            raise ValueError(
                f"fossil.listen: {self.fossil.listen} is server.listen too; write another port"
            )
        if self.caddy.enabled:
            self._behind_caddy()
        return self

    def _behind_caddy(self) -> None:
        """What Caddy needs of the other sections; ValueError for what contradicts."""
        if not is_loopback(split_listen(self.server.listen)[0]):
            raise ValueError(
                f"server.listen: {self.server.listen} would stand open beside Caddy; "
                "write 127.0.0.1:8000"
            )
        if self.server.public_url.startswith("http:"):
            raise ValueError("server.public_url: with caddy.enabled it begins with https://")

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
    def litestream_state(self) -> Path:
        """Litestream's own files, a folder for each target."""
        return self.data / "litestream"

    @property
    def undo(self) -> Path:
        """Repositories as they were before an in-place restore."""
        return self.data / "undo"

    @property
    def git(self) -> Path:
        """The Git exports of repositories that have mirrors."""
        return self.data / "git"

    @property
    def mirrors(self) -> Path:
        """Git repositories of mirrors to `folder:NAME.git`."""
        return self.data / "mirrors"

    @property
    def control_socket(self) -> Path:
        return self.run_dir / "control.sock"


def load(path: Path | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """Settings from the file (or the usual places) and the environment.

    Raises ConfigError, naming the key, for anything unknown, wrong or contradictory.
    """
    env = os.environ if env is None else env
    file = _find_file(path, env)
    data = _read_file(file)
    _anchor(data, file)
    _overlay(data, env)
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        raise _explain(error) from None


def effective_retention(settings: Settings) -> float:
    """Seconds that the replica reaches back.

    `backup.retention`; a week when that was not written and the replica lies in the data
    folder, because a month of daily copies would fill the disk of the repositories.
    """
    backup = settings.backup
    if backup.url == "file" and "retention" not in backup.model_fields_set:
        return max(_SAME_DISK_RETENTION, backup.snapshot_interval)
    return backup.retention


def effective_issuer(settings: Settings) -> str:
    """`caddy.issuer`, and what "auto" comes to: for names that nobody certifies, Caddy itself."""
    domain, issuer = settings.server.domain, settings.caddy.issuer
    if issuer != "auto":
        return issuer
    is_public = "." in domain and not domain.endswith((".localhost", ".local", ".internal"))
    return "acme" if is_public else "internal"


def _find_file(path: Path | None, env: Mapping[str, str]) -> Path | None:
    origin = "--config"
    if path is None and env.get(CONFIG_VARIABLE):
        path, origin = Path(env[CONFIG_VARIABLE]), CONFIG_VARIABLE
    if path is not None:
        if not path.is_file():
            raise ConfigError(
                f"configuration file {path} does not exist",
                hint=f"correct {origin}, or copy config.example.toml there",
                field=origin,
            )
        return path
    default = Path("config.toml")
    return default if default.is_file() else None


def _read_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        hint = 'the file is TOML: text in "quotes", sections as [server]'
        raise ConfigError(f"{path} is not valid TOML: {error}", hint=hint) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None


def _anchor(data: dict[str, Any], file: Path | None) -> None:
    """A relative `data_dir` in a file lies beside the file, wherever the command is started."""
    folder = data.get("data_dir")
    if file is None or not isinstance(folder, str) or not folder or folder.startswith("~"):
        return
    beside = file.absolute().parent
    if beside != Path.cwd() and not Path(folder).is_absolute():
        data["data_dir"] = str(beside / folder)


def _overlay(data: dict[str, Any], env: Mapping[str, str]) -> None:
    """Put FOSSILREPO_SECTION__KEY over the file; types follow the key's own type."""
    for variable, text in sorted(env.items()):
        if not variable.startswith(ENV_PREFIX) or variable == CONFIG_VARIABLE:
            continue
        parts = variable.removeprefix(ENV_PREFIX).lower().split("__")
        key = _key_field(parts)
        if key is None:
            raise ConfigError(
                f"environment variable {variable}: there is no configuration key {'.'.join(parts)}",
                hint=f"{_LIST}; the form is {ENV_PREFIX}SECTION__KEY",
                field=variable,
            )
        target = data
        if len(parts) == 2:
            target = data.setdefault(parts[0], {})
            if not isinstance(target, dict):
                return  # the check of the whole says so
        target[parts[-1]] = _from_env(key.default, text)


def _key_field(parts: list[str]) -> FieldInfo | None:
    """The field of `[section, key]` or `[key]`; None when there is no such key."""
    model: type[BaseModel] = Settings
    for part in parts[:-1]:
        section = model.model_fields.get(part)
        if section is None or not isinstance(section.default, BaseModel):
            return None
        model = type(section.default)
    key = model.model_fields.get(parts[-1])
    return None if key is None or isinstance(key.default, BaseModel) else key


def _from_env(default: object, text: str) -> object:
    if isinstance(default, bool):
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    if isinstance(default, int) and re.fullmatch(r"-?[0-9]{1,9}", text):
        return int(text)
    if isinstance(default, list):
        if text.lstrip().startswith("["):
            try:
                return json.loads(text)
            except json.JSONDecodeError:
                return text
        return [item.strip() for item in text.split(",") if item.strip()]
    return text


def _explain(error: ValidationError) -> ConfigError:
    first = error.errors(include_input=False, include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
    kind, message = first["type"], str(first["msg"]).removeprefix("Value error, ")
    named = re.match(r"([a-z_.]+): (.*)", message, re.DOTALL)
    if kind == "value_error" and named:
        key, message = f"{key}.{named[1]}".strip("."), named[2]
    hint = correct(key)
    if kind == "extra_forbidden":
        message, hint = "there is no such key", _LIST
    elif kind == "model_type":
        message, hint = "is a section, not a value", f"write [{key}] and its keys below it"
    message = message[:1].lower() + message[1:]
    return ConfigError(f"configuration key {key}: {message}", hint=hint, field=key)


def correct(key: str) -> str:
    """The hint for a key that is wrong."""
    return f"correct {key} in the file or in {ENV_PREFIX}{key.upper().replace('.', '__')}"


def masked(settings: Settings) -> dict[str, Any]:
    """The settings as plain data for people to see, secrets as asterisks."""
    shown = settings.model_dump(mode="json")
    shown["database"]["url"] = mask_url(settings.database.url)
    return shown
