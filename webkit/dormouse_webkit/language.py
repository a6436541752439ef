"""Which of the page's languages a browser would rather read, from its Accept-Language."""

ENGLISH, CHINESE = "en", "zh-CN"


def preferred(accept_language: str) -> str:
    """English unless Chinese is asked for with a higher weight. Malformed parts count for nothing."""
    weights = {ENGLISH: 0.0, CHINESE: 0.0}
    for part in accept_language.lower().split(","):
        tag, _, parameter = part.strip().partition(";")
        language = {"en": ENGLISH, "zh": CHINESE}.get(tag.strip().partition("-")[0])
        if language is not None:
            weights[language] = max(weights[language], _weight(parameter))
    return CHINESE if weights[CHINESE] > weights[ENGLISH] else _first(accept_language, weights)


def _first(accept_language: str, weights: dict[str, float]) -> str:
    """Equal weights: the one that is named first."""
    tied = weights[CHINESE] == weights[ENGLISH] > 0
    text = accept_language.lower()
    return CHINESE if tied and text.find("zh") < text.find("en") else ENGLISH


def _weight(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(1.0, max(0.0, float(value)))
    except ValueError:
        return 0.0
