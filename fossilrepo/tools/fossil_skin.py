"""The skin of a repository's own pages: Fossil's `css` and `header`, ours or somebody else's.

Owns how a skin of ours is told from one that people made. Each part begins with a comment that
holds a digest of the rest, so a part that was changed by hand is theirs from then on, also in a
clone or a copy. Taking the rows out gives back Fossil's own skin. Every function blocks.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fossilrepo.tools.fossil_db import config, reading, writing
from fossilrepo.tools.fossil_write import put_config

PARTS = ("css", "header", "footer", "details", "js")  # what makes a skin in Fossil 2.21
_MARK = re.compile(r"(?:/\*|<!--) fossilrepo skin ([0-9a-f]{16}) (?:\*/|-->)\n(.*)", re.DOTALL)


class Worn(StrEnum):
    """What a repository wears: Fossil's own skin, ours, or one that people made."""

    PLAIN = "plain"
    OURS = "ours"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class Skin:
    css: str
    header: str  # HTML with TH1, as in Fossil's own skins

    def rows(self) -> dict[str, str]:
        """As they stand in `config`, marked."""
        return {
            "css": f"/* fossilrepo skin {_digest(self.css)} */\n{self.css}",
            "header": f"<!-- fossilrepo skin {_digest(self.header)} -->\n{self.header}",
        }


def wear(path: Path, skin: Skin | None) -> Worn:
    """Give the repository this skin, or take ours away; one that people made is left alone."""
    wanted = skin.rows() if skin else {}
    with reading(path) as db:
        present = {part: text for part in PARTS if (text := config(db, part))}
    if not all(map(_is_ours, present.values())):
        return Worn.OWN
    if present != wanted:
        with writing(path, ("config",)) as db:
            for part in present.keys() - wanted.keys():
                db.execute("DELETE FROM config WHERE name = ?", (part,))
            put_config(db, wanted)
    return Worn.OURS if wanted else Worn.PLAIN


def _is_ours(text: str) -> bool:
    found = _MARK.fullmatch(text)
    return found is not None and found[1] == _digest(found[2])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
