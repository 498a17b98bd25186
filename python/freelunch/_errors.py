"""What the package raises."""


class Error(RuntimeError):
    """What went wrong, in one line: the message that the command prints.

    A request that cannot be met (an unknown value, options that contradict each other) is a ValueError instead, an
    unknown keyword a TypeError, and Ctrl-C a KeyboardInterrupt.

    kind: "bad-file", "unsupported", "numerical", "io" or "internal".
    """

    def __init__(self, message: str, kind: str = "internal"):
        super().__init__(message)
        self.kind = kind

    def __reduce__(self):
        return type(self), (str(self), self.kind)
