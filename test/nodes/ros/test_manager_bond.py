"""The bond where bondpy is not installed; with it see test/conformance/test_bond.py."""

from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from sam_ad_perception.nodes.ros import bond

pytestmark = pytest.mark.ros


def node_with(parameters):
    return SimpleNamespace(
        has_parameter=parameters.__contains__,
        get_parameter=lambda name: SimpleNamespace(value=parameters[name]),
    )


@pytest.mark.parametrize('parameters', [{}, {bond.PERIOD_PARAMETER: 0.0}])
def test_a_node_that_is_not_told_to_forms_no_bond(parameters, monkeypatch):
    monkeypatch.setattr(bond, 'bondpy', None)
    made = bond.ManagerBond(node_with(parameters))
    made.check()
    made.follow(active=True)
    made.follow(active=False)


def test_a_bond_without_bondpy_is_refused_by_a_sentence(monkeypatch):
    monkeypatch.setattr(bond, 'bondpy', None)
    made = bond.ManagerBond(node_with({bond.PERIOD_PARAMETER: 0.1}))
    with pytest.raises(ValueError, match=r'bond_heartbeat_period 0\.1 needs bondpy, which is not'):
        made.check()
