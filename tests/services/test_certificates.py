"""How many names may ask the authority for a certificate, and what is said when they are many."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fossilrepo.config import Caddy, Server, Settings
from fossilrepo.core import open_services
from fossilrepo.errors import TooManyRequests
from fossilrepo.models import Actor
from fossilrepo.services import Services
from fossilrepo.services.certificates import NEW_IN_WEEK

HERE = Actor.command_line()


@asynccontextmanager
async def host(settings: Settings, **caddy: object) -> AsyncIterator[Services]:
    settings = settings.model_copy(
        update={
            "server": Server(listen="127.0.0.1:0", domain="example.org"),
            "caddy": Caddy.model_validate({"enabled": True, **caddy}),
        }
    )
    async with open_services(settings) as services:
        yield services


async def test_names_beyond_what_the_authority_gives_wait_and_are_told(settings: Settings) -> None:
    async with host(settings) as services:
        certificates = services.certificates
        for number in range(NEW_IN_WEEK):
            await certificates.require_room(f"r{number}.example.org")
        await services.repos.create(HERE, "museum")
        assert await certificates.doctor(False) != []
        for _ in range(2):
            with pytest.raises(TooManyRequests) as refused:
                await certificates.require_room("museum.example.org")
        assert 6 * 86400 < refused.value.retry_after <= 7 * 86400
        await certificates.require_room("r0.example.org")  # was let through, and may ask again
        (trouble,) = await certificates.troubles()
        assert "museum.example.org waits" in trouble.title
        told = {check.name: check for check in await certificates.doctor(False)}
        check = told["number of certificates"]
        assert check.result == "fail" and "1 wait for theirs: museum.example.org" in check.found
        assert "*.example.org" in check.mend
        # With a certificate already: it is renewed, or was fetched before the last start.
        folder = settings.data / "caddy/caddy/certificates/acme/museum.example.org"
        folder.mkdir(parents=True)
        (folder / "museum.example.org.crt").touch()
        await certificates.require_room("museum.example.org")
        assert "number of certificates" not in {c.name for c in await certificates.doctor(False)}


async def test_an_authority_of_ones_own_is_not_counted(settings: Settings) -> None:
    async with host(settings, issuer="internal") as services:
        for number in range(NEW_IN_WEEK + 5):
            await services.certificates.require_room(f"r{number}.example.org")


async def test_without_caddy_there_is_no_limit(settings: Settings) -> None:
    async with host(settings, enabled=False) as services:
        for number in range(NEW_IN_WEEK + 5):
            await services.certificates.require_room(f"r{number}.example.org")
