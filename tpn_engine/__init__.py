"""A portrait in, a head out."""
