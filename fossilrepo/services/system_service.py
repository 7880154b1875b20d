"""fossilrepo as a service of systemd: an account, a unit, and their removal.

Owns what the service is given and what is looked at before anything is written. Works without a
database: it is called before there is one, and as root.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from fossilrepo import resources
from fossilrepo.config import Settings
from fossilrepo.errors import Conflict, Forbidden, InvalidInput, ToolFailed, Unavailable
from fossilrepo.runtime import process
from fossilrepo.runtime.process import Command

UNIT = Path("/etc/systemd/system/fossilrepo.service")
SECRETS = Path("/etc/fossilrepo/environment")
_RUNNING = Path("/run/systemd/system")
_SECONDS = 120.0
_ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What the unit says: who runs which program on which configuration."""

    settings: Settings
    config: Path
    account: str = "fossilrepo"

    @property
    def program(self) -> Path:
        return Path(sys.executable).with_name("fossilrepo")

    def unit(self) -> str:
        """The text of the unit."""
        caddy, data = self.settings.caddy, self.settings.data
        low = caddy.enabled and min(caddy.http_port, caddy.https_port) < 1024
        writable = [data, *self.replica()]
        paths = (self.program.resolve(), data, self.config)
        at_home = any(path.is_relative_to(home) for path in paths for home in _homes())
        values = {
            "documents": resources.resource("README.md") if _has("README.md") else "",
            "account": self.account,
            "config": self.config,
            "secrets": SECRETS,
            "program": self.program,
            "data": data,
            "capabilities": "CAP_NET_BIND_SERVICE" if low else "",
            "writable": " ".join(map(str, writable)),
            "home": "read-only" if at_home else "yes",
        }
        text = (resources.templates() / "fossilrepo.service").read_text()
        if not values["documents"]:
            text = text.replace("Documentation=file:{{documents}}\n", "")
        for name, value in values.items():
            text = text.replace(f"{{{{{name}}}}}", str(value))
        return text

    def replica(self) -> list[Path]:
        """A folder outside the data where replicas go."""
        url = self.settings.backup.url
        return [Path(url.removeprefix("file://"))] if url.startswith("file://") else []


def check(plan: Plan) -> None:
    """Everything that would keep the service from starting; raises what a person can mend."""
    for path in (plan.program, plan.config, plan.settings.data):
        if set(str(path)) & set(" \t\n%\"'\\"):
            raise InvalidInput(
                f"{str(path)!r} cannot stand in a unit of systemd",
                hint="use a path without spaces, quotes and percent signs",
            )
    if not plan.config.is_file():
        raise InvalidInput(
            f"there is no configuration {plan.config}", hint="write it first: `fossilrepo setup`"
        )
    if not os.access(plan.program, os.X_OK):
        raise InvalidInput(f"{plan.program} is missing", hint="install fossilrepo with its `./run`")
    caddy = plan.settings.caddy
    ours = [Path(one).expanduser() for one in (caddy.certificate, caddy.key) if one]
    for path in (plan.program.resolve(), plan.config, *ours):
        _must_be_open(path, plan.account)


async def install(plan: Plan) -> list[str]:
    """Make account and unit, and start the service; what was done, a line each.

    Forbidden unless root; Unavailable where systemd does not run.
    """
    await asyncio.to_thread(_refuse, plan)
    done = []
    if not _exists(plan.account):
        await _do("useradd", *_new_account(plan.account))
        done.append(f"made the account {plan.account}")
    await asyncio.to_thread(_write, plan)
    done += [f"{plan.settings.data} belongs to {plan.account}", f"wrote {UNIT}"]
    await _do("systemctl", "daemon-reload")
    await _do("systemctl", "enable", UNIT.name)
    await _do("systemctl", "restart", UNIT.name)
    done.append("started it; `systemctl status fossilrepo` tells of it, `journalctl -u fossilrepo`")
    return done


