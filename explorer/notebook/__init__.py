"""The notebook face: the knobs of a workbench in a cell."""
