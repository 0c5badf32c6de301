"""Rows and tables of reports for other programs."""

import csv
import json
import re
from pathlib import Path

import pytest

from graphprune.cli import main
from graphprune.methods.core.shown import Table
from graphprune.report.export import escaped, frame, latex
from graphprune.report.report import write_report
from tests.report.rows import cell, grid
from tests.runs.samples import results, row

quickly = pytest.mark.usefixtures("unsaved")


def parsed(text: str) -> tuple[str, list[str], list[list[str]]]:
    """Alignment, rules in their order and cells of a file with one table; its environments have to nest."""
    opened: list[str] = []
    for word, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if word == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    plain = re.sub(r"\\[\\&%$#_{}]", "", re.sub(r"^%.*\n", "", text))
    assert plain.count("{") == plain.count("}")
    assert not re.search(r"[#~^_]|(?<!\\)%", re.sub(r"\\label\{[^}]*\}", "", plain))
    assert plain.count("$") % 2 == 0
    assert text.isascii()
    inner = re.search(r"\\begin\{tabular\}\{([lr]+)\}\n(.*)\\end\{tabular\}", text, re.DOTALL)
    assert inner is not None
    lines = inner[2].splitlines()
    rules = [line for line in lines if line.startswith("\\") and line.endswith("rule")]
    rows = [line for line in lines if line not in rules]
    assert all(line.endswith(r" \\") for line in rows)
    cells = [re.split(r"(?<!\\)&", line.removesuffix(r"\\")) for line in rows]
    assert {len(line) for line in cells} == {len(inner[1])}
    return inner[1], rules, [[cell.strip() for cell in line] for line in cells]


def test_a_table_for_a_paper() -> None:
    rows = [("a_1 & 50 %", "0.5 ± 0.1"), ("[b] ~ $x^2$ {\\} #", "−0.25 [−0.50, 0.00]"), ("*", "–")]
    table = Table("A & B", "100 % of “it”.", ("method", "n < m"), rows, frozenset({(0, 1)}))
    text = latex(table, "a-b")
    align, rules, cells = parsed(text)
    assert (align, rules) == ("lr", [r"\toprule", r"\midrule", r"\bottomrule"])
    assert cells[0] == ["method", r"n \textless{} m"]
    assert cells[1] == [r"a\_1 \& 50 \%", r"\textbf{0.5 $\pm$ 0.1}"]
    assert cells[2] == [
        r"{}[b] \textasciitilde{} \$x\textasciicircum{}2\$ \{\textbackslash{}\} \#",
        "$-$0.25 [$-$0.50, 0.00]",
    ]
    assert cells[3] == ["{}*", "--"]
    assert r"\caption{A \& B. 100 \% of ``it''.}" in text and r"\label{tab:a-b}" in text and "booktabs" in text


def test_everything_that_tex_reads_otherwise_is_escaped() -> None:
    assert escaped("&%$#_{}~^\\") == r"\&\%\$\#\_\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}"


@quickly
@pytest.mark.parametrize(("seeds", "bold"), [(6, ["icpg"]), (3, [])])
def test_the_best_is_bold_where_the_paired_intervals_say_so(seeds: int, bold: list[str], tmp_path: Path) -> None:
    runs = grid(tmp_path / "runs", seeds=seeds, losses={"dense": 0.0, "icpg": 0.01, "random": 0.1})
    written = write_report([runs], tmp_path / "report", latex=True)
    files = {file.name: parsed(file.read_text()) for file in written.others}
    assert files.keys() >= {"summary-winners-where-intervals-show-one.tex", "1-last-rounds.tex", "1-all-rounds.tex"}
    _, _, cells = files["summary-at-equal-sparsity-of-edges.tex"]
    assert [line[0] for line in cells if line[1].startswith(r"\textbf{")] == bold
    assert not any(
        "textbf" in cell
        for name, (_, _, cells) in files.items()
        if "at-equal" not in name
        for line in cells
        for cell in line
    )
    assert ("<strong>" in written.html.read_text().split("<h2>ogbg")[0]) == bool(bold)
    assert bool(re.search(r" \*\*0\.\d+ ± [\d.]+\*\* \|", written.markdown.read_text())) == bool(bold)


@quickly
def test_all_rows_unrounded_with_every_option(tmp_path: Path) -> None:
    third = 1 / 3
    cell(tmp_path / "runs/a", "icpg", 0, rounds=2, tests=[third, 0.5], config={"method": {"edge_rate": 0.05}})
    cell(tmp_path / "runs/b", "dense", 1, tests=[float("nan")], collapsed=["x", "y"], config={"fit": {"epochs": 7}})
    written = write_report([tmp_path / "runs"], tmp_path / "report", csv=True)
    assert written.others == (tmp_path / "report/report.csv",)
    with written.others[0].open(newline="") as stream:
        dense, first, second = csv.DictReader(stream)
    assert (first["series"], first["role"], first["round"], second["round"]) == ("icpg", "method", "1", "2")
    assert float(first["test_metric"]) == third
    assert (first["method.edge_rate"], dense["method.edge_rate"]) == ("0.05", "")
    assert (dense["role"], dense["test_metric"], dense["collapsed"], dense["fit.epochs"]) == ("dense", "", "x y", "7")
    assert {line["setting"] for line in (dense, first, second)} == {"ogbg-made-up, GIN"}
    assert "data.root" not in dense and "/elsewhere" not in written.others[0].read_text()
    table = frame([tmp_path / "runs"])
    assert table.groupby("series").size().to_dict() == {"dense": 1, "icpg": 2}


@quickly
def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results(tmp_path / "a", row("icpg", 1, 0), row("icpg", 2, 0))
    assert main(["report", str(tmp_path), "--csv", "--latex"]) == 0
    told = capsys.readouterr().out
    for file in ("report.md", "report.html", "report.csv", "tables/1-last-rounds.tex"):
        assert str(tmp_path / file) in told and (tmp_path / file).exists()
    assert main(["report", str(tmp_path)]) == 0
    assert "report.csv" not in capsys.readouterr().out


def test_graphs_without_edges_have_no_share_of_them(tmp_path: Path) -> None:
    folder = cell(tmp_path / "a", "icpg", edge_sparsity_test=0.0)
    (entry,) = json.loads((folder / "provenance.json").read_text())
    entry["data"] |= {"graphs": {"train": 3, "test": 2}, "empty": {"train": {"no_edges": 1}, "test": {"no_edges": 2}}}
    (folder / "provenance.json").write_text(json.dumps([entry]))
    (line,) = [line for line in write_report([tmp_path], tmp_path).summary.splitlines() if line.startswith("icpg")][:1]
    assert re.search(r"icpg +1 +10\.00 % +– +20\.00 %", line)
