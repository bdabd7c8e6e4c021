# x
FRENCH: dict[str, str] = {}
