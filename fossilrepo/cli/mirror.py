"""`mirror …`: Git remotes that repositories are mirrored to.

Owns the form for people. Tokens come by a prompt of the shell's making, standard input or the
environment, never as an argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fossilrepo.bridge import ForgeKind
from fossilrepo.cli import ask, context, options, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson, Name, Yes
from fossilrepo.cli.progress import done
from fossilrepo.services import bridge_json
from fossilrepo.wording import plural

if TYPE_CHECKING:
    from fossilrepo.models import Job
    from fossilrepo.services import Services
    from fossilrepo.services.mirroring import Preview
    from fossilrepo.services.mirrors import Connection, Shown

app = options.group("Git mirrors of repositories: add, run, look at, take over, remove.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The mirror's id, as the list shows it.")]
Kind = Annotated[
    ForgeKind | None,
    typer.Option("--kind", help="What serves it; found out from the address.", show_default=False),
]
ApiUrl = Annotated[str, typer.Option("--api-url", help="Of its API, when it is an unusual one.")]
User = Annotated[str, typer.Option("--user", help="The name that goes with the token.")]
TokenStdin = Annotated[
    bool,
    typer.Option(
        "--token-stdin", help="Read the token from standard input; else FOSSILREPO_TOKEN."
    ),
]
Branches = Annotated[
    str, typer.Option("--branch", metavar="GLOB", help="main,release-*: only these.")
]
Schedule = Annotated[
    str, typer.Option("--schedule", metavar="CRON", help="Five fields in UTC, or 15m, 6h, @daily.")
]


@app.command()
def add(
    name: Name,
    url: Annotated[str, typer.Argument(metavar="URL", help="https://… or user@host:path.")],
    branch: Branches = "*",
    tags: Annotated[bool, typer.Option("--tags/--no-tags", help="Tags too.")] = True,
    schedule: Schedule = "",
    on_change: Annotated[
        bool | None,
        typer.Option("--on-change/--no-on-change", help="After every push, unless scheduled."),
    ] = None,
    user: User = "",
    token_stdin: TokenStdin = False,
    kind: Kind = None,
    api_url: ApiUrl = "",
    create: Annotated[
        bool, typer.Option("--create", help="Make the repository there, by its API.")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="With --create: a public one.")] = False,
    wiki: Annotated[bool, typer.Option("--wiki", help="The wiki as a branch fossil-wiki.")] = False,
    issues: Annotated[bool, typer.Option("--issues", help="Tickets as issues there.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what the first run would push; add nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Mirror a repository to a Git server.

    The first run comes at once where a host is running, else with `mirror run`. A remote that
    is not empty stops it until you say `mirror take-over`.
    """
    token = ask.token(token_stdin)
    kept: dict[str, Any] = {"kind": kind, "api_url": api_url, "user": user, "token": token}

    async def trial(services: Services) -> tuple[Connection, Preview | None]:
        found = await services.mirrors.test(ACTOR, name, url, **kept)
        if found.missing:
            return found, None
        return found, await services.mirrors.dry_add(
            ACTOR, name, url, user=user, token=token, branches=branch, tags=tags
        )

    async def work(services: Services) -> Shown:
        made = await services.mirrors.add(
            ACTOR,
            name,
            url,
            branches=branch,
            tags=tags,
            schedule=schedule,
            on_change=not schedule if on_change is None else on_change,
            wiki=wiki,
            issues=issues,
            create=create,
            private=not public,
            **kept,
        )
        return await services.mirrors.get(ACTOR, made.id)

    if dry_run:
        found, preview = context.run(trial)
        told = bridge_json.connection(found)
        would = bridge_json.preview(preview) if preview else None
        output.result(told | {"preview": would}, as_json, _connection(found))
        if preview is not None and not as_json:
            _tell_preview(preview)
        return
    shown = context.run(work)
    mirror = shown.mirror
    text = f"{mirror.id}: {shown.repository.label} is mirrored to {mirror.url}"
    output.result(bridge_json.mirror(mirror, shown.repository), as_json, output.clean(text))
    if mirror.public_key and not as_json:
        output.note("let this key in there, with the right to write; then `mirror run`:")
        output.say(mirror.public_key)


