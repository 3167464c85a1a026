"""What counts as caught: a test that fails, and nothing that could not be run."""

from __future__ import annotations

import pytest
from tests.mutations.patches import Patch, all_patches
from tests.mutations.run import judged, part, wanted

FAILED = "FAILED tests/test_x.py::test_x - AssertionError: assert 1 == 2\n1 failed in 0.1s\n"


def test_a_mutant_is_caught_by_a_test_that_fails() -> None:
    assert judged(1, FAILED) == (True, "tests/test_x.py::test_x - AssertionError: assert 1 == 2")


def test_a_mutant_survives_when_all_tests_pass() -> None:
    caught, why = judged(0, "1 passed in 0.1s\n")
    assert (caught, "SURVIVED" in why) == (False, True)


@pytest.mark.parametrize("code", [2, 3, 4, 5, -9])
def test_a_run_that_did_not_happen_catches_nothing(code: int) -> None:
    caught, why = judged(code, FAILED)
    assert (caught, "BROKEN" in why) == (False, True)


@pytest.mark.parametrize(
    "error",
    [
        "E   NameError: name 'batch' is not defined",
        "E   batchline.errors.StoreError: Error compiling script (new function)",
        "E     File 'x.py', line 1 SyntaxError",
    ],
)
def test_a_program_that_does_not_run_any_more_catches_nothing(error: str) -> None:
    caught, why = judged(1, f"{error}\n{FAILED}")
    assert (caught, "BROKEN" in why) == (False, True)


def test_an_error_that_only_a_test_speaks_of_is_no_broken_program() -> None:
    assert judged(1, f"    raise NameError\n{FAILED}")[0]


@pytest.mark.parametrize(("code", "printed"), [(None, ""), (1, f"E   Failed: Timeout (>60.0s)\n{FAILED}")])
def test_a_mutant_that_hangs_is_caught_and_told_so(code: int | None, printed: str) -> None:
    caught, by = judged(code, printed)
    assert (caught, by.startswith("it hangs")) == (True, True)


def test_patches_are_chosen_by_name_or_fault() -> None:
    patch = Patch(name="store-01-full", fault="the store is full", tests=(), hunks=())
    assert [wanted(patch, only) for only in ("", "01", "is full", "no|store-", "no")] == [True, True, True, True, False]


def test_the_parts_of_a_seed_are_all_the_patches_once() -> None:
    patches = all_patches()
    parts = [part(patches, shard=f"{index}/3", seed=7) for index in (1, 2, 3)]
    assert sorted(patch.name for each in parts for patch in each) == sorted(patch.name for patch in patches)
