"""What can go wrong in the console, as who uses it reads it.

ConsoleError
├── SettingsError          a flag makes no sense: correct it
└── Refused                a request that is not answered with data; carries the HTTP status
    ├── NotAuthenticated   401: no token, or one that the API server does not take (any more)
    └── BadRequest         422: what was asked makes no sense
"""


class ConsoleError(Exception):
    pass


class SettingsError(ConsoleError):
    """The text names the flag and what to write instead."""


class Refused(ConsoleError):
    """`detail` is a sentence for people, `hint` what they can do. Nothing was changed."""

    def __init__(self, status: int, title: str, detail: str, hint: str = "") -> None:
        super().__init__(detail)
        self.status, self.title, self.detail, self.hint = status, title, detail, hint


GET_A_TOKEN = "kubectl create token NAME -n NAMESPACE --duration 8h"  # noqa: S105


class NotAuthenticated(Refused):
    def __init__(self, detail: str) -> None:
        hint = f"Get a token of a ServiceAccount with `{GET_A_TOKEN}`, or use the one that your login gives you"
        super().__init__(401, "Who are you?", detail, hint)


class BadRequest(Refused):
    def __init__(self, detail: str) -> None:
        super().__init__(422, "That makes no sense", f"{detail}. Nothing was changed")