def _connection(found: Connection) -> str:
    if found.missing:
        return "the server answers, and there is no such repository yet (see --create)"
    holds = plural(found.refs, "ref") if found.refs else "nothing"
    return f"the server answers; the repository there holds {holds}"


@app.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Of one repository.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the mirrors, and how each stands."""

    async def work(services: Services) -> list[Shown]:
        return await services.mirrors.list(ACTOR, name)

    found = context.run(work)
    if as_json:
        output.document([bridge_json.mirror(one.mirror, one.repository) for one in found])
    elif found:
        output.table(
            ("id", "repository", "state", "verified", "behind", "next", "remote"),
            [
                (
                    one.mirror.id,
                    one.repository.label,
                    one.mirror.standing.state,
                    output.ago(one.mirror.standing.verified_at),
                    plural(one.mirror.standing.lag_checkins, "check-in"),
                    output.ago(one.mirror.standing.next_run, never="-"),
                    one.mirror.url,
                )
                for one in found
            ],
        )
        for one in found:
            known = one.mirror.standing
            if known.last_error or known.paused_why:
                output.note(
                    f"{one.mirror.id}: {output.clean(known.paused_why or known.last_error)}"
                )
                if known.last_hint:
                    output.note(f"hint: {output.clean(known.last_hint)}")
    else:
        output.say("there are no mirrors")


@app.command()
def show(mirror_id: Id, as_json: AsJson = False) -> None:
    """Show one mirror."""

    async def work(services: Services) -> Shown:
        return await services.mirrors.get(ACTOR, mirror_id)

    shown = context.run(work)
    value = bridge_json.mirror(shown.mirror, shown.repository)
    if as_json:
        output.document(value)
        return
    output.say(f"{shown.repository.label} to {output.clean(shown.mirror.url)}")
    waiting = value.pop("waits_for_decision")
    output.pairs({key.replace("_", " "): text for key, text in value.items() if text is not None})
    if waiting:
        output.say("it waits for your decision on: " + output.clean(", ".join(waiting)))


@app.command()
def run(
    mirror_id: Id,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be pushed; push nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a mirror now, and wait for it."""
    if dry_run:
        _show_preview(mirror_id, as_json)
        return

    async def work(services: Services) -> tuple[Job, Shown]:
        job = await services.mirrors.run(ACTOR, mirror_id, here=True)
        ended = await done(services, job, f"mirroring {output.clean(job.subject)}")
        return ended, await services.mirrors.get(ACTOR, mirror_id)

    ended, shown = context.run(work)
    value = bridge_json.mirror(shown.mirror, shown.repository) | {"run": bridge_json.run(ended)}
    output.result(value, as_json, output.clean(ended.progress))


def _show_preview(mirror_id: str, as_json: bool) -> None:
    async def work(services: Services) -> Preview:
        return await services.mirrors.dry_run(ACTOR, mirror_id)

    found = context.run(work)
    if as_json:
        output.document(bridge_json.preview(found))
    else:
        _tell_preview(found)


def _tell_preview(found: Preview) -> None:
    if found.plan.stops:
        output.say("nothing would be pushed: these refs there hold what Fossil has not")
        for ref, theirs in found.plan.conflicts.items():
            output.say(f"  {output.clean(ref)} {theirs[:12]}")
            for commit in found.lost.get(theirs, ())[:5]:
                output.say(f"    {commit.hash[:12]} {output.clean(commit.subject)}")
    elif found.plan.updates:
        output.say(f"would push {found.plan.words()}")
        for update in found.plan.updates:
            arrow = f"{update.expected[:12] or 'new'} -> {update.new[:12] or 'removed'}"
            output.say(f"  {output.clean(update.ref)} {arrow}")
    else:
        output.say("the remote has everything")


