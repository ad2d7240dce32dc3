"""What the window is furnished with: all that takes long to import, in one place.

`app` imports this module in a thread while the frame of the window is on screen already; `main_window` names it as
`deferred`, so that the same window can also be made at once.
"""

from __future__ import annotations

from ..analysis.registry import analysis, ids
from ..models.selection import is_in
from ..models.session import Pane, Session
from ..models.store import RunStore
from .breadcrumbs import Breadcrumbs
from .engine_choice import EngineChoice
from .exports import Exports
from .feed import Feed
from .health_watch import HealthWatch
from .housekeeping import Housekeeping
from .menus import Menus
from .pane_area import PaneArea
from .panes.analysis import AnalysisPane
from .panes.curves import CurvesPane
from .panes.inspector import Inspector
from .panes.items import ItemsPane
from .panes.problems import ProblemsPane
from .panes.runs import RunsPane
from .session_files import SessionFiles
from .shown_figures import ShownFigures
from .status import StatusBar
from .tasks import TaskRunner
from .widgets.message_bar import MessageBar
from .workspace import Workspace

__all__ = [
    "AnalysisPane",
    "Breadcrumbs",
    "CurvesPane",
    "EngineChoice",
    "Exports",
    "Feed",
    "HealthWatch",
    "Housekeeping",
    "Inspector",
    "ItemsPane",
    "Menus",
    "MessageBar",
    "Pane",
    "PaneArea",
    "ProblemsPane",
    "RunStore",
    "RunsPane",
    "Session",
    "SessionFiles",
    "ShownFigures",
    "StatusBar",
    "TaskRunner",
    "Workspace",
    "analysis",
    "ids",
    "is_in",
]
