#!/usr/bin/env python3
"""Takes the picture of report.html that the README shows.

report_picture.py REPORT.html [docs/images/report.png] [--height PIXELS]

Needs chromium (scripts/setup --tests installs it). The picture is the upper part of the page, 1100 pixels wide.
"""
import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
WIDTH = 1100


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=pathlib.Path)
    parser.add_argument("picture", type=pathlib.Path, nargs="?", default=ROOT / "docs/images/report.png")
    parser.add_argument("--height", type=int, default=690, help="default: down to the end of the first chart")
    o = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        sys.exit("chromium was not found; scripts/setup --tests installs it")
    o.picture.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run([browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                        f"--user-data-dir={profile}", f"--window-size={WIDTH},{o.height}",
                        "--virtual-time-budget=4000", f"--screenshot={o.picture.resolve()}",
                        o.report.resolve().as_uri()], check=True, capture_output=True, timeout=120)
    print(f"{o.picture}: {o.picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
