"""`setup` and `service`: from nothing to a host on a domain that starts at boot."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from fossilrepo.config import load
from fossilrepo.errors import InvalidInput
from fossilrepo.services import system_service
from fossilrepo.services.name_checks import look_up, own_addresses
from fossilrepo.services.system_service import Plan
from tests.helpers.command import Command, Outcome
from tests.helpers.forks import ROOT
from tests.helpers.host import Host


def setup(command: Command, *more: str) -> Outcome:
    given = ("--domain", "code.test", "--email", "ada@example.org", *more)
    return command.run("setup", *given)


def test_nothing_is_written_while_the_names_lead_nowhere(fresh: Command) -> None:
    file = fresh.folder / "config.toml"
    file.unlink(missing_ok=True)
    done = setup(fresh)
    assert done.code == 1
    assert "*.code.test is not known to the name servers" in done.out
    assert "2 of these must be right" in done.err
    assert not [path for path in fresh.folder.iterdir() if "config" in path.name]


def test_what_it_writes_is_a_configuration_with_caddy(fresh: Command) -> None:
    file = fresh.folder / "config.toml"
    file.unlink(missing_ok=True)
    told = setup(fresh, "--yes", "--json", "--data-dir", "/srv/x").json
    assert told["url"] == "https://code.test/" and told["data_dir"] == "/srv/x"
    assert [one["name"] for one in told["checks"]][:2] == ["domain", "wildcard"]
    settings = load(file, {})
    assert (settings.server.domain, settings.caddy.enabled) == ("code.test", True)
    assert settings.caddy.email == "ada@example.org"
    before = file.read_text()
    assert "there is a configuration already" in setup(fresh, "--yes").refusal(1)
    assert file.read_text() == before
    fresh("setup", "--domain", "other.test", "--yes", "--replace")
    assert load(file, {}).server.domain == "other.test"
    assert file.with_name("config.toml.before").read_text() == before


def test_repositories_below_the_apex_need_no_wildcard(fresh: Command) -> None:
    file = fresh.folder / "config.toml"
    file.unlink(missing_ok=True)
    told = setup(fresh, "--yes", "--json", "--routing", "path").json
    assert "wildcard" not in [one["name"] for one in told["checks"]]
    assert load(file, {}).server.routing == "path"
    assert "'path'" in fresh.run("setup", "--routing", "other").refusal(2)


@pytest.mark.parametrize("wrong", ["Not A Name", "https://x.org", 'a"b.org', "x" * 300])
def test_a_domain_that_is_none_is_refused(fresh: Command, wrong: str) -> None:
    file = fresh.folder / "config.toml"
    file.unlink(missing_ok=True)
    assert "server.domain" in fresh.run("setup", "--domain", wrong, "--yes").refusal(2)
    assert not file.exists()


async def test_names_and_addresses_are_asked_of_the_system() -> None:
    assert await look_up("localhost") & own_addresses()
    assert await look_up("no-such-name.invalid") == frozenset()


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    config = tmp_path / "config.toml"
    config.write_text(f'data_dir = "{tmp_path}/data"\n[caddy]\nenabled = true\n')
    return Plan(load(config, {}), config)


def test_the_unit_is_one_that_systemd_takes(plan: Plan, tmp_path: Path) -> None:
    unit = plan.unit()
    assert "{{" not in unit
    assert f"ReadWritePaths={plan.settings.data}\n" in unit
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE\n" in unit
    file = tmp_path / "fossilrepo.service"
    file.write_text(unit)
    analyze = shutil.which("systemd-analyze")
    assert analyze, "the package systemd is missing; `./run test` installs it"
    done = subprocess.run([analyze, "verify", str(file)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    plain = load(None, {"FOSSILREPO_BACKUP__URL": "file:///mnt/other", "FOSSILREPO_DATA_DIR": "/d"})
    unit = Plan(plain, plan.config).unit()
    assert "AmbientCapabilities=\n" in unit, "nothing of root's without ports below 1024"
    assert "ReadWritePaths=/d /mnt/other\n" in unit


def test_what_would_not_start_is_refused_before_anything_is_written(plan: Plan) -> None:
    with pytest.raises(InvalidInput, match="cannot get as far as"):  # pytest's folders are closed
        system_service.check(plan)
    plan.config.unlink()
    with pytest.raises(InvalidInput, match="there is no configuration"):
        system_service.check(plan)


def test_service_says_why_it_cannot(fresh: Command) -> None:
    assert "ExecStart=" in fresh("service", "show").out
    for verb in ("install", "remove"):
        done = fresh.run("service", verb, "--yes")
        assert done.code in (1, 2) and "hint: " in done.err, done
    assert not system_service.UNIT.exists()


def test_systemd_hears_that_the_host_is_ready_and_stops(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(address)
        channel.settimeout(30)
        environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"}
        host = Host(tmp_path / "data", environment)
        host.launch()
        try:
            heard = [channel.recv(100) for _ in range(3)]
            assert sorted(set(heard)) == [b"READY=1", b"WATCHDOG=1"]
        finally:
            host.stop()
        while channel.recv(100) != b"STOPPING=1":  # fails when it is never said
            pass


def test_the_container_and_its_compose_file_name_what_exists() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    for name in ("fossil", "git", "openssh-client", "HEALTHCHECK", "FOSSILREPO_DATA_DIR=/data"):
        assert name in dockerfile
    for line in dockerfile.splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), source
