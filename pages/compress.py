"""Compress: move a knob, see what it keeps and what it costs."""

import streamlit as st

from explorer.web.compress_page import head, results, steps, stored

head()
left, right = st.columns([1.72, 1], gap="small")
with left:
    steps()
    stored()
with right:
    results()
