"""The installation's key: what is kept encrypted, and each person's Fossil passwords.

Owns `secret.key` (0600, made at first start) and everything derived from it or
encrypted with it. The key never leaves this module.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import tempfile
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from fossilrepo.errors import FossilrepoError


class Keys:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._fernet = Fernet(_load_or_make(path))

    def new_sync_secret(self) -> bytes:
        """A fresh secret of a person, encrypted for the control database."""
        return self._fernet.encrypt(secrets.token_bytes(32))

    def encrypt(self, secret: bytes) -> bytes:
        """For the control database."""
        return self._fernet.encrypt(secret)

    def decrypt(self, encrypted: bytes) -> bytes:
        """What `encrypt` or `new_sync_secret` was given; FossilrepoError with another key."""
        try:
            return self._fernet.decrypt(encrypted)
        except InvalidToken:
            raise FossilrepoError(
                "the key in secret.key is not the one that this control database was made with",
                hint=f"put the right key back at {self._path}, or rotate the person's passwords",
            ) from None

    def sync_password(self, encrypted_secret: bytes, repository_id: str) -> str:
        """A person's (or an access key's) password in one repository; see `derived`."""
        return derived(self.decrypt(encrypted_secret), repository_id)


def fingerprint(content: bytes) -> str:
    """Tells one key from another, and nothing of it."""
    return hashlib.sha256(b"fossilrepo key " + content.strip()).hexdigest()[:32]


def derived(secret: bytes, repository_id: str) -> str:
    """The password in one repository: 24 characters of base32.

    Derived by HMAC-SHA-256 from the secret and the repository's identity, so that it opens
    nothing else.
    """
    digest = hmac.digest(secret, repository_id.encode(), hashlib.sha256)
    return base64.b32encode(digest).decode().lower()[:24]


def _load_or_make(path: Path) -> bytes:
    try:
        key = path.read_bytes().strip()
    except FileNotFoundError:
        return _make(path)
    try:
        Fernet(key)
    except ValueError:
        raise FossilrepoError(
            f"{path} is not a key of fossilrepo", hint="put back the copy of your key"
        ) from None
    return key


def _make(path: Path) -> bytes:
    key = Fernet.generate_key()
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    temporary = Path(name)
    with os.fdopen(handle, "wb") as file:
        file.write(key + b"\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)  # never over a key that another process just made
    except FileExistsError:
        return path.read_bytes().strip()
    finally:
        temporary.unlink()
    return key
