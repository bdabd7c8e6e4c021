# x
GERMAN: dict[str, str] = {}
