"""Whether methods that stand in for a client's own do anything."""


class Switch:
    """Off, a replaced method calls the original and no more: for the case that it cannot be taken out."""

    is_on = False
