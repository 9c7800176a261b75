"""The runner: search, confirmation, workers, MLflow, command line and Python API.

    import sweep

    result = sweep.run("study.toml")
    result = sweep.fit(X, y, minutes=3)

The names are imported when they are first used, because a worker process imports this package too and needs none.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.api import Objective, Result, fit, run

__all__ = ["Objective", "Result", "fit", "run"]


def __getattr__(name: str) -> Any:
    """The API's objects by name."""
    if name not in __all__:
        raise AttributeError(f"module 'sweep' has no attribute {name!r}")
    from sweep import api

    return getattr(api, name)


def __dir__() -> list[str]:
    """The API's names, for completion in a notebook."""
    return sorted([*globals(), *__all__])
