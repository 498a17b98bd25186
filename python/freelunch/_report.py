"""What compress and reconstruct return."""
import json
import os

from ._library import native


class Report(dict):
    """The content of freelunch.json as a dict (docs/formats/report.md describes the keys)."""

    def to_html(self, path: "str | os.PathLike[str] | None" = None) -> str:
        """The report as one self-contained page with charts. Also writes it to `path`, if that is given."""
        page = native.report_page(json.dumps(self))
        if path is not None:
            with open(path, "w", encoding="utf-8") as file:
                file.write(page)
        return page
