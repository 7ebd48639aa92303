"""Whoever sends properly is served beside whoever does not."""

from benchmarks.hostile import run


def test_an_honest_sender_is_served_while_others_attack() -> None:
    results, counted = run(["idle", "slow", "bombs", "nested"], seconds=0.5, divisor=50)
    assert counted == {"missing": 0, "twice": 0}
    for result in results:
        assert result.spans > 0
        assert (result.refused, result.failed) == (0, 0)
