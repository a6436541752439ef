"""What an error's traceback keeps alive: the local variables of every frame that it went through.

Views of an arena are among them. While they live, closing the arena gives nothing back to the device, and whoever keeps
the error, in a log or for its waiters, keeps a half-loaded model alive with it.
"""

import traceback


def let_go_of_locals(error: BaseException | None) -> None:
    """Of the error and of those that led to it; frames that still run keep theirs."""
    left, seen = [error], set[int]()
    while left:
        one = left.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)
            left += [one.__cause__, one.__context__]
