"""What a page gives to the shell."""

from dataclasses import dataclass

from dash.development.base_component import Component


@dataclass(frozen=True, slots=True)
class View:
    """`main` and, where something is chosen, `panel`. `is_live`: shown again while the present moves on.

    `refreshes_itself`: the main part keeps itself up to date and is not replaced by the shell.
    """

    title: str
    main: Component
    panel: Component | None = None
    is_live: bool = True
    refreshes_itself: bool = False
