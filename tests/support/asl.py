"""Run a state machine in JSONata with tasks that a test provides, without waiting.

It implements what `infra/backfill.asl.json` uses. For a distributed map, the test lists the items as the item reader
would and runs the child executions.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jsonata import Jsonata

Json = dict[str, Any]
Task = Callable[[Json], Any]


class TaskFailed(Exception):
    """A task failed; the name is the error name of Step Functions."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def named_in(self, names: list[str]) -> bool:
        """Return whether a retrier or catcher with these names takes the error; the first that does is used."""
        return self.name in names or "States.TaskFailed" in names


class Failed(Exception):
    """The execution ended in a `Fail` state or by an error that no state catches; the text is its error."""


@dataclass(frozen=True)
class Machine:
    """States, the first of them, and the tasks by their resource."""

    states: Json
    start: str
    tasks: Mapping[str, Task]

    def run(self, given: Any) -> Any:  # noqa: ANN401 - JSON
        """Run to the end.

        Returns:
            The last state's output.

        Raises:
            Failed: The execution ended in a `Fail` state or by an error that no state catches.
        """
        name, value = self.start, given
        while True:
            state = self.states[name]
            value, following = self._step(state, value)
            if following is None:
                return value
            name = following

    def chosen(self, given: Json) -> str:
        """Return the state that the first choice selects.

        Raises:
            Failed: It is a `Fail` state.
        """
        _, following = self._step(self.states[self.start], given)
        assert following is not None
        if self.states[following]["Type"] == "Fail":
            raise Failed(self.states[following]["Error"])
        return following

    def children(self, distributed: str, listed: Iterable[Json]) -> Iterator[tuple["Machine", Json]]:
        """Yield the child executions of a distributed map over the listed items, with the input of each."""
        state = self.states[distributed]
        assert state["ItemProcessor"]["ProcessorConfig"]["Mode"] == "DISTRIBUTED"
        size = state["ItemBatcher"]["MaxItemsPerBatch"]
        items = [
            evaluate(state["ItemSelector"], {}, {"Map": {"Item": {"Index": index, "Value": each}}})
            for index, each in enumerate(listed)
        ]
        for start in range(0, len(items), size):
            yield self._processor(state), {"Items": items[start : start + size]}

    def _step(self, state: Json, value: Any) -> tuple[Any, str | None]:  # noqa: ANN401 - JSON
        kind = state["Type"]
        if kind == "Choice":
            for choice in state["Choices"]:
                if evaluate(choice["Condition"], value) is True:
                    return value, choice["Next"]
            return value, state["Default"]
        if kind == "Fail":
            raise Failed(state["Error"])
        if kind == "Map":
            items = evaluate(state["Items"], value)
            assert isinstance(items, list)
            result: Any = [self._processor(state).run(each) for each in items]
        elif kind == "Task":
            try:
                result = self.tasks[state["Resource"]](evaluate(state["Arguments"], value))
            except TaskFailed as error:
                caught = next((each for each in state.get("Catch", []) if error.named_in(each["ErrorEquals"])), None)
                if caught is None:
                    raise Failed(error.name) from error
                return evaluate(caught["Output"], value), caught["Next"]
        else:
            assert kind in ("Pass", "Wait", "Succeed")
            result = value
        output = evaluate(state["Output"], value, result=result) if "Output" in state else result
        return output, state.get("Next")

    def _processor(self, state: Json) -> "Machine":
        inner = state["ItemProcessor"]
        return Machine(inner["States"], inner["StartAt"], self.tasks)


def evaluate(node: Any, given: Any, context: Json | None = None, *, result: Any = None) -> Any:  # noqa: ANN401 - JSON
    """Evaluate the expressions in a part of a state; one without a value is an error, as in Step Functions."""
    if isinstance(node, dict):
        return {name: evaluate(each, given, context, result=result) for name, each in node.items()}
    if isinstance(node, list):
        return [evaluate(each, given, context, result=result) for each in node]
    if not (isinstance(node, str) and node.startswith("{%") and node.endswith("%}")):
        return node
    expression = Jsonata(node.removeprefix("{%").removesuffix("%}").strip())
    expression.assign("states", {"input": given, "result": result, "context": context or {}})
    value = expression.evaluate(None)
    assert value is not None, node
    # JSONata has its own list and mapping types.
    return json.loads(json.dumps(value))


def read(text: str, substitutions: Mapping[str, str], tasks: Mapping[str, Task]) -> Machine:
    """Read a definition as SAM deploys it, with its substitutions."""
    for name, value in substitutions.items():
        text = text.replace(f"${{{name}}}", value)
    assert "${" not in text
    definition = json.loads(text)
    assert definition["QueryLanguage"] == "JSONata"
    return Machine(definition["States"], definition["StartAt"], tasks)
