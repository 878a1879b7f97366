"""Attribution: what an answer rests on, before and after, and which method to believe."""

from explorer.web.attention_page import numbers
from explorer.web.attribution_page import believe, reasons

numbers()
reasons()
believe()
