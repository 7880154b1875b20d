"""What a push may do: the rules, and that no world makes it destroy something."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fossilrepo.services.mirror_plan import WIKI, plan, wanted

_REFS = st.sampled_from(["refs/heads/a", "refs/heads/b", "refs/tags/t", "refs/pull/1/head"])
_HASHES = st.sampled_from(["1" * 40, "2" * 40, "3" * 40, "f" * 40])
_WORLD = st.dictionaries(_REFS, _HASHES, max_size=4)
KNOWN = {"1" * 40, "2" * 40, "3" * 40}  # `f…` is somebody else's work


@given(desired=_WORLD, extra=_WORLD, owned=_WORLD, remote=_WORLD, taken_over=_WORLD)
def test_nothing_of_others_is_lost_and_what_is_done_makes_it_equal(
    desired: dict[str, str],
    extra: dict[str, str],
    owned: dict[str, str],
    remote: dict[str, str],
    taken_over: dict[str, str],
) -> None:
    desired = {r: h for r, h in desired.items() if h in KNOWN and not r.startswith("refs/pull")}
    made = plan(
        desired=desired,
        export={*desired, *extra},
        owned=owned,
        remote=remote,
        known=KNOWN,
        taken_over=taken_over,
    )
    if made.stops:
        assert made.updates == ()
        return
    after = dict(remote)
    for update in made.updates:
        assert update.expected == remote.get(update.ref, ""), "the lease is what was seen"
        lost = remote.get(update.ref)
        if lost is not None and lost not in KNOWN:
            assert taken_over.get(update.ref) == lost, "a person said so"
        if update.new:
            after[update.ref] = update.new
        else:
            assert update.ref in owned and update.ref not in desired
            del after[update.ref]
    assert desired.items() <= after.items()
    for ref, theirs in remote.items():
        if ref not in desired and ref not in owned:
            assert after[ref] == theirs, "refs of others stay"
    strangers = [h for r, h in remote.items() if h not in KNOWN and "/pull/" not in r]
    if not owned and strangers:
        assert taken_over, "at first contact a person looks"


def test_the_wiki_moves_when_it_is_as_we_left_it() -> None:
    def made(remote: str) -> bool:
        found = plan(
            desired={WIKI: "2" * 40},
            export={WIKI},
            owned={WIKI: "f" * 40},
            remote={WIKI: remote},
            known=(),
            taken_over={},
        )
        return not found.stops

    assert made("f" * 40) and not made("e" * 40)


def test_globs_choose_branches_and_tags_are_apart() -> None:
    refs = {"refs/heads/main": "1", "refs/heads/r/1": "2", "refs/tags/v": "3", WIKI: "4"}
    assert set(wanted(refs, "main", tags=True)) == {"refs/heads/main", "refs/tags/v", WIKI}
    assert set(wanted(refs, "main, r/*", tags=False)) == {
        "refs/heads/main", "refs/heads/r/1", WIKI,
    }  # fmt: skip
    assert set(wanted(refs, "*", tags=True)) == set(refs)
