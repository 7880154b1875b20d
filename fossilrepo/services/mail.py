"""Mail that the host sends to people, by the SMTP server of the settings.

Owns the form of a message and the conversation with the server. A message is built by
the standard library, which refuses line ends in headers; addresses are checked before. The
password is in no error.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from email.utils import formatdate, make_msgid, parseaddr
from typing import TYPE_CHECKING

from fossilrepo.config import Settings
from fossilrepo.credentials import mail_password
from fossilrepo.errors import Forbidden, FossilrepoError, InvalidInput, Unavailable
from fossilrepo.models import Actor, check_text

if TYPE_CHECKING:
    import aiosmtplib

log = logging.getLogger(__name__)

WITHIN = 20.0  # seconds for each step of the conversation
LAST_MOMENT = 3.0  # seconds for what is under way when the host ends
MOST_BEHIND = 50  # messages under way behind what is going on
_ADDRESS = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*", re.ASCII
)


class Mail:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._behind: set[asyncio.Task[None]] = set()

    @property
    def configured(self) -> bool:
        return bool(self._settings.mail.server)

    @property
    def server(self) -> str:
        return self._settings.mail.server

    async def send(self, to: str, subject: str, text: str) -> None:
        """Handed to the server when it returns; Unavailable, with its words, otherwise."""
        message = self._message(to, subject, text)
        async with self._connected() as client:
            await client.send_message(message)
        log.info("mail sent: %s", subject)

    def tell(self, to: str, subject: str, text: str) -> None:
        """Send it behind what is going on, where mail is configured; a failure is logged."""
        if not to or not self.configured:
            return
        if len(self._behind) >= MOST_BEHIND:
            log.warning("too much mail at once: one message was dropped: %s", subject)
            return
        task = asyncio.create_task(self._quietly(to, subject, text), name="mail")
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)

    async def _quietly(self, to: str, subject: str, text: str) -> None:
        try:
            await self.send(to, subject, text)
        except FossilrepoError as error:
            log.warning("a message could not be sent: %s: %s", subject, error)

    async def close(self) -> None:
        """What is being sent has a moment to end."""
        if self._behind:
            _, late = await asyncio.wait(self._behind, timeout=LAST_MOMENT)
            for task in late:
                task.cancel()

    async def send_trial(self, actor: Actor, to: str) -> None:
        """For administrators of the site, to see whether mail works."""
        if not actor.is_admin:
            raise Forbidden("only an administrator of the site may do this")
        text = "This message was sent to see whether mail works. It does.\n"
        await self.send(to, "A trial message of fossilrepo", text)

    async def check(self) -> None:
        """Connect, prove who we are, and leave; Unavailable says why not."""
        async with self._connected() as client:
            await client.noop()

    def _message(self, to: str, subject: str, text: str) -> EmailMessage:
        sender = self._settings.mail.sender
        message = EmailMessage()
        message["From"] = sender
        message["To"] = check_address(to)
        message["Subject"] = check_text(subject, what="subject", most=200)
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=parseaddr(sender)[1].rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        return message

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[aiosmtplib.SMTP]:
        import aiosmtplib  # costs time and memory, and many hosts send no mail

        mail = self._settings.mail
        if not mail.server:
            raise Unavailable("no mail server is configured", hint="set mail.server")
        host, _, port = mail.server.rpartition(":")
        password = await asyncio.to_thread(mail_password, self._settings)
        encrypted = mail.security != "none"
        client = aiosmtplib.SMTP(
            hostname=host.strip("[]"),
            port=int(port),
            username=mail.user or None,
            password=password if mail.user else None,
            use_tls=mail.security == "tls",
            start_tls=mail.security == "starttls",
            tls_context=await asyncio.to_thread(ssl.create_default_context) if encrypted else None,
            timeout=WITHIN,
        )
        try:
            async with client:
                yield client
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise Unavailable(
                f"the mail server {mail.server} did not take it: {_words(error, password)}",
                hint="see the section [mail] of the configuration, and `fossilrepo doctor`",
            ) from None


def check_address(address: str, field: str = "email") -> str:
    """The address itself when mail can be sent to it; InvalidInput otherwise."""
    if not _ADDRESS.fullmatch(address) or len(address) > 200:
        raise InvalidInput(
            f"{address[:80]!r} is no e-mail address",
            hint="write one like ada@example.org",
            field=field,
        )
    return address


def _words(error: Exception, password: str) -> str:
    """What the server said, on one line, without the password should it repeat it."""
    text = " ".join(str(error).split())
    if text.endswith(":") and error.__cause__ is not None:
        text = f"{text} {error.__cause__}"
    text = text or type(error).__name__
    return (text.replace(password, "…") if password else text)[:300]
