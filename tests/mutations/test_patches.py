"""The patches of this folder still fit the tree; whether their tests catch them, `make mutants` shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.mutations.patches import DoesNotApply, Patch, all_patches, applied, missing_tests

PATCHES = all_patches()
FAULT = "# fault: a fault\n# caught by: tests/test_x.py::test_x\n--- a/one.py\n+++ b/one.py\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_a_patch_applies_and_leaves_source_that_can_be_read(patch: Patch) -> None:
    for file, text in applied(patch).items():
        if file.endswith(".py"):
            compile(text, file, "exec")


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_a_patch_names_tests_that_exist(patch: Patch) -> None:
    assert missing_tests(patch) == []


def test_no_two_patches_make_the_same_tree() -> None:
    made = [sorted(applied(patch).items()) for patch in PATCHES]
    assert all(tree not in made[:at] for at, tree in enumerate(made))


def patched(tmp_path: Path, text: str) -> dict[str, str]:
    """Apply a small patch to a tree of one file."""
    (tmp_path / "one.py").write_text(text)
    (tmp_path / "x.patch").write_text(FAULT)
    (patch,) = all_patches(tmp_path)
    return applied(patch, tmp_path)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("a\nb\nc\n", "a\nB\nc\n"), ("x\ny\na\nb\nc\n", "x\ny\na\nB\nc\n"), ("a\nb\nc\na\nb\nc\n", "a\nB\nc\na\nb\nc\n")],
)
def test_a_hunk_is_found_at_its_line_or_where_its_lines_stand(tmp_path: Path, text: str, wanted: str) -> None:
    assert patched(tmp_path, text) == {"one.py": wanted}


@pytest.mark.parametrize("text", ["a\nx\nc\n", "x\na\nb\nc\na\nb\nc\n", ""])
def test_a_hunk_that_fits_nowhere_or_in_several_places_is_to_be_refreshed(tmp_path: Path, text: str) -> None:
    with pytest.raises(DoesNotApply, match="refresh it"):
        patched(tmp_path, text)


def test_a_patch_without_fault_or_tests_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.patch").write_text(FAULT.partition("\n")[2])
    with pytest.raises(ValueError, match="one line `# fault:`"):
        all_patches(tmp_path)
