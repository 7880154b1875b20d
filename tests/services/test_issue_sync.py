"""Tickets that become issues, against fakes of the three APIs; and mirrors made by them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fossilrepo.bridge import ForgeKind, Mirror
from fossilrepo.config import Settings
from fossilrepo.errors import FossilrepoError, InvalidInput
from fossilrepo.models import Actor, Job, JobState
from tests.helpers.forges import TOKEN, Fake, forge_server
from tests.helpers.git_servers import HttpGit, bare, http_git, refs
from tests.helpers.lab import HERE, Yard, yard


@pytest.fixture
async def here(settings: Settings, tmp_path: Path) -> AsyncIterator[Yard]:
    async with yard(settings, tmp_path) as one:
        await one.repository("demo")
        await one.commit("demo", "one")
        yield one


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[HttpGit]:
    folder = tmp_path / "served"
    (folder / "acme").mkdir(parents=True)
    bare(folder, "acme/demo.git")
    async with http_git(folder) as server:
        server.token = TOKEN
        yield server


@pytest.fixture(params=["github", "gitlab", "gitea"])
async def fake(request: pytest.FixtureRequest) -> AsyncIterator[Fake]:
    async with forge_server(request.param) as one:
        yield one


async def added(here: Yard, server: HttpGit, fake: Fake, **options: object) -> Mirror:
    given: dict[str, object] = {"user": "robot", "token": TOKEN} | options
    return await here.services.mirrors.add(
        HERE,
        "demo",
        server.url("acme/demo.git"),
        kind=ForgeKind(fake.kind),
        api_url=fake.url,
        **given,  # type: ignore[arg-type]
    )


async def run(here: Yard, mirror: Mirror) -> Job:
    job = await here.services.mirrors.run(HERE, mirror.id, here=True)
    return await here.services.jobs.wait(job.id)


async def test_tickets_become_issues_once_and_follow_changes(
    here: Yard, server: HttpGit, fake: Fake
) -> None:
    text = "see #12 @bob <script>x</script>"
    await here.fossil("demo", "ticket", "add", "title", "Broken", "status", "Open", "comment", text)
    mirror = await added(here, server, fake, create=True, issues=True)
    job = await run(here, mirror)
    assert job.state is JobState.DONE, job.error
    [issue] = fake.all_issues()
    body = issue.get("body") or issue.get("description")
    assert issue["title"] == "Broken" and "fossil-ticket:" in body
    assert "@bob" not in body and "#12" not in body and "<script>" not in body
    uuid = body.partition("fossil-ticket:")[2].split()[0]
    await here.fossil("demo", "ticket", "set", uuid, "status", "Closed", "icomment", "done now")
    assert (await run(here, mirror)).state is JobState.DONE
    assert (await run(here, mirror)).state is JobState.DONE
    [issue] = fake.all_issues()
    assert issue["state"] == "closed"
    [comment] = fake.all_comments()
    assert comment["body"].startswith("done now")


async def test_a_lost_record_makes_nothing_twice(here: Yard, server: HttpGit, fake: Fake) -> None:
    for number in range(3):
        await here.fossil("demo", "ticket", "add", "title", f"t{number}", "status", "Open")
    mirror = await added(here, server, fake, create=True, issues=True)
    await run(here, mirror)
    await here.services.mirrors.remove(HERE, mirror.id)
    again = await added(here, server, fake, issues=True)
    await here.services.runs._targets["mirror"].update(
        again.id, taken_over=refs(server.folder / "acme" / "demo.git")
    )
    job = await run(here, again)
    assert job.state is JobState.DONE, job.error
    assert len(fake.all_issues()) == 3


async def test_a_limit_keeps_what_was_done_and_goes_on_later(
    here: Yard, server: HttpGit, fake: Fake
) -> None:
    for number in range(4):
        await here.fossil("demo", "ticket", "add", "title", f"t{number}", "status", "Open")
    mirror = await added(here, server, fake, create=True, issues=True)
    fake.limit_after = 3  # the description, and two issues
    job = await run(here, mirror)
    assert job.state is JobState.FAILED and "no more requests" in job.error
    standing = (await here.services.mirrors.get(HERE, mirror.id)).mirror.standing
    assert standing.next_run is not None and standing.last_run_at is not None
    assert (standing.next_run - standing.last_run_at).total_seconds() >= 89
    fake.limit_after = None
    assert (await run(here, mirror)).state is JobState.DONE
    assert sorted(issue["title"] for issue in fake.all_issues()) == ["t0", "t1", "t2", "t3"]


async def test_a_token_that_may_not_write_is_told_before_the_push(
    here: Yard, server: HttpGit, fake: Fake
) -> None:
    mirror = await added(here, server, fake, create=True)
    fake.can_push = False
    job = await run(here, mirror)
    assert job.state is JobState.FAILED and "may not write" in job.error
    assert refs(server.folder / "acme" / "demo.git") == {}


async def test_a_repository_that_is_missing_is_told(
    here: Yard, server: HttpGit, fake: Fake
) -> None:
    mirror = await added(here, server, fake)
    job = await run(here, mirror)
    assert job.state is JobState.FAILED and "no repository acme/demo" in job.error


async def test_the_key_of_a_mirror_by_ssh_is_let_in_by_the_api(here: Yard, fake: Fake) -> None:
    mirror = await here.services.mirrors.add(
        HERE,
        "demo",
        "git@git.example.org:acme/demo.git",
        kind=ForgeKind(fake.kind),
        api_url=fake.url,
        token=TOKEN,
        create=True,
    )
    [key] = fake.keys
    assert key["key"] == mirror.public_key
    assert key.get("can_push") or key.get("read_only") is False


# Rules


async def test_a_rule_gives_every_repository_its_mirror(
    here: Yard, server: HttpGit, fake: Fake
) -> None:
    bare(server.folder, "acme/second.git")
    rule = await here.services.mirror_rules.add(
        HERE,
        "main",
        server.url("acme/{name}.git"),
        kind=ForgeKind(fake.kind),
        api_url=fake.url,
        user="robot",
        token=TOKEN,
        create=True,
    )
    await here.repository("second")
    await here.services.mirror_rules.changed(await here.row("second"))
    made = await here.services.mirrors.list(HERE)
    assert {one.repository.label for one in made} == {"demo", "second"}
    for one in made:
        assert (await run(here, one.mirror)).state is JobState.DONE
        assert not one.mirror.has_token  # it is the rule's
    assert set(fake.repositories) == {"acme/demo", "acme/second"}
    assert refs(server.folder / "acme" / "second.git") != {}

    server.token = "a-new-one"
    assert (await run(here, made[0].mirror)).state is JobState.FAILED
    await here.services.mirror_rules.set_token(HERE, rule.id, "a-new-one")
    states = {
        one.mirror.standing.wanted_at is not None for one in await here.services.mirrors.list(HERE)
    }
    assert states == {True}
    await here.services.mirror_rules.remove(HERE, rule.id)
    kept = await here.services.mirrors.list(HERE)
    assert len(kept) == 2 and all(one.mirror.has_token for one in kept)


async def test_rules_are_for_owners_of_the_organization(here: Yard, server: HttpGit) -> None:
    await here.services.accounts.create_user(HERE, "eve")
    eve = Actor("eve", user_id=(await here.services.accounts.user("eve")).id)
    with pytest.raises(FossilrepoError, match=r"no organization|only an owner"):
        await here.services.mirror_rules.add(eve, "main", server.url("{name}.git"))
    for url in ("https://example.org/x", "https://example.org/{name}/{name}", "git@h:{name}"):
        with pytest.raises(InvalidInput):
            await here.services.mirror_rules.add(HERE, "main", url)
    assert await here.services.mirror_rules.list(HERE) == []
