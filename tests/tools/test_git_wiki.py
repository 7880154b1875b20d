"""The wiki on its branch: every version a commit, in Markdown, the same again from nothing."""

from __future__ import annotations

from pathlib import Path

from fossilrepo.tools import git_export, git_wiki
from fossilrepo.tools.fossil import Limits
from tests.helpers.git_servers import git, refs
from tests.helpers.project import Project

LIMITS = Limits(seconds=60)


async def exported(project: Project, folder: Path) -> str | None:
    """The commit of the wiki's branch."""
    await git_export.export(project.file, folder, identity=None, limits=LIMITS)
    return await git_wiki.export_wiki(project.file, folder, identity=None, limits=LIMITS)


async def test_the_wiki_becomes_markdown_version_by_version(tmp_path: Path) -> None:
    project, folder, page = Project(tmp_path / "project"), tmp_path / "export", tmp_path / "page"

    def put(title: str, text: str, *options: str) -> None:
        page.write_text(text)
        known = title in project("wiki", "ls").splitlines()
        project("wiki", "commit" if known else "create", title, str(page), *options)

    put("Start", "# Hello *there*\n", "-M", "text/x-markdown")
    put("Notes/../xßü", "<b>bold</b> and [Start]\n\n  *  one\n  *  two\n")
    put("Plain", "a ``` b\n", "-M", "text/plain")
    page.write_text("a note")
    project("wiki", "create", "Released", str(page), "-t", "2026-01-02 03:04:05")
    tip, place = await exported(project, folder), git_export.git_dir(folder)
    assert tip == refs(place)["refs/heads/fossil-wiki"]
    assert git(place, "show", "fossil-wiki:Start.md") == "# Hello *there*"
    names = git(place, "ls-tree", "-r", "--name-only", "-z", "fossil-wiki").split("\0")
    assert "technotes/2026-01-02-Released.md" in names and not any(".." in n for n in names)
    other = next(name for name in names if name.startswith("Notes"))
    text = git(place, "show", f"fossil-wiki:{other}")
    assert "**bold**" in text and "* one" in text
    assert git(place, "show", "fossil-wiki:README.md").count("- [") == 4

    put("Start", "# Changed\n", "-M", "text/x-markdown")
    again = await exported(project, folder)
    assert git(place, "rev-parse", "fossil-wiki~1") == tip
    await git_export.forget(folder)
    assert await exported(project, folder) == again


async def test_a_page_that_was_emptied_goes_and_no_wiki_is_no_branch(tmp_path: Path) -> None:
    project, folder, page = Project(tmp_path / "project"), tmp_path / "export", tmp_path / "page"
    assert await exported(project, folder) is None
    page.write_text("text")
    project("wiki", "create", "Start", str(page))
    await exported(project, folder)
    page.write_text("")
    project("wiki", "commit", "Start", str(page))
    assert await exported(project, folder) is not None
    place = git_export.git_dir(folder)
    assert "Start.md" not in git(place, "ls-tree", "-r", "--name-only", "fossil-wiki")
