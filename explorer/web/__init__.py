"""The browser face: Streamlit glue around the workbench. It adds no logic of its own."""
