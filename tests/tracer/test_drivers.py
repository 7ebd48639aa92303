"""What a library cannot do is said, with the reason, so that no sentence of the contract is left out in silence."""

import pytest

from .drivers import DRIVERS
from .drivers.driver import Ability, Driver

each_driver = pytest.mark.parametrize("kind", DRIVERS, ids=[kind.name for kind in DRIVERS])


@each_driver
def test_every_ability_is_there_or_its_absence_has_a_reason(kind: type[Driver]) -> None:
    assert kind.can | kind.cannot.keys() == set(Ability)
    assert not kind.can & kind.cannot.keys()
    assert all(reason.strip() for reason in kind.cannot.values())


@pytest.mark.parametrize("ability", Ability, ids=[ability.name for ability in Ability])
def test_every_ability_is_held_by_some_library(ability: Ability) -> None:
    assert any(ability in kind.can for kind in DRIVERS)


def test_a_driver_that_says_nothing_can_do_nothing() -> None:
    assert Driver.can == frozenset()
