"""Attention: what the model looks at, before and after; edit heads and watch the numbers."""

from explorer.web.attention_page import look, note, numbers

numbers()
look()
note()
