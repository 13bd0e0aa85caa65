"""Sphinx' settings for the course's site; `make site` stages the sources and calls it (tools/site.py)."""

from datetime import date

from tools import site
from zth_helpers import __version__

project = "Neural Networks: Zero to Hero, as notebooks"
author = "the authors of the course"
copyright = f"{date.today().year}, {author}"
release = version = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx.ext.mathjax", "tools.site"]
root_doc = "index"
nb_execution_mode = "off"  # the pages show what the notebooks store
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 4
myst_heading_slug_func = "tools.site.anchor"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_inherit_docstrings = False
autodoc_default_options = {"exclude-members": "set"}  # matplotlib makes it for each of its classes

mathjax_path = "mathjax/tex-svg.js"  # one file with its glyphs inside, so it also works from a folder
mathjax3_config = {"options": {"enableMenu": False}}

html_theme = "sphinx_book_theme"
html_title = "Zero to Hero, as notebooks"
html_domain_indices = False
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_extra_path = ["_extra"]
html_css_files = ["course.css"]
html_js_files = ["course.js"]
html_last_updated_fmt = None
html_context = {"default_mode": "auto"}
html_theme_options = {
    "repository_url": site.repository(),
    "repository_branch": "main",
    "path_to_docs": "",
    "use_repository_button": True,
    "use_download_button": True,
    "launch_buttons": {
        "colab_url": "https://colab.research.google.com",
        "binderhub_url": "https://mybinder.org",
        "notebook_interface": "jupyterlab",
    },
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "navbar_persistent": [],
}
