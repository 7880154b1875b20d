"""A checkout in small: the real `run` over a project that installs without a network.

Owns the stand-in project (its build back end lies in it and needs nothing) and the
PATH that the script sees: the machine's programs, without those that a test takes
away, and with package managers that only write down what they were asked.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

RUN = Path(__file__).parents[2] / "run"

_PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "fossilrepo"
version = "1"
"""

# PEP 660 in short: an editable wheel is a .pth file, the command and its metadata.
_BACKEND = """\
import os, pathlib, time, zipfile
INFO = "fossilrepo-1.dist-info"
def get_requires_for_build_editable(config_settings=None):
    return []
def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    here = pathlib.Path(__file__).parent
    with open(here / "builds", "a") as builds:
        builds.write("built\\n")
    while (here / "hold").exists():
        time.sleep(0.02)
    needs = (here / "needs").read_text() if (here / "needs").exists() else ""
    name = "fossilrepo-1-py3-none-any.whl"
    files = {
        "fossilrepo.pth": str(here),
        INFO + "/METADATA": "Metadata-Version: 2.1\\nName: fossilrepo\\nVersion: 1\\n"
            "Provides-Extra: dev\\n" + needs,
        INFO + "/WHEEL": "Wheel-Version: 1.0\\nGenerator: x\\n"
            "Root-Is-Purelib: true\\nTag: py3-none-any\\n",
        INFO + "/entry_points.txt": "[console_scripts]\\nfossilrepo = program:main\\n",
    }
    files[INFO + "/RECORD"] = "".join(f"{path},,\\n" for path in [*files, INFO + "/RECORD"])
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return name
"""

# Tells how it was started, then leaves with the code asked for, or waits for a signal.
_PROGRAM = """\
import json, os, signal, sys
def main():
    names = ("FOSSILREPO_CONFIG", "FOSSILREPO_DATA_DIR")
    told = {"pid": os.getpid(), "arguments": sys.argv[1:], "folder": os.getcwd()}
    told["environment"] = {name: os.environ[name] for name in names if name in os.environ}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(43))
    print(json.dumps(told), flush=True)
    if sys.argv[1] == "wait":
        while True:
            signal.pause()
    return int(sys.argv[2]) if sys.argv[1] == "exit" else 0
"""

_PYTEST = """\
import json, os, sys
print(json.dumps({"arguments": sys.argv[1:], "folder": os.getcwd()}))
"""


@dataclass(frozen=True)
class Checkout:
    """The folder of the stand-in project, and the PATH that its `run` sees."""

    folder: Path
    programs: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @classmethod
    def made(cls, folder: Path) -> Checkout:
        """A checkout where nothing was set up yet."""
        checkout = cls(folder / "a checkout", folder / "programs")
        checkout.folder.mkdir()
        shutil.copy(RUN, checkout.folder / "run")
        files = {
            "pyproject.toml": _PYPROJECT,
            "backend.py": _BACKEND,
            "program.py": _PROGRAM,
            "pytest.py": _PYTEST,
        }
        for name, text in files.items():
            (checkout.folder / name).write_text(text)
        checkout.programs.mkdir()
        checkout._link_programs()
        return checkout

    def without(self, *names: str) -> None:
        """Take programs off the PATH."""
        for name in names:
            (self.programs / name).unlink(missing_ok=True)

    def recorder(self, name: str, code: int = 0, then: str = "") -> None:
        """A program that writes down its arguments in the file `calls`."""
        self.without(name)
        program = self.programs / name
        calls = self.programs.parent / "calls"
        program.write_text(f'#!/bin/sh\necho "{name} $*" >>"{calls}"\n{then}\nexit {code}\n')
        program.chmod(0o755)

    def open_to_others(self) -> None:
        """Let other accounts read it; a test's folder is closed to them."""
        self.programs.parent.chmod(0o777)
        for parent in self.programs.parent.parents:
            if parent == Path(tempfile.gettempdir()):
                break
            parent.chmod(0o755)

    def calls(self) -> list[str]:
        """What the recorders were asked."""
        path = self.programs.parent / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def builds(self) -> int:
        """How often the project was installed."""
        path = self.folder / "builds"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def environment(self) -> dict[str, str]:
        return {
            "PATH": str(self.programs),
            "HOME": str(self.programs.parent),
            "LC_ALL": "C.UTF-8",
            "PIP_NO_INDEX": "1",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_ROOT_USER_ACTION": "ignore",
        }

    def start(
        self,
        *arguments: str,
        script: Path | None = None,
        folder: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """`run` with `arguments`, its two outputs as pipes."""
        process = subprocess.Popen(
            [str(script or self.folder / "run"), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder or self.folder,
            env={**self.environment(), **(environment or {})},
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """End what a failed test left running."""
        (self.folder / "hold").unlink(missing_ok=True)
        for process in self.started:
            process.kill()
            process.communicate(timeout=30)

    def run(
        self,
        *arguments: str,
        script: Path | None = None,
        folder: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """`run` with `arguments`, to its end."""
        process = self.start(*arguments, script=script, folder=folder, environment=environment)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def _link_programs(self) -> None:
        """Links to the machine's programs; those of root's work only write down."""
        for name in _seen_programs():
            found = shutil.which(name)
            if found:
                (self.programs / name).symlink_to(found)
        (self.programs / "python3").unlink(missing_ok=True)
        (self.programs / "python3").symlink_to(_python())
        account = self.programs.parent / "account"
        self.recorder("apt-get")
        self.recorder("useradd", then=f': >"{account}"')
        self.without("id")
        real = shutil.which("id")
        ours = self.programs / "id"
        ours.write_text(
            f'#!/bin/sh\ncase "$*" in *fossilrepo) test -e "{account}" ;;\n'
            f'*) exec {real} "$@" ;; esac\n'
        )
        ours.chmod(0o755)


def _python() -> str:
    """The Python below the tests' environment; another one where its folder is closed to us."""
    own = str(sys._base_executable)  # type: ignore[attr-defined]
    return own if os.access(own, os.X_OK) else "/usr/bin/python3"


def _seen_programs() -> Iterable[str]:
    shell = "sh env cat mv cp rm mkdir cksum dirname readlink sleep uname"
    return [
        *shell.split(),
        "fossil",
        "git",
        "setpriv",
        "unshare",
        "flock",
        "initdb",
        "chromium",
        "ssh",
        "sshd",
    ]
