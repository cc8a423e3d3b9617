"""What settings check about themselves: a sentence that says what arrived and what to change."""


def require(condition: bool, sentence: str) -> None:
    """Refuse a setting with a sentence."""
    if not condition:
        raise ValueError(sentence)


def check_name(what: str, name: str, known: tuple[str, ...]) -> None:
    """Refuse a name that is not one of those known."""
    require(name in known, f"{what}={name!r} is not known; expected one of {known}")
