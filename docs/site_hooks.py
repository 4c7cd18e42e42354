"""Adds files from elsewhere in the project to the documentation site, so that nothing is stored twice.

- Results of benchmarks, the model card, the changes and the notes for contributors become pages.
- Pages of docs/ that are not in the navigation are put under "How to".
- A link to a JavaScript file that has a line of its own becomes the code itself.
- Links out of docs/, which work in the repository, are changed to those pages; if there is no such page, only the
  text of the link is kept.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
NOT_PAGES = {"world-notes.md"}


def outside_pages() -> dict[str, str]:
    """Address on the site of each file outside docs/, by its path in the repository."""
    results = {
        str(path.relative_to(ROOT)): f"results/{path.name}"
        for path in sorted((ROOT / "benchmarks/results").glob("*.md"))
    }
    others = {
        "src/landmarks/model/bundled/world/README.md": "model-card.md",
        "CHANGELOG.md": "changelog.md",
        "CONTRIBUTING.md": "contributing.md",
    }
    return results | others


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Complete the navigation."""
    sections: dict[str, list[Any]] = {title: pages for item in config.nav or [] for title, pages in item.items()}
    sections["Results"] += [page for page in outside_pages().values() if page.startswith("results/")]
    named = {page if isinstance(page, str) else next(iter(page.values())) for s in sections.values() for page in s}
    here = {path.name for path in Path(config.docs_dir).glob("*.md")}
    sections["How to"] += sorted(here - named - NOT_PAGES)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/."""
    for source, page in outside_pages().items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite the links that lead out of docs/."""
    pages = outside_pages()
    origins = {target: source for source, target in pages.items()}
    source = origins.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    here = posixpath.dirname(page.file.src_uri)

    def mend(link: re.Match[str]) -> str:
        text, target, anchor = link["text"], link["target"], link["anchor"] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path.startswith("docs/") and (ROOT / path).is_file():
            found = path.removeprefix("docs/")
        elif path in pages:
            found = pages[path]
        elif (ROOT / path).exists():
            return text if text.startswith("`") else f"{text} (`{path}`)"
        else:
            return link[0]
        return f"[{text}]({posixpath.relpath(found, here or '.')}{anchor})"

    def shown(link: re.Match[str]) -> str:
        return f"```js\n{(ROOT / posixpath.dirname(source) / link['target']).read_text(encoding='utf-8')}```"

    with_code = re.sub(r"^\[`[^`]+`\]\((?P<target>[^)]+\.mjs)\)$", shown, markdown, flags=re.MULTILINE)
    return re.sub(r"(?<!!)\[(?P<text>[^]]+)\]\((?P<target>[^):#]+)(?P<anchor>#[^)]*)?\)", mend, with_code)
