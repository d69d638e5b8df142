"""The templates of pages, and the files that they include."""

from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup


def template(name: str) -> Template:
    """A template of this package, such as `kit/table.html.j2`; it escapes every text."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(_text)
    )
    return environment.get_template(name)


def markup(name: str) -> Markup:
    """A file of this package that a template includes as it is."""
    return Markup(_text(name))  # noqa: S704  our own file


def _text(name: str) -> str:
    return files("torchlap.reports").joinpath(*name.split("/")).read_text(encoding="utf-8")