async def remove() -> list[str]:
    """Stop the service and take its unit away; data, configuration and account stay."""
    runs = await asyncio.to_thread(_is_installed)
    if runs:
        await _do("systemctl", "disable", "--now", UNIT.name)
    os.unlink(UNIT)
    if runs:
        await _do("systemctl", "daemon-reload")
    return [f"took {UNIT} away; data, configuration and account are as they were"]


def _refuse(plan: Plan) -> None:
    _must_be_root("install")
    check(plan)
    if not _RUNNING.is_dir():
        raise Unavailable(
            "systemd does not run this machine",
            hint="`fossilrepo service show` prints the unit; let your init system run the same",
        )
    if UNIT.exists() and "fossilrepo service install" not in UNIT.read_text():
        raise Conflict(f"{UNIT} is somebody else's", hint="move it away first")


def _is_installed() -> bool:
    """Whether systemd runs; Conflict when there is no unit of ours."""
    _must_be_root("remove")
    if not UNIT.exists():
        raise Conflict("the service is not installed", hint="`fossilrepo service install` does it")
    return _RUNNING.is_dir()


def _write(plan: Plan) -> None:
    _hand_over(plan)
    UNIT.write_text(plan.unit())
    UNIT.chmod(0o644)


def _must_be_root(verb: str) -> None:
    if os.geteuid() != 0:
        raise Forbidden(
            "only root may change the services of this machine",
            hint=f"`sudo ./run service {verb}`, from a package `sudo fossilrepo service {verb}`",
        )


def _must_be_open(path: Path, account: str) -> None:
    """InvalidInput when another account than root's cannot read it."""
    if not path.exists():
        raise InvalidInput(f"{path} is not there", hint="correct the configuration")
    for part in (*reversed(path.parents), path):
        mode = part.stat().st_mode
        wanted = stat.S_IROTH if part == path else stat.S_IXOTH
        owner = _owner_of(part)
        if not mode & wanted and owner != account and not _in_group(part, account, mode):
            raise InvalidInput(
                f"the account {account} cannot get as far as {part}",
                hint="move the checkout and its configuration to a place like /opt/fossilrepo, or "
                f"let the account in: `chgrp {account} {part}` and `chmod g+rx {part}`",
            )


def _in_group(path: Path, account: str, mode: int) -> bool:
    try:
        group = pwd.getpwnam(account).pw_gid
    except KeyError:
        return False
    return path.stat().st_gid == group and bool(mode & (stat.S_IXGRP | stat.S_IRGRP))


def _owner_of(path: Path) -> str:
    try:
        return pwd.getpwuid(path.stat().st_uid).pw_name
    except KeyError:
        return ""


def _hand_over(plan: Plan) -> None:
    """The data is the account's, so that nothing of it has to run as root."""
    entry, data = pwd.getpwnam(plan.account), plan.settings.data
    data.mkdir(mode=0o711, parents=True, exist_ok=True)
    for place in plan.replica():  # one that is there already is somebody's, and stays theirs
        if not place.exists():
            place.mkdir(mode=0o700, parents=True)
            os.chown(place, entry.pw_uid, entry.pw_gid)
    for folder, _, names in os.walk(data):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)


def _new_account(account: str) -> tuple[str, ...]:
    return (
        *("--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"),
        *("--shell", "/usr/sbin/nologin", account),
    )


def _exists(account: str) -> bool:
    try:
        pwd.getpwnam(account)
    except KeyError:
        return False
    return True


def _homes() -> tuple[Path, ...]:
    return (Path("/home"), Path("/root"))


def _has(name: str) -> bool:
    try:
        resources.resource(name)
    except FileNotFoundError:
        return False
    return True


async def _do(program: str, *arguments: str) -> None:
    found = shutil.which(program, path=_ENV["PATH"])
    if found is None:
        raise ToolFailed(f"{program} is not installed")
    done = await process.run(Command((found, *arguments), env=_ENV), timeout=_SECONDS)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise ToolFailed(f"{program} {arguments[0]} failed: {lines[-1][:300]}")
