"""What the topics share."""


def below(bound, value):
    """``bound``, for a page that says "below bound"; AssertionError when it is not so."""
    assert abs(value) < bound, f"{value} is not below {bound}"
    return bound
