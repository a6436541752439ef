"""`@tts.uses_gpu`: a function that holds the model for as long as it runs, whatever kind of function it is.

`with tts.on_gpu() as model` inside a generator or around an awaited call is easily written in the wrong
place: a response that still streams after its `with` has ended uses weights that may be leaving. Here the
hold is around the whole run: a call, an `await`, or a generator until it is exhausted or closed.

    @tts.uses_gpu
    def say(model: Voice, text: str) -> bytes: ...          # say("hello")

    @tts.uses_gpu(timeout=30)
    async def stream(text: str, *, model: Voice) -> AsyncIterator[bytes]: ...   # stream("hello")

Where the model goes: to the parameter named `model`, wherever it stands; otherwise to the first one.
The decorated function is called, and shows itself to `inspect` and FastAPI, without that parameter.
"""

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from .hold import Hold

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
P = ParamSpec("P")
R = TypeVar("R")

_NAME = "model"


class UsesGpu(Protocol[T_co]):
    """What `tts.uses_gpu(timeout=…)` gives: the decorator."""

    @overload
    def __call__(self, function: Callable[Concatenate[T_co, P], R], /) -> Callable[P, R]: ...
    @overload
    def __call__(self, function: Callable[..., R], /) -> Callable[..., R]: ...


def hold_while_running(hold: Hold[Any], function: Callable[..., Any], handle: str) -> Any:
    """`function` with the model filled in, held around each run. `handle` is the decorator as the user wrote it.

    Raises TypeError, at decoration, for what is no function or has no place for the model.
    """
    if not callable(function) or isinstance(function, staticmethod | classmethod | type):
        raise TypeError(f"@{handle} was put on {function!r}; put it on a function, below any other decorator")
    place = _Place.of(function, handle)
    hold = hold.for_function(_where(function))
    wrapper = functools.wraps(function)(_wrapper(hold, function, place, handle))
    if place.shown is not None:
        vars(wrapper)["__signature__"] = place.shown
    return wrapper


def _wrapper(hold: Hold[Any], function: Callable[..., Any], place: "_Place", handle: str) -> Callable[..., Any]:
    def run(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args, kwargs = place.filled(model, args, kwargs)
        return function(*args, **kwargs)

    if inspect.isasyncgenfunction(function):

        async def stream(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            async with hold as model, aclosing(run(model, args, kwargs)) as inner:
                try:
                    item = await anext(inner)
                    while True:
                        try:
                            sent = yield item
                        except GeneratorExit:
                            raise  # closed early: `aclosing` ends the inner one first, then the hold
                        except BaseException as error:
                            item = await inner.athrow(error)
                        else:
                            item = await inner.asend(sent)
                except StopAsyncIteration:
                    return

        return stream
    if inspect.iscoroutinefunction(function):

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            async with hold as model:
                return await run(model, args, kwargs)

        return awaited
    if inspect.isgeneratorfunction(function):

        def generate(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            with hold as model:
                return (yield from run(model, args, kwargs))

        return generate

    def call(*args: Any, **kwargs: Any) -> Any:
        with hold as model:
            return _refuse_what_runs_later(run(model, args, kwargs), function, handle)

    return call


def _refuse_what_runs_later(result: Any, function: Callable[..., Any], handle: str) -> Any:
    """A plain function that returns a generator or a coroutine: it would run when nobody holds the model."""
    if inspect.iscoroutine(result):
        result.close()
    elif not (inspect.isgenerator(result) or inspect.isasyncgen(result)):
        return result
    raise TypeError(
        f"{_name(function)}() returned {type(result).__name__.replace('_', ' ')}, which would run after the model "
        f"was let go. Put @{handle} on the function that yields or awaits, or use `with …on_gpu()` inside it"
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the call the model goes. index: None for a keyword-only parameter."""

    name: str
    index: int | None
    shown: inspect.Signature | None

    @classmethod
    def of(cls, function: Callable[..., Any], handle: str) -> "_Place":
        try:
            signature = _signature(function)
        except ValueError:
            return cls(_NAME, 0, None)  # a builtin without a signature
        parameters = list(signature.parameters.values())
        named = [n for n, parameter in enumerate(parameters) if parameter.name == _NAME]
        index = named[0] if named else 0
        chosen = parameters[index] if parameters else None
        if chosen is None or (chosen.kind in (chosen.VAR_KEYWORD, chosen.KEYWORD_ONLY) and not named):
            raise TypeError(
                f"{_name(function)}() has no parameter for the model; give it one: def {_name(function)}(model, …). "
                f"Where the model is not needed, write `with {handle.partition('.')[0]}.on_gpu():`"
            )
        if not named and chosen.name in ("self", "cls"):
            raise TypeError(
                f"{_name(function)}() is a method, and its first parameter is {chosen.name!r}; "
                "name the one that takes the model `model`"
            )
        if chosen.kind in (chosen.VAR_POSITIONAL, chosen.VAR_KEYWORD):
            return cls("", 0, signature)
        rest = signature.replace(parameters=parameters[:index] + parameters[index + 1 :])
        return cls(chosen.name, None if chosen.kind is chosen.KEYWORD_ONLY else index, rest)

    def filled(
        self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self.name in kwargs:
            raise TypeError(f"{self.name}= was given, and the decorator gives it; leave it out")
        if self.index is None or self.index > len(args):
            return args, {**kwargs, self.name: model}
        return (*args[: self.index], model, *args[self.index :]), kwargs


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """With annotations as objects where they can be had: who reads them does not know the user's module."""
    try:
        return inspect.signature(function, eval_str=True)
    except (NameError, SyntaxError, AttributeError, TypeError):
        return inspect.signature(function)


def _where(function: Callable[..., Any]) -> str | None:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else None


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
