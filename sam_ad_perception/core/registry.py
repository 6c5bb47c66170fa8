"""Things known by a name: those of the package, and those that installed packages bring.

A package brings an entry by an entry point in its own `setup.py` or `pyproject.toml`; installing
it is all that is needed::

    entry_points={'sam_ad_perception.networks': ['toy = my_package.toy:TOY']}
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from threading import RLock
from typing import Any, Generic, TypeVar

T = TypeVar('T')
Reference = Callable[..., Any] | str
"""A function or class, or where it is, as `package.module:name`: imported when it is needed."""

_LOG = logging.getLogger(__name__)


@cache
def _find(text: str) -> Any:
    module, _, name = text.partition(':')
    return getattr(import_module(module), name)


def resolve(reference: Reference) -> Any:
    """Get the function or class that a reference stands for.

    Args:
        reference: It, or `package.module:name`.

    Returns:
        The function or class.

    Raises:
        ImportError: There is no such module.
        AttributeError: The module has no such name.
    """
    return _find(reference) if isinstance(reference, str) else reference


class Registry(Mapping[str, T], Generic[T]):
    """Entries by name, the package's own first, then those of entry points by name.

    Entry points are looked up once, when a name is asked for that is not the package's own or when
    all are listed. One that does not load costs itself alone: it is left out of the list, logged,
    and told to whoever asks for it by its name.

    Args:
        group: Of the entry points, for example `sam_ad_perception.networks`.
        what: What an entry is, for messages.
        entry_type: What an entry point must give.
        own: Entries of the package, or where each is, as `package.module:name`.
    """

    def __init__(
        self, group: str, what: str, entry_type: type[T], own: Mapping[str, T | str]
    ) -> None:
        self.group = group
        self.what = what
        self._type = entry_type
        self._own = dict(own)
        self._foreign: dict[str, T] | None = None
        self._broken: dict[str, str] = {}
        self._lock = RLock()

    def __getitem__(self, name: str) -> T:
        """Get an entry.

        Raises:
            KeyError: There is none of this name.
            ValueError: An installed package brings it, but it does not load; with the reason.
        """
        if name in self._own:
            own = self._own[name]
            entry: T = resolve(own) if isinstance(own, str) else own
            return entry
        foreign = self._load()
        if name in self._broken:
            raise ValueError(f'{self.what} {name!r} cannot be used: {self._broken[name]}')
        return foreign[name]

    def __iter__(self) -> Iterator[str]:
        """Names of the entries that can be used."""
        yield from self._own
        yield from self._load()

    def __len__(self) -> int:
        """How many can be used."""
        return len(self._own) + len(self._load())

    def __contains__(self, name: object) -> bool:
        """Whether there is an entry of this name that can be used."""
        return name in self._own or name in self._load()

    @property
    def broken(self) -> Mapping[str, str]:
        """For each entry point that gives no entry, why."""
        self._load()
        return dict(self._broken)

    @property
    def foreign(self) -> Mapping[str, T]:
        """The entries that installed packages bring."""
        return dict(self._load())

    def _load(self) -> Mapping[str, T]:
        """Load the entry points, once; what they import may ask for entries meanwhile."""
        with self._lock:
            if self._foreign is None:
                self._foreign = {}
                for point in sorted(entry_points(group=self.group), key=lambda p: p.name):
                    self._add(point, self._foreign)
            return self._foreign

    def _add(self, point: EntryPoint, found: dict[str, T]) -> None:
        try:
            if point.name in self._own or point.name in found:
                raise ValueError(f'the name is taken: {self.what} {point.name!r} is there already')
            entry = point.load()
            if not isinstance(entry, self._type):
                raise TypeError(f'it must be a {self._type.__name__}, got {type(entry).__name__}')
            own_name = getattr(entry, 'name', point.name)
            if own_name != point.name:
                raise ValueError(f'it calls itself {own_name!r}')
        except Exception as err:
            reason = f'entry point {point.value!r} in {self.group}: {type(err).__name__}: {err}'
            self._broken[point.name] = reason
            _LOG.warning('%s %s is left out: %s', self.what, point.name, reason)
        else:
            found[point.name] = entry
