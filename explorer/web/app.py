"""The app's entry: `streamlit run explorer/web/app.py`, or the command `explorer`."""

from __future__ import annotations

from html import escape

import streamlit as st

from explorer.subjects.samples import shipped
from explorer.web.markup import sentence
from explorer.web.parts import safely
from explorer.web.sidebar import side
from explorer.web.state import current, open_session, part, write_link
from explorer.web.style import favicon, put_style


@st.fragment(key="message")
@safely
def message() -> None:
    """One sentence about what went wrong, above everything, until the next move."""
    part("message")
    words = sentence(current().message or "")
    box = f'<div class="ce-message" role="alert"><b>Not done.</b> {escape(words)}</div>'
    st.html(box if words else "<span></span>")


@safely
def main() -> None:
    """Draw the page that is chosen."""
    st.set_page_config(
        page_title="Compression Explorer", page_icon=favicon(), layout="wide", initial_sidebar_state="expanded"
    )
    put_style()
    folder = shipped("pages")
    pages = [
        st.Page(folder / "model.py", title="Model"),
        st.Page(folder / "compress.py", title="Compress", default=True),
        st.Page(folder / "layers.py", title="Layers"),
        st.Page(folder / "attention.py", title="Attention"),
        st.Page(folder / "attribution.py", title="Attribution"),
        st.Page(folder / "compare.py", title="Compare"),
    ]
    page = st.navigation(pages, position="hidden")
    session = open_session()
    message()
    with st.sidebar:
        side(pages, page)
    page.run()
    write_link(session)
    session.painted = True


main()
