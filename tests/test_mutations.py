"""The mutations can be made, and their table is one."""

import re
import runpy
import subprocess
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
TOOL = runpy.run_path(str(TESTS / "mutations"))
MUTATIONS = TOOL["MUTATIONS"]


def test_every_error_can_be_made():
    for mutation in MUTATIONS:
        text = (TESTS.parent / "fsb" / mutation.file).read_text()
        found = text.count(mutation.old)
        assert found == 1, f"{mutation.what}: {mutation.old!r} stands {found} times in the file"
        assert mutation.old != mutation.new
        assert all(path.is_file() for path in mutation.paths), mutation.what
    names = [(mutation.file, mutation.what) for mutation in MUTATIONS]
    assert len(set(names)) == len(names)


def test_every_row_of_the_table_has_three_cells():
    rows = [line for line in (TESTS / "MUTATIONS.md").read_text().splitlines() if line[:1] == "|"]
    assert len(rows) > 300
    for row in rows:
        assert len(re.split(r"(?<!\\)\|", row)) == 5, row
    escaped = TOOL["table_row"](MUTATIONS[0]._replace(what="|w|"), "test")
    assert escaped == f"| {MUTATIONS[0].file} | \\|w\\| | test |\n"


def test_what_changed_since_a_revision(tmp_path, monkeypatch):
    def git(*arguments):
        name = ("-c", "user.name=a", "-c", "user.email=b", "-c", "init.defaultBranch=main")
        subprocess.run(["git", "-C", tmp_path, *name, *arguments], check=True, capture_output=True)

    changed = TOOL["changed_files"]
    monkeypatch.setitem(changed.__globals__, "ROOT", tmp_path)
    git("init")
    for name in ("first", "second", "third"):
        (tmp_path / name).write_text(name)
        git("add", name)
        git("commit", "-m", name)
    assert changed("") == {tmp_path / "third"}
    assert changed("HEAD~2") == {tmp_path / "second", tmp_path / "third"}
    git("update-ref", "refs/remotes/origin/main", "HEAD~2")
    (tmp_path / "first").write_text("changed")
    (tmp_path / "new").write_text("new")
    assert changed("") == {tmp_path / name for name in ("first", "second", "third", "new")}


def test_a_command_line_that_says_nothing(capsys):
    assert TOOL["main"](["no", "such", "words"]) is True
    assert capsys.readouterr().err == "no mutation has the words no such words\n"
    with pytest.raises(SystemExit, match="2"):
        TOOL["main"](["--chang"])