@app.command("take-over")
def take_over(mirror_id: Id, yes: Yes = False, as_json: AsJson = False) -> None:
    """Let a mirror overwrite what was found on its remote, as it was found."""

    async def look(services: Services) -> Shown:
        return await services.mirrors.get(ACTOR, mirror_id)

    seen = context.run(look).mirror.seen
    if seen:
        names = output.clean(", ".join(list(seen)[:10]))
        ask.confirm(
            f"Commits on the remote that Fossil has not will be lost ({names}). Go on?", yes
        )

    async def work(services: Services) -> Shown:
        await services.mirrors.take_over(ACTOR, mirror_id)
        return await services.mirrors.get(ACTOR, mirror_id)

    shown = context.run(work)
    value = bridge_json.mirror(shown.mirror, shown.repository)
    output.result(value, as_json, f"{mirror_id} may overwrite them; it runs next")


@app.command()
def configure(
    mirror_id: Id,
    url: Annotated[str | None, typer.Option("--url", help="Another address.")] = None,
    branch: Annotated[str | None, typer.Option("--branch", metavar="GLOB")] = None,
    tags: Annotated[bool | None, typer.Option("--tags/--no-tags")] = None,
    schedule: Annotated[
        str | None, typer.Option("--schedule", metavar="CRON", help='"" for none.')
    ] = None,
    on_change: Annotated[bool | None, typer.Option("--on-change/--no-on-change")] = None,
    wiki: Annotated[bool | None, typer.Option("--wiki/--no-wiki")] = None,
    issues: Annotated[bool | None, typer.Option("--issues/--no-issues")] = None,
    user: Annotated[str | None, typer.Option("--user")] = None,
    token_stdin: TokenStdin = False,
    as_json: AsJson = False,
) -> None:
    """Change what is given; a new token comes by --token-stdin or FOSSILREPO_TOKEN."""
    token = ask.token(token_stdin) or None

    async def work(services: Services) -> Shown:
        await services.mirrors.configure(
            ACTOR,
            mirror_id,
            url=url,
            branches=branch,
            tags=tags,
            schedule=schedule,
            on_change=on_change,
            wiki=wiki,
            issues=issues,
            user=user,
            token=token,
        )
        return await services.mirrors.get(ACTOR, mirror_id)

    shown = context.run(work)
    value = bridge_json.mirror(shown.mirror, shown.repository)
    output.result(value, as_json, f"changed {mirror_id}")


def _simple(mirror_id: str, verb: str, told: str, as_json: bool) -> None:
    async def work(services: Services) -> None:
        await getattr(services.mirrors, verb)(ACTOR, mirror_id)

    context.run(work)
    output.result({"id": mirror_id, "done": told}, as_json, f"{told} {mirror_id}")


@app.command()
def pause(mirror_id: Id, as_json: AsJson = False) -> None:
    """Let a mirror rest until it is resumed."""
    _simple(mirror_id, "pause", "paused", as_json)


@app.command()
def resume(mirror_id: Id, as_json: AsJson = False) -> None:
    """Let a mirror run again, at once."""
    _simple(mirror_id, "resume", "resumed", as_json)


@app.command("trust-host")
def trust_host(mirror_id: Id, yes: Yes = False, as_json: AsJson = False) -> None:
    """Pin the next key that the ssh server shows, in place of the one seen first."""
    ask.confirm("Does the server really have a new key?", yes)
    _simple(mirror_id, "trust_host_key", "the next key is trusted for", as_json)


@app.command()
def remove(mirror_id: Id, yes: Yes = False, as_json: AsJson = False) -> None:
    """End a mirror; the remote stays as it is."""
    ask.confirm(f"End the mirror {output.clean(mirror_id)}? The remote stays as it is.", yes)
    _simple(mirror_id, "remove", "removed", as_json)


@app.command()
def log(
    mirror_id: Id,
    limit: Annotated[int, typer.Option("--limit", help="At most so many runs.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List a mirror's runs, newest first, with the log of the newest."""

    async def work(services: Services) -> list[Job]:
        return await services.mirrors.history(ACTOR, mirror_id, limit)

    found = context.run(work)
    if as_json:
        output.document([bridge_json.run(job) for job in found])
        return
    if not found:
        output.say("it has not run yet")
        return
    for line in found[0].log.splitlines():
        output.say(output.clean(line))
    output.say()
    output.table(
        ("when", "why", "state", "seconds", "result"),
        [
            (
                output.ago(job.created_at),
                job.trigger,
                job.state,
                bridge_json.run(job)["seconds"] or "",
                job.error or job.progress,
            )
            for job in found
        ],
    )
