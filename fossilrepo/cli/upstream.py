"""`upstream …`: another Fossil that a repository exchanges its content with.

Owns the form for people. The password is asked for, or comes by standard input or the
environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fossilrepo.bridge import Direction
from fossilrepo.cli import ask, context, options, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson, Name, PasswordStdin, Yes
from fossilrepo.cli.progress import done
from fossilrepo.errors import InvalidInput
from fossilrepo.services import bridge_json

if TYPE_CHECKING:
    from fossilrepo.bridge import Upstream
    from fossilrepo.models import Job, Repository
    from fossilrepo.services import Services

app = options.group("Other Fossils that repositories pull from, push to or sync with.")


@app.command("set")
def set_(
    name: Name,
    url: Annotated[str, typer.Argument(metavar="URL", help="https://… of the other Fossil.")],
    pull: Annotated[bool, typer.Option("--pull", help="Take what it has (the default).")] = False,
    push: Annotated[bool, typer.Option("--push", help="Give it what is here.")] = False,
    sync: Annotated[bool, typer.Option("--sync", help="Both.")] = False,
    schedule: Annotated[
        str, typer.Option("--schedule", metavar="CRON", help="Five fields in UTC, or 15m, @daily.")
    ] = "",
    on_change: Annotated[
        bool, typer.Option("--on-change", help="With --push or --sync: after every push here.")
    ] = False,
    login: Annotated[str, typer.Option("--login", help="Your login there.")] = "",
    password_stdin: PasswordStdin = False,
    private: Annotated[bool, typer.Option("--private", help="Private branches too.")] = False,
    unversioned: Annotated[
        bool, typer.Option("--unversioned", help="Unversioned files too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let a repository exchange its content with another Fossil of the same project."""
    if pull + push + sync > 1:
        raise InvalidInput("--pull, --push and --sync differ", hint="give one of them")
    if password_stdin and not login:
        raise InvalidInput("--password-stdin needs --login", hint="say whose password it is")
    direction = Direction.PUSH if push else Direction.SYNC if sync else Direction.PULL
    password = ask.password(password_stdin, login) if login else None

    async def work(services: Services) -> tuple[Upstream, Repository]:
        made = await services.upstreams.set(
            ACTOR,
            name,
            url,
            direction=direction,
            user=login,
            password=password,
            schedule=schedule,
            on_change=on_change,
            private=private,
            unversioned=unversioned,
        )
        return made, await services.repos.get(ACTOR, name)

    made, repository = context.run(work)
    verb = {Direction.PULL: "pulls from", Direction.PUSH: "pushes to", Direction.SYNC: "syncs with"}
    text = output.clean(f"{name} {verb[direction]} {made.url}")
    output.result(bridge_json.upstream(made, repository), as_json, text)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List all upstreams, and how each stands."""

    async def work(services: Services) -> list[tuple[Repository, Upstream]]:
        return await services.upstreams.list(ACTOR)

    found = context.run(work)
    if as_json:
        output.document([bridge_json.upstream(one, owner) for owner, one in found])
    elif found:
        output.table(
            ("repository", "way", "state", "last", "next", "upstream"),
            [
                (
                    owner.label,
                    one.direction,
                    one.standing.state,
                    output.ago(one.standing.verified_at),
                    output.ago(one.standing.next_run, never="-"),
                    one.url,
                )
                for owner, one in found
            ],
        )
        for owner, one in found:
            if one.standing.last_error:
                output.note(f"{owner.label}: {output.clean(one.standing.last_error)}")
    else:
        output.say("there are no upstreams")


@app.command()
def run(name: Name, as_json: AsJson = False) -> None:
    """Exchange content now, and wait for it."""

    async def work(services: Services) -> Job:
        job = await services.upstreams.run(ACTOR, name, here=True)
        return await done(services, job, f"upstream of {output.clean(name)}")

    ended = context.run(work)
    output.result(bridge_json.run(ended), as_json, output.clean(ended.progress))


@app.command()
def pause(name: Name, as_json: AsJson = False) -> None:
    """Let an upstream rest until it is resumed."""
    _simple(name, "pause", "paused", as_json)


@app.command()
def resume(name: Name, as_json: AsJson = False) -> None:
    """Let an upstream run again, at once."""
    _simple(name, "resume", "resumed", as_json)


@app.command()
def remove(name: Name, yes: Yes = False, as_json: AsJson = False) -> None:
    """Forget the upstream of a repository; all content stays, here and there."""
    ask.confirm(f"Forget the upstream of {output.clean(name)}?", yes)
    _simple(name, "remove", "forgot", as_json)


@app.command()
def log(
    name: Name,
    limit: Annotated[int, typer.Option("--limit", help="At most so many runs.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the runs of an upstream, newest first."""

    async def work(services: Services) -> list[Job]:
        return await services.upstreams.history(ACTOR, name, limit)

    found = context.run(work)
    if as_json:
        output.document([bridge_json.run(job) for job in found])
        return
    output.table(
        ("when", "why", "state", "result"),
        [
            (output.ago(job.created_at), job.trigger, job.state, job.error or job.progress)
            for job in found
        ],
    )


def _simple(name: str, verb: str, told: str, as_json: bool) -> None:
    async def work(services: Services) -> None:
        await getattr(services.upstreams, verb)(ACTOR, name)

    context.run(work)
    text = f"{told} the upstream of {output.clean(name)}"
    output.result({"repository": name, "done": told}, as_json, text)
