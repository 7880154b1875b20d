"""SSH keys: a new pair for a mirror, and how keys are shown to people.

Owns their forms (OpenSSH's private key, the line of `authorized_keys`, the fingerprint of
ssh-keygen). Runs no program.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

_KEY = re.compile(r"(?:ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}")


def new_pair(comment: str) -> tuple[str, str]:
    """(private key as a file of OpenSSH, public key as one line with the comment)."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return private, f"{public} {comment}"


def fingerprint(key: str) -> str:
    """`SHA256:…`, as ssh-keygen shows it; empty for what is no key."""
    try:
        blob = base64.b64decode(key.split()[1], validate=True)
    except (IndexError, binascii.Error):
        return ""
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return f"SHA256:{digest}"


def is_key(text: str) -> bool:
    """Whether it is `TYPE BASE64`, as in known_hosts after the names."""
    return _KEY.fullmatch(text) is not None
