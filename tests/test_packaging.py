"""What `pip install .` gives: the same command, with everything that belongs to it.

The wheel is built from the checkout and installed into an environment of its own,
which borrows the libraries of the tests' environment but not the checkout.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.poll import until_sync

CHECKOUT = Path(__file__).parents[1]
BUNDLED = ("templates", "static", "config.example.toml", "Caddyfile")


@dataclass(frozen=True)
class Installed:
    """An environment that has the wheel; `run` starts its programs far from the checkout."""

    folder: Path
    elsewhere: Path

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            cwd=self.elsewhere,
            env={"PATH": os.environ["PATH"], "HOME": str(self.elsewhere), "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def python(self, code: str) -> object:
        """What `code` printed as JSON."""
        done = self.run("python", "-c", code)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("fossilrepo", "pyproject.toml", "README.md", "LICENSE", *BUNDLED):
        if (CHECKOUT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(CHECKOUT / name, source / name, ignore=ignored)
        else:
            shutil.copy(CHECKOUT / name, source / name)
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = folder.glob("fossilrepo-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    environment = folder / "environment"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=60
    )
    target = environment / "lib" / Path(sysconfig.get_path("purelib")).parent.name / "site-packages"
    # Only the folder of libraries: its .pth files, the checkout's among them, do not count.
    (target / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin/python")]
    subprocess.run(
        [*pip, "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", str(wheel)],
        check=True,
        timeout=60,
    )
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    return Installed(environment, elsewhere)


def test_wheel_has_every_file_of_the_checkout(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in BUNDLED:
        path = CHECKOUT / name
        files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
        assert files, f"{name} is empty"
        missing = {f"fossilrepo/_data/{one.relative_to(CHECKOUT)}" for one in files} - names
        assert missing == set()
    assert not any(name.startswith(("tests/", "bench/")) for name in names)


def test_installed_package_is_the_wheels_and_finds_its_files(installed: Installed) -> None:
    found = installed.python(
        "import json, fossilrepo\n"
        "from fossilrepo import resources as r\n"
        "paths = [r.templates(), r.static(), r.example_config(), r.caddyfile()]\n"
        "print(json.dumps([str(path) for path in [fossilrepo.__file__, *paths]]))"
    )
    assert isinstance(found, list)
    assert [path for path in found if not Path(path).is_relative_to(installed.folder)] == []
    assert [Path(path).name for path in found[1:]] == list(BUNDLED)


def test_installed_templates_are_all_valid(installed: Installed) -> None:
    names = installed.python(
        "import json\n"
        "from jinja2 import Environment, FileSystemLoader\n"
        "from fossilrepo.resources import templates\n"
        "environment = Environment(loader=FileSystemLoader(templates()), autoescape=True)\n"
        "names = environment.list_templates()\n"
        "for name in names:\n"
        "    environment.parse(environment.loader.get_source(environment, name)[0])\n"
        "print(json.dumps(names))"
    )
    assert names == sorted(
        str(path.relative_to(CHECKOUT / "templates"))
        for path in (CHECKOUT / "templates").rglob("*")
        if path.is_file()
    )


def test_installed_command_checks_the_example_configuration(installed: Installed) -> None:
    example = installed.python(
        "import json\nfrom fossilrepo.resources import example_config\n"
        "print(json.dumps(str(example_config())))"
    )
    done = installed.run("fossilrepo", "config", "check", "--config", str(example))
    assert done.returncode == 0, done.stderr
    (installed.elsewhere / "wrong.toml").write_text("sever = 1\n")
    done = installed.run("fossilrepo", "config", "check", "--config", "wrong.toml")
    assert done.returncode == 2
    assert "sever" in done.stderr


def test_installed_command_says_its_version(installed: Installed, wheel: Path) -> None:
    done = installed.run("fossilrepo", "--version")
    assert done.returncode == 0, done.stderr
    assert wheel.name.split("-")[1] in done.stdout


def test_checkout_finds_its_own_files() -> None:
    from fossilrepo import resources

    assert resources.example_config() == CHECKOUT / "config.example.toml"
    assert resources.caddyfile() == CHECKOUT / "Caddyfile"
    with pytest.raises(FileNotFoundError, match="install fossilrepo again"):
        resources.resource("nothing-of-ours")


def test_installed_command_serves_the_site_with_its_style(installed: Installed) -> None:
    """From the wheel alone: a page is rendered, and the style sheet that it names is served."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [str(installed.folder / "bin" / "fossilrepo"), "serve"],
        cwd=installed.elsewhere,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(installed.elsewhere),
            "FOSSILREPO_SERVER__LISTEN": f"127.0.0.1:{port}",
            "FOSSILREPO_FOSSIL__LISTEN": "127.0.0.1:0",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        page = until_sync(lambda: _get(port, "/login"), timeout=30, what="a page")
        style = re.search(rb'href="(/static/[^"]+\.css)"', page)
        assert b"<!doctype html>" in page.lower() and style is not None
        assert b"{" in (_get(port, style[1].decode()) or b"")
    finally:
        server.terminate()
        output, _ = server.communicate(timeout=20)
    assert server.returncode == 0, output


def _get(port: int, path: str) -> bytes | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.read() if answer.status == 200 else None
    except OSError:
        return None
    finally:
        connection.close()
