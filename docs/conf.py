"""Sphinx: ``make docs`` builds with warnings as errors."""

from __future__ import annotations

import sys
from pathlib import Path

from fusion._version import __version__

sys.path.insert(0, str(Path(__file__).parent))
from reference_pages import write

write()

project = "recfusion"
author = "the recfusion authors"
copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
default_role = "py:obj"

myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_type_aliases = {"ConfigLike": "ConfigLike"}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Inputs", "Requirements", "Relations"]

html_theme = "furo"
html_title = f"recfusion {release}"
