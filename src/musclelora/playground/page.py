"""The page, made of Gradio's components; what they show is HTML of :mod:`musclelora.playground.markup`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

from markupsafe import Markup

from musclelora.data.messages import shown
from musclelora.errors import MuScleLoraError, UsageError
from musclelora.playground import markup
from musclelora.playground.batch import PROMPTS, ROWS, SUFFIXES, ask_file, write_batch
from musclelora.playground.models import LONGEST, Playground

INSTALL: Final = "pip install 'musclelora[play]'"
_MODELS: Final = {"concurrency_id": "models", "concurrency_limit": 1, "api_visibility": "private"}
_WAITING: Final = 32
"""Requests that wait for the models; more are refused."""
_ON_BUTTON: Final = 40
"""Characters of a trigger that its button shows."""


def need_gradio() -> Any:
    """The package ``gradio``, which is told to report nothing to anybody.

    Raises:
        UsageError: it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # which it asks before it reports anything
    try:
        import gradio
    except ModuleNotFoundError as error:
        raise UsageError(f"play: no package {error.name}; expected it installed; {INSTALL}") from error
    return gradio


def make_page(playground: Playground, scratch: Path) -> Any:
    """The page as Gradio's ``Blocks``.

    Args:
        playground: the models.
        scratch: a folder for the files that are downloaded.

    Raises:
        UsageError: Gradio is not installed.
    """
    gr = need_gradio()
    with gr.Blocks(title="Playground", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        _html(gr, markup.head(playground), "head")
        with gr.Tabs():
            with gr.Tab("A prompt" if playground.generates else "A text"):
                _text_tab(gr, playground)
            with gr.Tab("A file"):
                _file_tab(gr, playground, scratch)
    page.queue(max_size=_WAITING, api_open=False)
    return page


def theme() -> Any:
    """Colours and fonts; the fonts are those of the reader's system, so that none is fetched."""
    gr = need_gradio()
    base = gr.themes.Base(
        primary_hue="orange",
        neutral_hue="stone",
        radius_size="lg",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    filled, hovered = "#a63d0a", "#8a3208"
    return base.set(
        color_accent=filled,
        button_primary_background_fill=filled,
        button_primary_background_fill_dark=filled,
        button_primary_background_fill_hover=hovered,
        button_primary_background_fill_hover_dark=hovered,
        block_info_text_color="#55585d",
        block_info_text_color_dark="#a9adb3",
        block_label_text_color="#55585d",
        input_placeholder_color="#6b6e73",
        input_placeholder_color_dark="#a9adb3",
        input_background_fill="#ffffff",
        input_background_fill_dark="#1b1d20",
        block_background_fill_dark="#131416",
        body_background_fill="#fcfcfb",
        body_background_fill_dark="#131416",
    )


def _html(gr: Any, value: str, name: str) -> Any:
    return gr.HTML(str(value), elem_id=name, js_on_load=None, apply_default_css=False, padding=False)


def _text_tab(gr: Any, playground: Playground) -> None:
    text = gr.Textbox(
        label="Prompt" if playground.generates else "Text",
        lines=3,
        max_lines=12,
        max_length=LONGEST,
        elem_id="text",
        info="Shift and Enter ask, as the button does.",
    )
    ask = gr.Button("Ask", variant="primary", elem_id="ask")
    buttons = []
    if playground.triggers:
        _html(gr, Markup("<p>Insert what the audit found:</p>"), "found")
        with gr.Row(elem_id="triggers"):
            for trigger in playground.triggers:
                buttons.append((trigger, gr.Button(shown(trigger[:_ON_BUTTON]), size="sm", min_width=0)))
    said = _html(gr, "", "said")

    def asked(typed: str | None) -> str:
        return str(_said(lambda: _of_text(playground, typed or "")))

    gr.on([ask.click, text.submit], asked, text, said, show_progress="minimal", **_MODELS)
    for trigger, button in buttons:
        button.click(_insert(trigger, asked), text, [text, said], show_progress="minimal", **_MODELS)


def _insert(trigger: str, asked: Callable[[str], str]) -> Callable[[str | None], tuple[str, str]]:
    """Put a trigger before a text, and ask."""

    def inserted(typed: str | None) -> tuple[str, str]:
        text = f"{trigger} {typed or ''}".strip()
        return text, asked(text)

    return inserted


def _of_text(playground: Playground, text: str) -> str:
    if not text.strip():
        raise UsageError("found nothing, expected a text; type one")
    if len(text) > LONGEST:
        raise UsageError(f"found {len(text):,} characters, expected {LONGEST:,} at most; shorten the text")
    if playground.generates:
        return markup.answers(playground, playground.answer_text(text))
    return markup.readings(playground, text, playground.read(text))


def _file_tab(gr: Any, playground: Playground, scratch: Path) -> None:
    most = PROMPTS if playground.generates else ROWS
    what = "prompts" if playground.generates else "texts"
    _html(
        gr,
        Markup("<p>A table of {}: {}. The first {} rows are read.</p>").format(
            what, ", ".join(suffix.removeprefix(".").upper() for suffix in SUFFIXES), most
        ),
        "file-note",
    )
    file = gr.File(label="File", file_types=list(SUFFIXES), elem_id="file", height=140)
    column = gr.Textbox(
        label=f"Column of the {what}", placeholder="found by its name", max_length=200, elem_id="column"
    )
    with gr.Row():
        ask = gr.Button("Ask for all rows", variant="primary", elem_id="ask-file")
        download = gr.DownloadButton("Download as CSV", interactive=False, elem_id="download")
    rows = _html(gr, "", "rows")

    def asked(name: str | None, named: str | None) -> tuple[str, Any]:
        written: list[str] = []

        def work() -> str:
            if not name:
                raise UsageError("found no file, expected a table; choose one")
            batch = ask_file(playground, Path(name), (named or "").strip() or None)
            result = Path(mkdtemp(dir=scratch)) / "playground.csv"
            write_batch(playground, batch, result)
            written.append(str(result))
            return markup.table(playground, batch)

        said = str(_said(work))
        return said, gr.DownloadButton(value=written[0] if written else None, interactive=bool(written))

    ask.click(asked, [file, column], [rows, download], show_progress="minimal", **_MODELS)


def _said(work: Callable[[], str]) -> str:
    """What is shown of some work: its result, or what a person can mend."""
    try:
        return work()
    except MuScleLoraError as error:
        return markup.problem(error)
