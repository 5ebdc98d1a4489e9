"""Faults of the product that a test shows and that are not mended yet."""

import pytest


def known_fault(
    id: str, *, raises: type[BaseException] | tuple[type[BaseException], ...] = AssertionError
) -> pytest.MarkDecorator:
    """Return a mark for a test that fails with `raises` until the fault `id` is mended, and must fail until then.

    The mark goes with the fault: a test that passes under it fails the run. Any other exception than `raises` is no
    proof of the fault, so it fails the run too.
    """
    return pytest.mark.xfail(reason=id, strict=True, raises=raises)
