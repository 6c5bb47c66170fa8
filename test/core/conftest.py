"""Messages in the two forms that the package meets: of recordings, and of rclpy."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import pytest

from sam_ad_perception.bags.formats.type_store import make_typestore


@pytest.fixture(scope='session')
def bags() -> SimpleNamespace:
    """Types of rosbags by name, and the way of a message over its CDR."""
    store = make_typestore()

    def round_trip(message):
        kind = message.__msgtype__
        return store.deserialize_cdr(store.serialize_cdr(message, kind), kind)

    return SimpleNamespace(types=store.types.__getitem__, round_trip=round_trip)


@pytest.fixture(scope='session')
def rclpy_messages() -> SimpleNamespace:
    """The same of rclpy."""
    serialization = pytest.importorskip('rclpy.serialization')

    def types(name):
        package, kind, message = name.split('/')
        return getattr(importlib.import_module(f'{package}.{kind}'), message)

    def round_trip(message):
        data = serialization.serialize_message(message)
        return serialization.deserialize_message(data, type(message))

    return SimpleNamespace(types=types, round_trip=round_trip)


@pytest.fixture(
    scope='session', params=['bags', pytest.param('rclpy_messages', marks=pytest.mark.ros)]
)
def ros(request) -> SimpleNamespace:
    """Each of them in turn."""
    return request.getfixturevalue(request.param)
