"""`webhook …`: addresses that are told of pushes, tickets, wiki edits and forum posts.

Owns the form for people. The secret is printed once, when it is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fossilrepo.bridge import Event
from fossilrepo.cli import ask, context, options, output
from fossilrepo.cli.context import ACTOR
from fossilrepo.cli.options import AsJson, Name, Yes
from fossilrepo.services import bridge_json

if TYPE_CHECKING:
    from fossilrepo.bridge import Delivery, Webhook
    from fossilrepo.services import Services

app = options.group("Webhooks: addresses that are told of what happens in a repository.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The webhook's id, as the list shows it.")]
Events = Annotated[
    list[Event] | None,
    typer.Option("--event", help="Only these, may be given again.", show_default=False),
]


@app.command()
def add(
    name: Name,
    url: Annotated[
        str | None,
        typer.Argument(metavar="[URL]", help="Or by --url-stdin, when it holds a token."),
    ] = None,
    url_stdin: Annotated[
        bool, typer.Option("--url-stdin", help="Read the address from standard input.")
    ] = False,
    event: Events = None,
    as_json: AsJson = False,
) -> None:
    """Tell an address of what happens; prints the secret that messages are signed with."""
    address = ask.line("--url-stdin") if url_stdin else url or ""

    async def work(services: Services) -> tuple[Webhook, str]:
        return await services.webhooks.add(ACTOR, name, address, events=event or list(Event))

    made, secret = context.run(work)
    output.result(
        bridge_json.webhook(made) | {"secret": secret},
        as_json,
        f"{made.id}: {output.clean(made.url)}",
    )
    if not as_json:
        output.note("messages are signed with this secret; it is not shown again:")
        output.say(secret)


@app.command("list")
def list_(name: Name, as_json: AsJson = False) -> None:
    """List the webhooks of a repository."""

    async def work(services: Services) -> list[Webhook]:
        return await services.webhooks.list(ACTOR, name)

    found = context.run(work)
    if as_json:
        output.document([bridge_json.webhook(one) for one in found])
    elif found:
        rows = [
            (one.id, "on" if one.active else "off", ", ".join(one.events), one.url) for one in found
        ]
        output.table(("id", "", "events", "address"), rows)
    else:
        output.say(f"{output.clean(name)} has no webhooks")


@app.command()
def configure(
    webhook_id: Id,
    active: Annotated[bool | None, typer.Option("--on/--off")] = None,
    event: Events = None,
    as_json: AsJson = False,
) -> None:
    """Switch a webhook on or off, or change what it tells of."""

    async def work(services: Services) -> Webhook:
        return await services.webhooks.configure(ACTOR, webhook_id, active=active, events=event)

    changed = context.run(work)
    output.result(bridge_json.webhook(changed), as_json, f"changed {webhook_id}")


@app.command()
def ping(webhook_id: Id, as_json: AsJson = False) -> None:
    """Send a trial message now."""

    async def work(services: Services) -> Delivery:
        return await services.webhooks.ping(ACTOR, webhook_id)

    sent = context.run(work)
    text = "delivered" if sent.delivered_at else f"not delivered: {output.clean(sent.error)}"
    output.result(bridge_json.delivery(sent), as_json, text)


@app.command()
def deliveries(
    webhook_id: Id,
    limit: Annotated[int, typer.Option("--limit", help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List what was sent, newest first."""

    async def work(services: Services) -> list[Delivery]:
        return await services.webhooks.deliveries(ACTOR, webhook_id, limit)

    found = context.run(work)
    if as_json:
        output.document([bridge_json.delivery(one) for one in found])
        return
    output.table(
        ("id", "when", "event", "attempts", "answer"),
        [
            (
                one.id,
                output.ago(one.created_at),
                one.event,
                one.attempts,
                f"{one.status} in {one.seconds} s" if one.delivered_at else one.error or "waits",
            )
            for one in found
        ],
    )


@app.command()
def redeliver(
    delivery_id: Annotated[str, typer.Argument(metavar="DELIVERY")], as_json: AsJson = False
) -> None:
    """Send a message once more, with the same id."""

    async def work(services: Services) -> Delivery:
        return await services.webhooks.redeliver(ACTOR, delivery_id)

    sent = context.run(work)
    text = "delivered" if sent.delivered_at else f"not delivered: {output.clean(sent.error)}"
    output.result(bridge_json.delivery(sent), as_json, text)


@app.command()
def remove(webhook_id: Id, yes: Yes = False, as_json: AsJson = False) -> None:
    """End a webhook."""
    ask.confirm(f"End the webhook {output.clean(webhook_id)}?", yes)

    async def work(services: Services) -> Webhook:
        return await services.webhooks.remove(ACTOR, webhook_id)

    gone = context.run(work)
    output.result(bridge_json.webhook(gone), as_json, f"removed {webhook_id}")
