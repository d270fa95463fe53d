"""Run one step of a worker, the sweeper or a client's call; a crash ends it as in production."""

import traceback
from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from functions.batch.messages import parse_messages
from functions.batch.sweep import sweep as sweep_account
from functions.batch.worker import work
from heatlens.errors import HeatlensError
from tests.chaos.faults import Crash, Plan
from tests.chaos.queue import MAX_RECEIVES, Letter
from tests.chaos.world import World

Answer = TypeVar("Answer")
AT_ONCE = 10
TIME_S, NO_TIME_S = 100.0, 5.0
SWEEP_S = 61.0
OUT_OF_TIME = 0.03  # invocations that have no time left


def deliver(
    world: World,
    letters: list[Letter] | None = None,
    plan: Plan | None = None,
    *,
    untimely: bool = False,
    unreadable: bool = False,
) -> list[Letter]:
    """Run one invocation of a worker, for given messages or for new ones, and return them.

    An untimely one has no time left; with `unreadable` it can read no upload.
    """
    letters = world.queue.receive(AT_ONCE) if letters is None else letters
    if not letters:
        return []
    event = {"Records": [letter.record for letter in letters]}
    untimely = untimely or bool(plan and plan.rates and world.rng.random() < OUT_OF_TIME)
    world.counts["invocations of the worker"] += 1
    before, again = world.faults.happened, {letter.id for letter in letters}
    world.bucket.unreadable = unreadable
    try:
        with world.faults.step(plan):
            again = work(world.context(), parse_messages(event), lambda: NO_TIME_S if untimely else TIME_S)
    except Crash:
        pass
    except Exception as error:
        _surprise(world, "the worker", error)
    world.bucket.unreadable = False
    troubled = world.faults.happened > before
    for letter in letters:
        tried = letter.attempts - (not troubled and not unreadable)
        if letter.event and tried >= MAX_RECEIVES:
            world.story.exhausted.add(letter.event.key)
        letter.troubled = troubled
        if letter.id not in again:
            world.queue.delete(letter)
    return letters


def sweep(world: World, plan: Plan | None = None) -> None:
    """Run one invocation of the sweeper."""
    world.counts["invocations of the sweeper"] += 1
    try:
        with world.faults.step(plan):
            sweep_account(world.account, int(world.clock.now), lambda: TIME_S)
    except (Crash, ClientError, BotoCoreError):
        return
    except Exception as error:
        _surprise(world, "the sweeper", error)


def outlive_tombstones(world: World) -> None:
    """Let the time pass after which nothing of a purged batch may be left."""
    world.clock.advance(world.account.settings.purge_watch_s)
    for _ in range(2):  # the first may crash
        world.clock.advance(SWEEP_S)
        sweep(world)


def ask(world: World, call: Callable[[], Answer], plan: Plan | None = None) -> Answer | None:
    """Make one call of the API; `None` where it crashed or failed, which its client sees as a 5xx."""
    try:
        with world.faults.step(plan):
            return call()
    except (Crash, ClientError, BotoCoreError):
        return None
    except HeatlensError:
        raise
    except Exception as error:
        _surprise(world, "the api", error)
        return None


def _surprise(world: World, function: str, error: Exception) -> None:
    """Note an exception that the function's callers do not expect."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    world.surprises.append(f"{function} raised {type(error).__name__} in {place.name}")
