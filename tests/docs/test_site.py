"""The documentation's site: every page is in its menu, what is made for it is complete, and links between files hold."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import yaml

import napari_cam_feedback
from napari_cam_feedback.cli import COMMANDS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md"), *(ROOT / ".napari-hub").glob("*.md")])
MADE = ("commands.md", "api.md", "changelog.md")


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("site_hooks", DOCS / "site_hooks.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _named(entry):
    if isinstance(entry, str):
        return [entry]
    values = entry.values() if isinstance(entry, dict) else entry
    return [name for value in values for name in _named(value)]


def test_every_page_is_in_the_menu_and_the_menu_names_no_other():
    menu = _named(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert sorted(menu) == sorted([*(page.name for page in DOCS.glob("*.md")), *MADE])


def test_the_page_of_commands_has_every_command_with_its_options(hooks):
    page = hooks.commands_page()
    headings = re.findall(r"^## (.+)$", page, re.M)
    assert headings == [*COMMANDS, "masks", "project"]
    assert "| `--masks` `PATH` | Folder of irrelevance masks" in page
    assert re.search(r"^### masks import$", page, re.M)
    assert "doctor [OPTIONS]" in page


def test_the_reference_of_python_has_all_that_the_package_and_its_rooms_offer(hooks):
    pages = hooks.api_pages()
    offered = [name for name in napari_cam_feedback.__all__ if name != "__version__"]
    together = "\n".join(pages.values())
    for name in offered:
        assert re.search(rf"^::: napari_cam_feedback\.[\w.]+\.{name}$", together, re.M), name
    assert "::: napari_cam_feedback.doctor.examine.examine\n" in pages["api/doctor.md"]
    for found in re.finditer(r"^::: ([\w.]+)\.(\w+)$", together, re.M):
        file = ROOT / "src" / f"{found[1].replace('.', '/')}.py"
        if file.exists():
            assert re.search(rf"^(def|class) {found[2]}\b", file.read_text(encoding="utf-8"), re.M), found[0]
    assert pages["api.md"].count("](api/") == len(pages) - 1


def _anchors(text: str) -> set[str]:
    """Return what headings of a page are called in links, as GitHub and the site both have them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_our_files_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if re.match(r"\w+:", target) or path.removeprefix("api/") in MADE:
            continue
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor and file.suffix == ".md":
            assert anchor in _anchors(file.read_text(encoding="utf-8")), f"{page.name}: {target}"


def test_pictures_are_all_shown_somewhere_and_light():
    pictures = [path for path in (DOCS / "pictures").iterdir() if path.is_file()]
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [path.name for path in pictures if f"pictures/{path.name}" not in text] == []
    assert sum(path.stat().st_size for path in pictures) < 5e6
    assert (DOCS / "pictures" / "loop.gif").stat().st_size < 3e6
