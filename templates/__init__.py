"""The Jinja2 templates: the folder is the scope, the file name is the output's name."""
