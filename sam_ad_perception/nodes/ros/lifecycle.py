"""Managed node whose services answer at any time: while it loads, and to any transition."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future as Work
from typing import Any

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future

from sam_ad_perception.nodes.ros.bond import ManagerBond
from sam_ad_perception.nodes.ros.node import PerceptionNode

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
ERROR = TransitionCallbackReturn.ERROR

ASKED_FOR = {
    Transition.TRANSITION_CONFIGURE,
    Transition.TRANSITION_CLEANUP,
    Transition.TRANSITION_ACTIVATE,
    Transition.TRANSITION_DEACTIVATE,
    Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
    Transition.TRANSITION_INACTIVE_SHUTDOWN,
    Transition.TRANSITION_ACTIVE_SHUTDOWN,
}
"""Transitions that others may ask for; the rest is the outcome of these."""


class ManagedNode(LifecycleNodeMixin, PerceptionNode, ABC):
    """A lifecycle node that configures in another thread and refuses what does not fit its state.

    rclpy's own runs `on_configure` in the executor's thread, which answers nobody meanwhile, and
    lets an unknown transition raise, which ends the process.
    """

    def __init__(self, name: str, **options: Any) -> None:
        """Advertise the lifecycle services.

        Args:
            name: Of the node.
            **options: Of `rclpy.node.Node`.
        """
        PerceptionNode.__init__(self, name, **options)
        # A group of their own: `change_state` waits for the outcome, the others answer meanwhile.
        LifecycleNodeMixin.__init__(
            self, enable_communication_interface=True, callback_group=ReentrantCallbackGroup()
        )
        # rclpy awaits a coroutine, which its hint does not know.
        self._service_change_state.callback = self._answer_change_state  # type: ignore[assignment]
        self._work_done = self.create_guard_condition(self._finish_configuring)
        self._configuring: tuple[Work[Any], Future, LifecycleState] | None = None
        self._bond = ManagerBond(self)

    @property
    def state(self) -> str:
        """Label of the current state, for example `configuring`."""
        label: str = self._state_machine.current_state[1]
        return label

    def destroy_node(self) -> None:
        """End the bond's thread, and let go of all ROS entities."""
        self._bond.follow(active=False)
        super().destroy_node()

    @abstractmethod
    def begin_configuring(self) -> Work[Any]:
        """Start the work of `configure` in another thread.

        Returns:
            Its outcome, which `finish_configuring` is handed.

        Raises:
            Exception: It cannot begin; the node stays unconfigured, as where the work raises.
        """

    @abstractmethod
    def finish_configuring(self, result: Any) -> None:
        """Take over what `begin_configuring` made; the executor's thread.

        Args:
            result: Of the work.

        Raises:
            Exception: The node stays unconfigured.
        """

    @abstractmethod
    def fail_configuring(self, error: BaseException) -> None:
        """Clean up after work that did not succeed, and tell; the executor's thread.

        Args:
            error: What was raised.
        """

    def change_state(self, transition: int) -> Future:
        """Begin a transition; the executor's thread.

        Args:
            transition: A constant of `lifecycle_msgs/msg/Transition`.

        Returns:
            Done when the transition is; whether it succeeded. False at once, and nothing happens,
            where the transition does not exist or is not one of the current state.
        """
        outcome = Future()
        possible = {each[0] for each in self._state_machine.available_transitions} & ASKED_FOR
        if transition not in possible:
            self.get_logger().warning(
                f'transition {transition} refused: the node is {self.state}, which has '
                f'{_named(self._state_machine.available_transitions)}'
            )
            outcome.set_result(False)
        elif transition == Transition.TRANSITION_CONFIGURE:
            self._start_configuring(outcome)
        else:
            callback: dict[int, Callable[[LifecycleState], TransitionCallbackReturn]] = {
                Transition.TRANSITION_CLEANUP: self.on_cleanup,
                Transition.TRANSITION_ACTIVATE: self.on_activate,
                Transition.TRANSITION_DEACTIVATE: self.on_deactivate,
            }
            before = self._begin(transition)
            self._end(callback.get(transition, self.on_shutdown), before, outcome)
        return outcome

    def _begin(self, transition: int) -> LifecycleState:
        """Enter the transition's own state; return the one before."""
        number, label = self._state_machine.current_state
        self._state_machine.trigger_transition_by_id(transition, True)
        return LifecycleState(state_id=number, label=label)

    def _end(
        self,
        callback: Callable[[LifecycleState], TransitionCallbackReturn],
        before: LifecycleState,
        outcome: Future,
    ) -> None:
        """Leave the transition's state by what the callback says; an exception is an error."""
        result = self._guarded(callback, before)
        self._state_machine.trigger_transition_by_label(result.to_label(), True)
        if result == ERROR:
            after = self._guarded(self.on_error, before)
            self._state_machine.trigger_transition_by_label(after.to_label(), True)
        self._bond.follow(active=self.state == 'active')
        outcome.set_result(result == SUCCESS)

    def _guarded(
        self,
        callback: Callable[[LifecycleState], TransitionCallbackReturn],
        before: LifecycleState,
    ) -> TransitionCallbackReturn:
        try:
            return callback(before)
        except Exception as err:
            self.get_logger().error(f'{self.state}: {type(err).__name__}: {err}')
            return ERROR

    def _start_configuring(self, outcome: Future) -> None:
        before = self._begin(Transition.TRANSITION_CONFIGURE)
        work: Work[Any]
        try:
            self._bond.check()
            work = self.begin_configuring()
        except Exception as err:
            work = Work()
            work.set_exception(err)
        self._configuring = work, outcome, before
        work.add_done_callback(lambda _: self._work_done.trigger())

    def _finish_configuring(self) -> None:
        """Take over the work's result; the executor's thread."""
        if self._configuring is None or not self._configuring[0].done():
            return
        work, outcome, before = self._configuring
        self._configuring = None

        def take_over(_: LifecycleState) -> TransitionCallbackReturn:
            try:
                self.finish_configuring(work.result())
            except BaseException as err:
                self.fail_configuring(err)
                return FAILURE
            return SUCCESS

        self._end(take_over, before, outcome)

    async def _answer_change_state(
        self, request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        """Serve `change_state`; a label counts before a number, as in rclcpp."""
        wanted = request.transition.id
        if request.transition.label:
            by_label = {each[1]: each[0] for each in self._state_machine.available_transitions}
            wanted = by_label.get(request.transition.label, -1)
        response.success = bool(await self.change_state(wanted))
        return response


def _named(transitions: list[tuple[Any, ...]]) -> str:
    """List transitions that can be asked for, as `ros2 lifecycle list` names them."""
    names = sorted(f'{each[1]} ({each[0]})' for each in transitions if each[0] in ASKED_FOR)
    return ', '.join(names) or 'no transition'
