"""Pages of the site that are made when it is built: commands, Python reference, changelog; a list of links to elsewhere.

Read by mkdocs (``hooks`` in mkdocs.yml). What the pages say is made by plain functions, which tests call without mkdocs.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = "napari_cam_feedback"
#: What scripts use, in the order of the loop.
ROOMS = (
    "data",
    "models",
    "training",
    "explanations",
    "feedback",
    "auditing",
    "evaluation",
    "retuning",
    "projects",
    "experiments",
    "doctor",
)
MODULES = ("errors", "monitor", "steps")


def commands_page() -> str:
    """Return the reference of the commands, made from the parser that reads them."""
    import typer

    from napari_cam_feedback.cli import COMMANDS
    from napari_cam_feedback.cli.app import PROGRAM, app

    group = typer.main.get_command(app)
    lines = [
        "# Commands",
        "",
        f"Made from what `{PROGRAM} COMMAND --help` says. Every command takes `--seed`, `--device` and `--json FILE`. "
        "Status 0: done; 2: bad input, said in one line on stderr; 1: a fault of ours; 130: interrupted.",
        "",
    ]
    names = [*COMMANDS, *(name for name in group.commands if name not in COMMANDS)]
    for name in names:
        lines += _command(group.commands[name], f"{PROGRAM} {name}", 2)
    return "\n".join(lines)


def _command(command: Any, name: str, level: int) -> list[str]:
    lines = [f"{'#' * level} {name.removeprefix('napari-cam-feedback ')}", "", _text(command.help), ""]
    if hasattr(command, "commands"):
        for inner, each in command.commands.items():
            lines += _command(each, f"{name} {inner}", level + 1)
        return lines
    shown = [each for each in command.params if not getattr(each, "hidden", False)]
    arguments = [each for each in shown if each.param_type_name == "argument"]
    options = [each for each in shown if each.param_type_name == "option"]
    usage = " ".join([name, *(_argument(each) for each in arguments), "[OPTIONS]" if options else ""]).rstrip()
    lines += ["```text", usage, "```", ""]
    if arguments:
        lines += ["| argument | what it is |", "|---|---|"]
        lines += [f"| `{_argument(each)}` | {_cell(getattr(each, 'help', ''))} |" for each in arguments]
        lines.append("")
    if options:
        lines += ["| option | what it does | without it |", "|---|---|---|"]
        lines += [f"| {_option(each)} | {_cell(each.help)} | {_default(each)} |" for each in options]
        lines.append("")
    return lines


def _argument(each: Any) -> str:
    name = (each.metavar or each.name).upper()
    return name if each.required else f"[{name}]"


def _option(each: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*each.opts, *each.secondary_opts))
    if getattr(each, "is_flag", False):
        return names
    return f"{names} `{each.metavar or _KINDS.get(_kind(each), 'VALUE')}`"


_KINDS = {
    "str": "TEXT",
    "text": "TEXT",
    "Path": "PATH",
    "path": "PATH",
    "int": "N",
    "integer": "N",
    "integer range": "N",
    "float": "X",
}


def _kind(each: Any) -> str:
    # Typer has had its own copy of click since 0.20, in which the type is described otherwise.
    described = getattr(each, "type_descriptor", None)
    return getattr(getattr(described, "annotation", None), "__name__", "") or getattr(
        getattr(each, "type", None), "name", ""
    )


def _default(each: Any) -> str:
    if each.required:
        return "must be given"
    value = each.default
    if value is None or value is False or callable(value) or not getattr(each, "show_default", True):
        return ""
    return "yes" if value is True else f"`{value}`"


def _cell(text: str | None) -> str:
    return _text(text).replace("\n", " ").replace("|", "\\|")


def _text(text: str | None) -> str:
    # What stands in capitals or in <...> is no HTML.
    return (text or "").strip().replace("<", "&lt;").replace("\b", "")


def public_names(module: str) -> list[str]:
    """Return the ``__all__`` of a module, read without importing it; else its public functions and classes."""
    base = ROOT / "src" / PACKAGE / module
    tree = ast.parse((base.with_suffix(".py") if not base.is_dir() else base / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(each, "id", "") == "__all__" for each in node.targets):
            return list(ast.literal_eval(node.value))
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


def _place(module: str, name: str) -> str:
    """Return the dotted name of what a room offers; where a file of the room has that name too, from where it is taken."""
    folder = ROOT / "src" / PACKAGE / module
    if (folder / f"{name}.py").exists():
        for node in ast.walk(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and any(each.name == name for each in node.names):
                return f"{node.module}.{name}"
    return f"{PACKAGE}.{module}.{name}"


def api_pages() -> dict[str, str]:
    """Return the pages of the Python reference, by file: one of the whole, one a room."""
    index = [
        "# Python",
        "",
        "Everything the window and the commands do is a function here. The rooms, in the order of the loop:",
        "",
    ]
    pages = {}
    for module in (*ROOMS, *MODULES):
        names = public_names(module)
        index.append(f"- [`{PACKAGE}.{module}`](api/{module}.md): {', '.join(f'`{name}`' for name in names)}")
        lines = [f"# {PACKAGE}.{module}", "", f"::: {PACKAGE}.{module}"]
        lines += ["    options:", "      show_root_heading: false", "      members: false", ""]
        for name in names:
            if not name.isupper():
                lines += [f"::: {_place(module, name)}", "    options:", "      heading_level: 2", ""]
        constants = [f"`{name}`" for name in names if name.isupper()]
        if constants:
            lines += ["## Constants", "", ", ".join(constants), ""]
        pages[f"api/{module}.md"] = "\n".join(lines)
    return {"api.md": "\n".join(index) + "\n", **pages}


def changelog_page() -> str:
    """Return the changelog with its links as the site has them."""
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "](")


def external_links() -> dict[str, list[str]]:
    """Return all links to elsewhere, by address, with the pages that have them; whether they hold is not asked here."""
    found: dict[str, list[str]] = {}
    for page in sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")]):
        for address in re.findall(r"\]\((https?://[^)\s]+)\)", page.read_text(encoding="utf-8")):
            found.setdefault(address, []).append(page.name)
    return found


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made (mkdocs calls this)."""
    from mkdocs.structure.files import File, InclusionLevel

    made = {"commands.md": commands_page(), "changelog.md": changelog_page(), **api_pages()}
    for name, text in made.items():
        # The rooms are reached from the page of the whole, and would fill the menu.
        level = InclusionLevel.NOT_IN_NAV if "/" in name else InclusionLevel.UNDEFINED
        files.append(File.generated(config, name, content=text, inclusion=level))
    return files


def on_post_build(config: Any) -> None:
    """List the links to elsewhere beside the site (mkdocs calls this)."""
    links = external_links()
    lines = [f"{address}  ({', '.join(dict.fromkeys(pages))})" for address, pages in sorted(links.items())]
    file = Path(config["site_dir"]).parent / "external-links.txt"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(links)} links to elsewhere are listed in {file}; they are not fetched.")
