"""One call of the API: how a row of its tables becomes a route, and the form of a job.

Owns the reading of bodies and the writing of answers, the same for every call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ValidationError

from fossilrepo.errors import InvalidInput
from fossilrepo.models import Job, iso
from fossilrepo.traces import CLIENT, span
from fossilrepo.web.visit import Form, Route, Visit, Who

BASE = "/api/v1"

Action = Callable[[Visit, Any], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Call:
    """One row: `action` gets the visit and the checked body, and gives what `answer` describes.

    An action may give a whole response instead (a file).
    """

    method: str
    path: str
    who: Who
    action: Action
    says: str
    body: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    status: int = 200
    query: tuple[str, ...] = ()
    raw: bool = False  # takes a file as its body, or gives one
    gives: tuple[str, ...] = ("application/x-sqlite3",)  # the kinds of the file that it gives

    def route(self) -> Route:
        async def handler(visit: Visit) -> web.StreamResponse:
            body = await _body(visit, self.body) if self.body else None
            given = await self.action(visit, body)
            if isinstance(given, web.StreamResponse):
                return given
            if self.answer is None:
                return web.Response(status=self.status)
            text = self.answer.model_validate(given).model_dump_json()
            return web.Response(status=self.status, text=text, content_type="application/json")

        return Route(self.method, BASE + self.path, self.who, handler, Form.JSON)


async def _body(visit: Visit, model: type[BaseModel]) -> BaseModel:
    request = visit.request
    with span(CLIENT):
        content = await request.read()
    if content and request.content_type != "application/json":
        raise InvalidInput("the body is not JSON", hint="send Content-Type: application/json")
    try:
        return model.model_validate_json(content or b"{}")
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        message = str(first["msg"]).removeprefix("Value error, ")
        raise InvalidInput(
            f"{field}: {message}" if field else message,
            hint=f"see {BASE}/openapi.json",
            field=field,
        ) from None


def job_answer(visit: Visit, job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.kind,
        "subject": job.subject,
        "state": job.state,
        "progress": job.progress,
        "fraction": job.fraction,
        "error": job.error or None,
        "hint": job.hint or None,
        "requested_by": job.requested_by,
        "repository_id": job.repository_id,
        "created_at": iso(job.created_at),
        "finished_at": iso(job.finished_at),
        "url": f"{visit.services.links.public_url}/jobs/{job.id}",
    }
