"""Layers: which of them give and which do not, and the smallest model within a loss."""

from explorer.web.layers_page import allocation, scan

scan()
allocation()
