"""From `package.module:function` in a setting to the user's function, and from `create_app` to an app.

What goes wrong here is the user's typing or the user's code, on the first day. So each way has one
sentence that names the setting and the line, where Python alone would show twenty lines of ours.
"""

import difflib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from starlette.types import ASGIApp

from ..errors import ConfigurationError

_FORM = "write package.module:function"


def find_function(target: str, option: str) -> Callable[..., Any]:
    """The function that `target` names. Raises `ConfigurationError`; `option` is where it was written."""
    module_name, separator, attribute = target.partition(":")
    if not separator or not module_name or not attribute or module_name.endswith(".py"):
        raise ConfigurationError(f"{option} {target!r}: {_FORM}")
    module = _import(module_name, f"{option} {target!r}")
    found = getattr(module, attribute, None)
    if found is None:
        near = difflib.get_close_matches(attribute, vars(module), n=1)
        meant = f"did you mean {near[0]!r}?" if near else "name a function"
        raise ConfigurationError(f"{option} {target!r}: module {module_name!r} has no {attribute!r}; {meant}")
    if not callable(found):
        raise ConfigurationError(
            f"{option} {target!r}: module {module_name!r}: {attribute!r} is {found!r}, which can't be called; "
            "name a function"
        )
    if not isinstance(found, type) and hasattr(found, "state_dict"):
        raise ConfigurationError(
            f"{option} {target!r}: {attribute!r} is a {type(found).__name__} that exists already; name the function "
            "that makes it"
        )
    return found  # type: ignore[no-any-return]


def misfit_of(function: Callable[..., Any], *arguments: object) -> TypeError | None:
    """Why it can't be called with these. None also of a builtin without a signature: calling it says."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        return error
    except ValueError:
        pass
    return None


def make_app(create_app: Callable[..., Any], residency: object, option: str) -> ASGIApp:
    """What `create_app(residency)` returns. Raises `ConfigurationError` when it raises or gives no ASGI app."""
    misfit = misfit_of(create_app, residency)
    if misfit is not None:
        raise ConfigurationError(
            f"{option}: it takes no ResidencyManager ({misfit}); write def create_app(residency)"
        ) from misfit
    try:
        app = create_app(residency)
    except ConfigurationError as error:
        raise ConfigurationError(f"{option}: {error}{where_in_users_code(error)}") from error
    except Exception as error:
        raise ConfigurationError(f"{option} raised {_told(error)}") from error
    problem = _no_asgi_app_because(app)
    if problem is not None:
        raise ConfigurationError(f"{option} returned {problem}")
    return app  # type: ignore[no-any-return]


def _import(name: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(f"{missing}."):
            raise ConfigurationError(
                f"{where}: no module {missing!r}. Start in the project's folder or set PROJECT_DIR"
            ) from error
        raise ConfigurationError(
            f"{where}: {name!r} imports {missing!r}, which is not installed for {sys.executable}; install it there"
        ) from error
    except SyntaxError as error:
        raise ConfigurationError(
            f"{where}: {error.msg} ({Path(error.filename or name).name}, line {error.lineno}, column {error.offset})"
        ) from error
    except Exception as error:
        raise ConfigurationError(f"{where}: importing {name!r} raised {_told(error)}") from error
    except SystemExit as error:
        raise ConfigurationError(
            f"{where}: importing {name!r} ended with exit {error.code}{where_in_users_code(error)}"
        ) from error


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}{where_in_users_code(error)}"


def where_in_users_code(error: BaseException) -> str:
    """The last line of the user's own code that the error came through, as ` (file.py, line 7)`."""
    here = Path(__file__).parent.parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if here not in file.parents and "site-packages" not in file.parts and file.is_file() and not _of_python(file):
            return f" ({file.name}, line {frame.lineno})"
    return ""


def _of_python(file: Path) -> bool:
    return Path(importlib.__file__ or "").parent.parent in file.parents


def _no_asgi_app_because(app: object) -> str | None:
    if app is None:
        return "None; end it with `return app`"
    if inspect.iscoroutine(app):
        app.close()
        return "a coroutine; write `def`, not `async def`, and start what must be awaited in the app's lifespan"
    kind = type(app).__name__
    if hasattr(app, "launch") and hasattr(app, "queue"):
        return f"a Gradio {kind}; return gr.mount_gradio_app(FastAPI(), demo, path='/')"
    if hasattr(app, "wsgi_app"):
        return f"a WSGI app ({kind}); wrap it: a2wsgi.WSGIMiddleware(app)"
    wanted = "return an ASGI app: FastAPI, Starlette, or a callable (scope, receive, send)"
    if not callable(app):
        return f"{kind}, which is no app; {wanted}"
    try:
        inspect.signature(app).bind({}, None, None)
    except (TypeError, ValueError):
        return f"{kind}, which takes no (scope, receive, send); {wanted}"
    return None
