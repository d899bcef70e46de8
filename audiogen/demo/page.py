"""The page: its tabs, its looks, and the server that shows it."""

from __future__ import annotations

import os
from typing import Any

import gradio as gr

from audiogen.demo import ditto, parts
from audiogen.demo.compose_tab import ComposeTab
from audiogen.demo.convert_tab import ConvertTab
from audiogen.demo.enhance_tab import EnhanceTab
from audiogen.demo.models import COMPOSE, CONVERT, ENHANCE, SPEAK, Shelf
from audiogen.demo.player import HERE
from audiogen.demo.speak_tab import SpeakTab
from audiogen.demo.steer import Steer
from audiogen.demo.steer_tab import SteerTab

TITLE = "audiogen"
LEAD = "Speech, cleaner recordings, other voices and music in few steps, made on this machine."
FONT = ("ui-sans-serif", "system-ui", "sans-serif")  # of the system: nothing to fetch
STEER = "steer"
WAITING = 32  # visitors in the queue
LARGEST_FILE = "50mb"
KEPT_S = 3600  # files that a page showed are deleted after an hour
TABS = (  # task, label, its page, and where no model is installed what to read and what to give
    (SPEAK, "Speak", SpeakTab, "README.md", "--speak"),
    (ENHANCE, "Enhance", EnhanceTab, "docs/storm.md", "--enhance"),
    (CONVERT, "Convert", ConvertTab, "docs/stablevc.md", "--convert"),
    (COMPOSE, "Compose", ComposeTab, "docs/melody.md", "--music"),
)


def build(shelf: Shelf, steer: Steer | None = None) -> gr.Blocks:
    """The page with a tab a task; a task without a model says what is missing.

    steer: how music is steered; None: by DITTO-2.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # nothing leaves this machine
    steer = steer or ditto.steer_by_ditto
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(KEPT_S, KEPT_S)) as page:
        gr.HTML(f"<h1>{TITLE}</h1><p>{LEAD}</p>", elem_classes="ag-head")
        with gr.Tabs():
            for task, label, tab, *remedy in TABS:
                with gr.Tab(label, id=task):
                    if shelf.names(task):
                        tab(shelf)
                    else:
                        parts.missing(task, *remedy)
            with gr.Tab("Steer", id=STEER):
                if shelf.names(COMPOSE):
                    SteerTab(shelf, steer)
                else:
                    parts.missing(STEER, *TABS[-1][-2:])
    return page


def launch(page: gr.Blocks, host: str = "127.0.0.1", port: int | None = None, *, block: bool = True) -> str:
    """Serve the page -> its address; block: until it is interrupted. Raises OSError for a port in use.

    port: None takes the first free one from 7860 on.
    """
    looks: dict[str, Any] = {
        "theme": gr.themes.Default(
            primary_hue="indigo", secondary_hue="indigo", neutral_hue="slate", font=FONT
        ),
        # as it stands: rules given as `css` are made to hold inside the tabs only
        "head": f"<style>{(HERE / 'style.css').read_text(encoding='utf-8')}</style>",
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
    page.queue(max_size=WAITING)
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=not block,
        quiet=True,
        show_error=True,
        max_file_size=LARGEST_FILE,
        **looks,
        **off,
    )
    return str(address)
