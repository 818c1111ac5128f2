"""report.html as a browser runs it: every heading of the table of cases sorts it both ways, its field finds every case, and nothing is
fetched. Usage: browser_check.py BROWSER RUNNER RUN..; BROWSER is a Chromium or Chrome."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BROWSER, RUNNER, *RUNS = sys.argv[1:]

# acts as a person does, by clicks and input; what it saw is read from the page afterwards
PERSON = """
<script>
const tables = [...document.querySelectorAll("table.rows")].map((table) => {
  const rows = [...table.tBodies[0].rows];
  const field = document.getElementById(table.dataset.filter);
  const count = document.getElementById(table.dataset.count);
  const type = (words) => { field.value = words; field.dispatchEvent(new Event("input")); };
  const shown = () => rows.filter((row) => !row.hidden && row.getClientRects().length).map((row) => row.cells[0].textContent);
  const sorted = [...table.querySelectorAll("th button")].map((button, place) => [1, 2].map(() => {
    button.click();
    return {
      heading: button.textContent,
      told: button.closest("th").getAttribute("aria-sort"),
      values: [...table.tBodies[0].rows].map((row) => row.cells[place].textContent.trim()),
    };
  }));
  const found = {};
  for (const tag of rows.map((row) => row.cells[0].textContent)) { type(tag); found[tag] = shown(); }
  type("no such words");
  const none = [shown(), count.textContent];
  type("");
  return { sorted, found, none, all: shown(), count: count.textContent };
});
const seen = document.createElement("pre");
seen.id = "seen";
seen.textContent = JSON.stringify({ tables, fetched: performance.getEntriesByType("resource").length });
document.body.append(seen);
</script>
"""


def number(text):
    try:
        return float(text)
    except ValueError:
        return None


def check_sorted(column):
    """What JavaScript's parseFloat takes for numbers comes before text."""
    for order, told in zip(column, ("ascending", "descending")):
        assert order["told"] == told, order
        numbers = [number(value) for value in order["values"] if number(value) is not None]
        assert numbers == sorted(numbers, reverse=told == "descending"), order
    assert sorted(column[0]["values"]) == sorted(column[1]["values"]), column


def main():
    with tempfile.TemporaryDirectory() as folder:
        page = pathlib.Path(folder) / "report.html"
        subprocess.run([RUNNER, "report", "--html", page, *RUNS], cwd=ROOT, check=True)
        printed = subprocess.run([RUNNER, "report", "--json", *RUNS], cwd=ROOT, check=True, capture_output=True)
        runs = json.loads(printed.stdout)["runs"]
        text = page.read_text()
        page.write_text(text.replace("</body>", PERSON + "</body>"))
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        profile = f"--user-data-dir={folder}/profile"
        seen = subprocess.run(
            [BROWSER, *options, profile, "--dump-dom", page.as_uri()], check=True, capture_output=True, text=True, timeout=120
        )
    found = re.search(r'<pre id="seen">(.*?)</pre>', seen.stdout, re.S)
    assert found, seen.stdout[-2000:] + seen.stderr[-2000:]
    told = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert told["fetched"] == 0, told["fetched"]
    assert len(told["tables"]) == len(RUNS), len(told["tables"])
    cases = columns = 0
    for table, run in zip(told["tables"], runs):
        tags = [row["case"] for row in run["records"]]
        assert sorted(table["all"]) == sorted(tags) and table["count"] == f"{len(tags)} of {len(tags)} cases", table["count"]
        assert table["none"] == [[], f"0 of {len(tags)} cases"], table["none"]
        for tag in tags:
            assert tag in table["found"][tag], (tag, table["found"][tag])
        assert any(table["found"][tag] == [tag] for tag in tags), "the field never hides anything"
        for column in table["sorted"]:
            check_sorted(column)
        cases, columns = cases + len(tags), columns + len(table["sorted"])
    print(f"{cases} cases are found and {columns} columns sorted; nothing was fetched")


main()
