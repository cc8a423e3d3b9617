"""What settings check about themselves: a sentence that says what arrived and what to change."""


def require(condition: bool, sentence: str) -> None:
    """Refuse a setting with a sentence."""
    if not condition:
        raise ValueError(sentence)


def check_name(what: str, name: str, known: tuple[str, ...]) -> None:
    """Refuse a name that is not one of those known."""
    require(name in known, f"{what}={name!r} is not known; expected one of {known}")


def check_largest_error(error: float) -> None:
    """Refuse what is no relative error that a latent may have."""
    require(error > 0, f"largest_error={error} must be positive; inf lets any error pass")
