"""Compare: whom the change hit, on which examples the two differ, and what they bear."""

from explorer.web.attention_page import numbers
from explorer.web.compare_page import compared, trials

numbers()
compared()
trials()
