"""The lifecycle services of the segmentation node: any request, in any state, while it loads."""

import time

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters, ListParameters, SetParameters
from rclpy.parameter import Parameter

pytestmark = pytest.mark.ros

EVERY_ID = (*range(9), 10, 11, 12, 20, 30, 40, 41, 42, 50, 51, 60, 61, 62, 99, 255)
NEXT = {
    (State.PRIMARY_STATE_UNCONFIGURED, Transition.TRANSITION_CONFIGURE): 'inactive',
    (State.PRIMARY_STATE_UNCONFIGURED, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN): 'finalized',
    (State.PRIMARY_STATE_INACTIVE, Transition.TRANSITION_ACTIVATE): 'active',
    (State.PRIMARY_STATE_INACTIVE, Transition.TRANSITION_CLEANUP): 'unconfigured',
    (State.PRIMARY_STATE_INACTIVE, Transition.TRANSITION_INACTIVE_SHUTDOWN): 'finalized',
    (State.PRIMARY_STATE_ACTIVE, Transition.TRANSITION_DEACTIVATE): 'inactive',
    (State.PRIMARY_STATE_ACTIVE, Transition.TRANSITION_ACTIVE_SHUTDOWN): 'finalized',
}
"""What the managed node design allows: (state, transition) -> state after it."""


class Client:
    """Calls the services of one node."""

    def __init__(self, graph, process):
        self.graph, self.process = graph, process
        self.clients = {}

    def begin(self, kind, name, request):
        if name not in self.clients:
            made = self.graph.node.create_client(kind, f'/segmentation/{name}')
            self.clients[name] = made
            self.graph.until(made.service_is_ready, f'the service {name}', 60.0)
        return self.clients[name].call_async(request)

    def call(self, kind, name, request):
        return self.graph.result(self.begin(kind, name, request), f'an answer of {name}', 120.0)

    def change(self, number=0, label=''):
        wanted = Transition(id=number, label=label)
        return self.call(ChangeState, 'change_state', ChangeState.Request(transition=wanted))

    def state(self):
        return self.call(GetState, 'get_state', GetState.Request()).current_state

    def set(self, **values):
        changes = [
            Parameter(name.replace('__', '.'), value=value).to_parameter_msg()
            for name, value in values.items()
        ]
        request = SetParameters.Request(parameters=changes)
        return self.call(SetParameters, 'set_parameters', request).results


@pytest.fixture
def client(graph, start, tiny_model):
    process = start('segmentation_node', ros=[*tiny_model, '-p', 'autostart:=false'])
    yield Client(graph, process)
    process.end()


def refuse_all(client):
    """Ask for every transition that the state does not have."""
    before = client.state()
    for number in EVERY_ID:
        if (before.id, number) not in NEXT:
            assert not client.change(number).success, (before.label, number)
    for label in ('transition_success', 'transition_error', 'create', 'nonsense', 'destroy'):
        assert not client.change(label=label).success, (before.label, label)
    assert client.state() == before
    assert client.process.running


def test_every_transition_in_every_state_is_done_or_refused_and_the_node_lives(client):
    refuse_all(client)
    for number in (
        Transition.TRANSITION_CONFIGURE,
        Transition.TRANSITION_ACTIVATE,
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_ACTIVATE,
    ):
        before = client.state()
        assert client.change(number).success
        assert client.state().label == NEXT[before.id, number]
        refuse_all(client)
    assert client.change(label='deactivate').success
    assert client.change(label='cleanup').success
    assert client.change(label='shutdown').success
    assert client.state().label == 'finalized'
    refuse_all(client)


def test_services_answer_while_a_network_loads(client):
    client.state()
    configured = client.begin(
        ChangeState,
        'change_state',
        ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE)),
    )
    seen, longest = [], 0.0
    while not configured.done():
        begin = time.monotonic()
        seen.append(client.state().label)
        longest = max(longest, time.monotonic() - begin)
        if len(seen) == 2:
            assert not client.change(Transition.TRANSITION_CONFIGURE).success
            assert not client.change(Transition.TRANSITION_ACTIVATE).success
    assert configured.result().success
    assert seen.count('configuring') > 3
    assert longest < 2.0  # importing torch holds the interpreter for parts of a second
    assert client.state().label == 'inactive'


def test_parameters_of_an_unconfigured_node_count_when_it_is_configured(client):
    client.state()
    results = client.set(
        model__key='no_such_network', qos__depth=7, views=['left', 'right'], model__threads=-3
    )
    assert [each.successful for each in results] == [True, True, True, False]
    assert 'model.threads' in results[3].reason
    assert not client.change(Transition.TRANSITION_CONFIGURE).success
    assert "'no_such_network'" in client.process.output
    assert all(each.successful for each in client.set(model__key='tiny'))
    assert client.change(Transition.TRANSITION_CONFIGURE).success
    names = {name for name, _ in client.graph.node.get_topic_names_and_types()}
    assert {'/left/semantic/image', '/right/semantic/image'} <= names
    (refused,) = client.set(model__key='other')
    assert not refused.successful
    assert 'unconfigured' in refused.reason


def test_all_parameters_can_be_set_to_what_they_are_in_any_state(client):
    for number in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        names = client.call(ListParameters, 'list_parameters', ListParameters.Request()).result
        held = client.call(
            GetParameters, 'get_parameters', GetParameters.Request(names=names.names)
        )
        assert len(names.names) > 120
        request = SetParameters.Request(
            parameters=[
                Parameter.from_parameter_msg(_message(name, value)).to_parameter_msg()
                for name, value in zip(names.names, held.values, strict=True)
            ]
        )
        answers = client.call(SetParameters, 'set_parameters', request).results
        refused = [n for n, a in zip(names.names, answers, strict=True) if not a.successful]
        assert refused == []
        assert client.change(number).success


def _message(name, value):
    from rcl_interfaces.msg import Parameter as Message

    return Message(name=name, value=value)
