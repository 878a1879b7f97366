"""Small components of our own: a script and a style sheet beside this module, mounted in a box of their name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

_HERE = Path(__file__).parent


def component(name: str) -> Any:
    """The component that `{name}.js` draws into its `.{name}`, with `{name}.css`; `dom.js` stands before the script."""
    html = f'<div class="{name}"></div>'
    style, before, script = (
        _HERE.joinpath(file).read_text("utf-8") for file in (f"{name}.css", "dom.js", f"{name}.js")
    )
    return st.components.v2.component(f"explorer_{name}", html=html, css=style, js=f"{before}\n{script}")
