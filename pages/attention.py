"""Attention: what the model looks at, before and after; edit heads and watch the numbers."""

import streamlit as st

from explorer.web.attention_guides import drift, gains, heads_table
from explorer.web.attention_page import look, note, numbers, past

numbers()
look()
left, right = st.columns([1.1, 1], gap="small")
with left:
    drift()
    past()
with right:
    gains()
heads_table()
note()
