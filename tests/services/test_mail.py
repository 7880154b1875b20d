"""Mail over a real SMTP server: TLS, passwords, refusals, and nothing smuggled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fossilrepo.config import Mail as MailSettings
from fossilrepo.config import Settings, load
from fossilrepo.errors import ConfigError, InvalidInput, Unavailable
from fossilrepo.services.mail import Mail, check_address
from tests.helpers import smtp

SECRET = "the-password-of-the-account"


def mail(server: str, **changes: Any) -> Mail:
    values = {"security": "none", "sender": "Repositories <fossil@example.org>", **changes}
    return Mail(Settings(mail=MailSettings.model_validate({"server": server, **values})))


async def test_a_message_arrives_as_it_was_written() -> None:
    with smtp.running() as post:
        await mail(post.server).send("bob@example.org", "Grüße", "Zwei Zeilen:\n.\nÄhm.\n")
    (message,) = post.taken
    assert (message["To"], message["Subject"]) == ("bob@example.org", "Grüße")
    assert message["From"] == "Repositories <fossil@example.org>"
    assert post.recipients == ["bob@example.org"]
    assert post.text().splitlines() == ["Zwei Zeilen:", ".", "Ähm."]


@pytest.mark.parametrize(
    "to", ["a@b.c\nBcc: eve@evil.org", "a@b.c, eve@evil.org", "a@b.c>", "no address", "ä@b.c", ""]
)
async def test_an_address_that_is_none_is_refused(to: str) -> None:
    with smtp.running() as post, pytest.raises(InvalidInput):
        await mail(post.server).send(to, "Hello", "text")
    assert post.taken == []
    with pytest.raises(InvalidInput):
        check_address(to)


async def test_a_subject_cannot_bring_headers_along() -> None:
    with smtp.running() as post, pytest.raises(InvalidInput):
        await mail(post.server).send("a@b.c", "Hello\r\nBcc: eve@evil.org", "text")
    assert post.taken == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_the_password_goes_over_tls_and_strange_certificates_are_refused(
    security: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = smtp.certificate(tmp_path)
    asked = smtp.running(password=SECRET, certificate=trusted, tls=security == "tls")
    with asked as post:
        ours = mail(post.server, security=security, user="fossil", password=SECRET)
        with pytest.raises(Unavailable, match="certificate"):
            await ours.send("a@b.c", "Hello", "text")
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        await ours.check()
        await ours.send("a@b.c", "Hello", "text")
        assert post.secured
        wrong = mail(post.server, security=security, user="fossil", password="not-the-right-one")
        with pytest.raises(Unavailable) as refusal:
            await wrong.check()
        assert "535" in refusal.value.message or "failed" in refusal.value.message.lower()
        assert "not-the-right-one" not in str(refusal.value)


async def test_without_tls_at_the_server_nothing_is_sent_in_clear_text() -> None:
    with smtp.running() as post, pytest.raises(Unavailable, match="STARTTLS"):
        await mail(post.server, security="starttls").send("a@b.c", "Hello", "text")
    assert post.taken == []


async def test_the_servers_own_words_are_told() -> None:
    with smtp.running() as post:
        post.refuses = "550 no such mailbox here"
        with pytest.raises(Unavailable, match="no such mailbox here"):
            await mail(post.server).send("a@b.c", "Hello", "text")
    with pytest.raises(Unavailable, match=post.server):
        await mail(post.server).check()


async def test_the_password_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    with smtp.running(password=SECRET) as post:
        await mail(post.server, user="fossil", password_file=str(tmp_path / "secret")).check()
        with pytest.raises(ConfigError, match="cannot be read"):
            await mail(post.server, user="fossil", password_file=str(tmp_path / "no")).check()


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ('server = "mail.example.org"', "HOST:PORT"),
        ('server = "mail.example.org:0"', "HOST:PORT"),
        ('server = "mail.example.org:25"', "mail.sender"),
        ('server = "m.org:25"\nsender = "a@b.c\\nBcc: eve@evil.org"', "mail.sender"),
        ('password = "x"\npassword_file = "y"', "one of the two"),
        ('server="m.org:25"\nsender="a@b.c"\nsecurity="none"\nuser="u"', "clear text"),
    ],
)
def test_settings_that_cannot_work_are_refused(keys: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f"[mail]\n{keys}\n")
    with pytest.raises(ConfigError, match=says):
        load(tmp_path / "config.toml", {})
