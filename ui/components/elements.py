"""Flowtrail's own React components as Dash knows them; the scripts in assets/ draw them, without a build step."""

from typing import Any, ClassVar

from dash.development.base_component import Component


class _Own(Component):
    """A component of `window.flowtrail_ui`: its type is the class's name, its properties are `props` and an id."""

    props: ClassVar[tuple[str, ...]] = ()
    _namespace = "flowtrail_ui"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        names = ["id", *cls.props]
        for attribute in ("_prop_names", "available_properties"):
            setattr(cls, attribute, names)
        for attribute in ("_children_props", "_valid_wildcard_attributes", "available_wildcard_properties"):
            setattr(cls, attribute, [])
        setattr(cls, "_base_nodes", ["children"])  # noqa: B010  (a name of the base class, unknown to type checkers)
        setattr(cls, "_type", cls.__name__)  # noqa: B010

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)  # type: ignore[no-untyped-call]


class Icon(_Own):
    """One of the glyphs in assets/icons.js, `size` pixels wide."""

    props = ("name", "size", "className")


class Spark(_Own):
    """A small line from zero, `values` with null where nothing was seen, ending in a dot."""

    props = ("values", "width", "height", "tone", "label")


class Chart(_Own):
    """A line over time with axes: `points` of [ms since the epoch, value], in `unit`."""

    props = ("points", "height", "tone", "label", "marks")


class Clock(_Own):
    """A moment, `ms` since the epoch, in the reader's own time zone. `precise` shows milliseconds."""

    props = ("ms", "precise")


class Search(_Own):
    """The search box of the top bar: goes to /flows."""

    props = ("value",)


class TimeRange(_Own):
    """The time range of the top bar. `begin` and `end` as the address has them; `choices` of [label, from]."""

    props = ("begin", "end", "choices", "label")


class Live(_Own):
    """Live or paused; `fixed` when the address names an end, so that nothing new can come.

    `away` when the collector does not answer.
    """

    props = ("fixed", "away")


class ThemeSwitch(_Own):
    """Light or dark."""


class Choice(_Own):
    """A select whose choice becomes the parameter `name` of the address; `options` of [value, label]."""

    props = ("name", "label", "value", "options")


class LiveMap(_Own):
    """The map: a scene of components/scene.py, asked for again at `source` while it is live."""

    props = ("scene", "source", "label")


class Plan(_Own):
    """A small still map of one flow."""

    props = ("scene", "label")


class Copy(_Own):
    """A button that copies `text`."""

    props = ("text", "label")


class MapSummary(_Own):
    """The line that counts what is on the map, kept up to date with it."""

    props = ("text",)
