# x
JAPANESE: dict[str, str] = {}
