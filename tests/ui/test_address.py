"""The address holds the state of a page."""

from hypothesis import given
from hypothesis import strategies as st

from flowtrail.ui.address import Address

NOW_MS = 1_763_800_000_000.0
WORDS = st.text(min_size=1, max_size=20)


@given(st.lists(WORDS, max_size=3), st.dictionaries(st.sampled_from(["q", "select", "from", "row"]), WORDS))
def test_what_is_written_is_read_again(path: list[str], query: dict[str, str]) -> None:
    address = Address(tuple(path), query)
    pathname, _, search = address.here().partition("?")
    assert Address.parse(pathname, f"?{search}" if search else "") == address


def test_without_anything_it_is_the_start_page() -> None:
    assert Address.parse(None, None) == Address()
    assert Address.parse("/", "").page == ""


def test_the_range_of_time_goes_along_to_another_page() -> None:
    address = Address.parse("/map", "?from=-1h&select=topic:orders")
    assert address.to("flows", topic="orders") == "/flows?from=-1h&topic=orders"


def test_none_takes_a_parameter_away() -> None:
    assert Address.parse("/flows", "?q=x&state=failed").here(state=None) == "/flows?q=x"


def test_a_range_moves_with_the_present_until_it_has_an_end() -> None:
    moving = Address.parse("/map", "?from=-1h").window(NOW_MS)
    assert (moving.from_ms, moving.to_ms, moving.is_fixed, moving.label) == (
        NOW_MS - 3_600_000,
        NOW_MS,
        False,
        "Last hour",
    )
    fixed = Address.parse("/map", "?from=1000&to=61000").window(NOW_MS)
    assert (fixed.from_ms, fixed.to_ms, fixed.is_fixed) == (1000, 61000, True)


@given(st.text(max_size=12), st.text(max_size=12))
def test_whatever_the_range_says_a_window_comes_out(begin: str, end: str) -> None:
    window = Address(("map",), {"from": begin, "to": end}).window(NOW_MS)
    assert window.from_ms <= window.to_ms


def test_panel_and_theme_leave_the_main_part_as_it_is() -> None:
    plain = Address.parse("/flow/a", "?rows=all")
    assert Address.parse("/flow/a", "?rows=all&row=5&theme=dark").main_key == plain.main_key
    assert Address.parse("/flow/a", "?rows=path").main_key != plain.main_key
