"""Errors as people read them: the value and the remedy, no traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import ParamSpec, TypeVar

import gradio as gr

P = ParamSpec("P")
T = TypeVar("T")


def readable(work: Callable[P, Iterator[T]]) -> Callable[P, Iterator[T]]:
    """A generator whose errors are `gr.Error`s; one that is nobody's fault but ours keeps its type's name."""

    @wraps(work)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        try:
            yield from work(*args, **kwargs)
        except gr.Error:
            raise
        except (ValueError, OSError) as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from error
        except Exception as error:
            raise gr.Error(f"{type(error).__name__}: {error}", duration=None) from error

    return wrapped
