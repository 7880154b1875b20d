"""Ports that the host needs: free before it runs, answering while it runs, and told when not."""

from __future__ import annotations

import socket

from fossilrepo.config import Caddy, FossilServer, Server, Settings
from fossilrepo.services.port_checks import ports, wanted
from tests.helpers.jailed import free_port


def with_ports(settings: Settings, site: int, fossil: int) -> Settings:
    return settings.model_copy(
        update={
            "server": Server(listen=f"127.0.0.1:{site}"),
            "fossil": FossilServer(listen=f"127.0.0.1:{fossil}"),
        }
    )


async def test_before_the_start_they_must_be_free(settings: Settings) -> None:
    one, other = free_port(), free_port()
    check = await ports(with_ports(settings, one, other), runs=False)
    assert (check.result, check.found) == ("ok", f"{one} (site), {other} (Fossil): free")
    with socket.create_server(("127.0.0.1", other)):
        check = await ports(with_ports(settings, one, other), runs=False)
    assert (check.result, check.found) == ("fail", f"{other} (Fossil): another program has it")
    assert "ss -ltnp" in check.mend


async def test_while_it_runs_they_must_answer(settings: Settings) -> None:
    one, other = free_port(), free_port()
    with socket.create_server(("127.0.0.1", one)):
        check = await ports(with_ports(settings, one, other), runs=True)
        assert (check.result, check.found) == ("fail", f"nothing answers at {other} (Fossil)")
        with socket.create_server(("127.0.0.1", other)):
            check = await ports(with_ports(settings, one, other), runs=True)
            assert check.result == "ok"


async def test_an_address_that_is_not_this_machines_is_told(settings: Settings) -> None:
    away = settings.model_copy(update={"server": Server(listen="192.0.2.1:8000")})
    check = await ports(away, runs=False)
    assert check.result == "fail" and "192.0.2.1 is no address of this machine" in check.found


def test_caddys_ports_are_asked_about_where_it_runs(settings: Settings) -> None:
    caddy = {"enabled": True, "http_port": 8080, "https_port": 8443}
    asked = wanted(settings.model_copy(update={"caddy": Caddy.model_validate(caddy)}))
    assert [(port.host, port.number) for port in asked] == [("", 8080), ("", 8443)]
    bound = Caddy.model_validate({**caddy, "bind": ["127.0.0.1", "::1"]})
    asked = wanted(settings.model_copy(update={"caddy": bound}))
    assert {port.host for port in asked} == {"127.0.0.1", "::1"} and len(asked) == 4
