"""What a page gives to the shell."""

from collections.abc import Callable
from dataclasses import dataclass

from dash.development.base_component import Component


@dataclass(frozen=True, slots=True)
class View:
    """`main` and, where something is chosen, `panel`. `is_live`: shown again while the present moves on.

    A main part that is costly to make is given as what makes it: with a new panel alone it is not made.

    `refreshes_itself`: the main part keeps itself up to date and is not replaced by the shell.
    """

    title: str
    main: Component | Callable[[], Component]
    panel: Component | None = None
    is_live: bool = True
    refreshes_itself: bool = False

    def drawn(self) -> Component:
        """The main part."""
        return self.main if isinstance(self.main, Component) else self.main()
