"""The page: its tabs, its looks, and the server that shows it."""

from __future__ import annotations

import os
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before Gradio looks: nothing leaves this machine

import gradio as gr  # noqa: E402

from audiogen.demo import parts  # noqa: E402
from audiogen.demo.compose_tab import ComposeTab  # noqa: E402
from audiogen.demo.convert_tab import ConvertTab  # noqa: E402
from audiogen.demo.enhance_tab import EnhanceTab  # noqa: E402
from audiogen.demo.models import COMPOSE, CONVERT, ENHANCE, SPEAK, Shelf  # noqa: E402
from audiogen.demo.player import HERE  # noqa: E402
from audiogen.demo.speak_tab import SpeakTab  # noqa: E402

TITLE = "audiogen"
LEAD = "Speech, cleaner recordings, other voices and music in few steps, made on this machine."
KEPT_S = 3600  # files that a page showed are deleted after an hour
TABS = (  # task, label, its page, and what to do where no model is installed
    (SPEAK, "Speak", SpeakTab, "Train one (README.md) and start `audiogen demo --speak FILE`."),
    (ENHANCE, "Enhance", EnhanceTab, "Train one (docs/storm.md) and start `audiogen demo --enhance FILE`."),
    (
        CONVERT,
        "Convert",
        ConvertTab,
        "Train one (docs/stablevc.md) and start `audiogen demo --convert FILE`.",
    ),
    (COMPOSE, "Compose", ComposeTab, "Train one (docs/melody.md) and start `audiogen demo --music FILE`."),
)


def build(shelf: Shelf) -> gr.Blocks:
    """The page with a tab a task; a task without a model says what is missing."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(KEPT_S, KEPT_S)) as page:
        gr.HTML(f"<h1>{TITLE}</h1><p>{LEAD}</p>", elem_classes="ag-head")
        with gr.Tabs():
            for task, label, tab, remedy in TABS:
                with gr.Tab(label, id=task):
                    if shelf.names(task):
                        tab(shelf)
                    else:
                        parts.missing(task, remedy)
    return page


def launch(page: gr.Blocks, host: str = "127.0.0.1", port: int | None = None, *, block: bool = True) -> str:
    """Serve the page -> its address; block: until it is interrupted. Raises OSError for a port in use.

    port: None takes the first free one from 7860 on.
    """
    looks: dict[str, Any] = {
        "theme": gr.themes.Default(primary_hue="indigo", secondary_hue="indigo", neutral_hue="slate"),
        "css": (HERE / "style.css").read_text(encoding="utf-8"),
        "footer_links": [],
    }
    off: dict[str, Any] = {
        "share": False,
        "ssr_mode": False,
        "run_history": False,
        "enable_monitoring": False,
        "pwa": False,
        "mcp_server": False,
    }
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=not block,
        quiet=True,
        show_error=True,
        **looks,
        **off,
    )
    return str(address)
