"""The root of all errors of rio_chain. It is here so that several files can define errors."""


class RioError(Exception):
    """The root of everything that rio_chain raises or reports as its own."""

    __module__ = "rio_chain.errors"
