"""A check that the topics share: a value stated on a page as "below bound"."""


def below(bound, value):
    """``bound``, for a page that says "below bound"; AssertionError if ``value`` is not."""
    assert abs(value) < bound, f"{value} is not below {bound}"
    return bound
