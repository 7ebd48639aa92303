"""An acknowledged span survives whatever happens to the process."""

from benchmarks.durability import run


def test_after_two_kills_under_load_every_acknowledged_span_is_there_once() -> None:
    result = run(kills=2)
    assert result.acknowledged_spans > 0
    assert (result.missing, result.twice, result.edges_off_by) == (0, 0, 0)
