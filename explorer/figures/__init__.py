"""Figures: a result object in, a Plotly figure or escaped HTML out. No model, no torch work."""
