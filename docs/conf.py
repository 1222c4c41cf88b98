"""How `make docs` builds these pages into a site: Sphinx, MyST and the Furo theme; nothing is downloaded."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.util.inspect import stringify_signature

from musclelora import __version__

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "musclelora"
version = release = __version__
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
exclude_patterns = ["_*", "conf.py"]
highlight_language = "none"  # of indented blocks: formulas and output
suppress_warnings = ["config.cache"]

myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
nitpicky = True

html_theme = "furo"
html_title = "musclelora"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["site.css"]
html_js_files = [("from-a-file.js", {"priority": 900})]
html_show_sphinx = False
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False
html_use_index = True


LINK = re.compile(r"\[([^\]]+)\]\(((?!https?:)[^)#]+)\)")
"""A link to a file or folder, in Markdown."""
SHORT = {"np": "numpy", "pd": "pandas", "nn": "torch.nn"}
"""Names of modules in annotations."""


def links_out(app: Sphinx, docname: str, content: list[str]) -> None:
    """Links to what is no page: a file of the repository is copied into the site, a folder only named."""
    pages = Path(app.srcdir)

    def mended(link: re.Match[str]) -> str:
        target = ((pages / docname).parent / link[2]).resolve()
        if target.is_dir():
            return link[1]
        copied = target.is_file() and not target.is_relative_to(pages)
        return f"[{link[1]}](path:{link[2]})" if copied else link[0]

    content[0] = LINK.sub(mended, content[0])


def own_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returns: str
) -> tuple[str, str] | None:
    """A class is made by its `__init__`; of a data class of a library, only what is added to it is shown."""
    if what != "class" or not (isinstance(obj, type) and "__init__" in vars(obj)):
        return None
    made = inspect.signature(obj.__init__)
    parameters = list(made.parameters.values())[1:]
    foreign = [base for base in obj.__bases__ if not base.__module__.startswith("musclelora")]
    if dataclasses.is_dataclass(obj) and any(map(dataclasses.is_dataclass, foreign)):
        parameters = [one for one in parameters if one.name in obj.__annotations__]
        more = inspect.Parameter(f"of_{foreign[0].__name__}", inspect.Parameter.VAR_KEYWORD)
        parameters.append(more)
    shown = made.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
    return stringify_signature(shown, show_annotation=False), returns


def one_sentence(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep napoleon from taking what stands before a colon in an attribute's first line for its type."""
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]  # a comment


def exists(name: str) -> bool:
    """Whether a dotted name can be imported, or a bare one is known to some module of the package."""
    first, *rest = name.split(".")
    parts = [*SHORT.get(first, first).split("."), *rest]
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        return all((found := getattr(found, part, None)) is not None for part in parts[length:])
    own = [module for key, module in sys.modules.items() if key.startswith("musclelora")]
    return any(
        (found := getattr(module, first, None)) is not None
        and all((found := getattr(found, part, None)) is not None for part in rest)
        for module in own
    )


def reference(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element
) -> nodes.Element | None:
    """A docstring may name what is documented under another name, or is there and not public.

    What is not there at all is left to Sphinx, whose warning is an error.
    """
    if node.get("refdomain") != "py":
        return None
    name = node["reftarget"]
    room, owner = node.get("py:module") or "musclelora", node.get("py:class")
    around = [f"{room}.{owner}.{name}"] if owner else []
    around += [f"{room}.{name}", f"musclelora.errors.{name}", f"musclelora.{name.rpartition('.')[2]}"]
    python = env.domains["py"]
    for candidate in around:
        found = python.resolve_xref(env, node["refdoc"], app.builder, "obj", candidate, node, contnode)
        if found is not None:
            return found
    return contnode if any(map(exists, (name, *around))) else None


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("source-read", links_out)
    app.connect("autodoc-process-signature", own_signature)
    app.connect("autodoc-process-docstring", one_sentence, priority=400)
    app.connect("missing-reference", reference)
