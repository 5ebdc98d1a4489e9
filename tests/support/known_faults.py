"""A mark for tests that show a fault of the product that is not fixed yet."""

import pytest


def known_fault(
    id: str, *, raises: type[BaseException] | tuple[type[BaseException], ...] = AssertionError
) -> pytest.MarkDecorator:
    """Return a mark for a test that must fail with `raises` until the fault `id` is fixed.

    Remove the mark with the fault: a test that passes under it fails the run. An exception other than `raises` does not
    prove the fault, so it fails the run too.
    """
    return pytest.mark.xfail(reason=id, strict=True, raises=raises)
