"""Model: what is loaded, how good it is, what it is made of, and its data."""

import streamlit as st

from explorer.web.model_page import architecture, data, overview, weights
from explorer.web.twin_card import twin

overview()
twin()
architecture()
left, right = st.columns([1, 1.25], gap="small")
with left:
    weights()
with right:
    data()
