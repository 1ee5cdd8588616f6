"""Makes this folder importable for the tests below it, as pytest does for a folder with a conftest."""
