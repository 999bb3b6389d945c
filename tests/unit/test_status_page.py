"""The status page and its charts."""

from __future__ import annotations

import re

from runbook import charts, status_page
from runbook.charts import Chart, Line
from runbook.machine_status import Container, Drive
from runbook.status import Status


def test_a_page_has_the_facts_and_nothing_that_it_would_have_to_fetch() -> None:
    status = Status(
        "prod",
        drives=[Drive("drive1", "/mnt/drive1", "/dev/sdb1", 4 << 40, 1 << 40)],
        nodes=[Container("minio1", "running", "drive1"), Container("minio2", "exited", "drive2")],
        endpoints={"http://x/": "200"},
        next=["inv logs --service minio2"],
    )
    chart = charts.scaled(Chart("Capacity", "bytes", [Line("used", [(0.0, 1e9), (900.0, 2e9)])]), 900)
    text = status_page.page([status_page.Page(status, [chart])])
    for part in ("prod", "needs you", "/dev/sdb1", "1.0 TiB of 4.0 TiB used", "minio2", "inv logs --service minio2"):
        assert part in text, part
    assert "<svg" in text and "used 1.9 GiB" in text
    assert not re.search(r"(src|href)=|url\(|@import|<script", text)


def test_what_a_host_says_is_text_and_no_markup() -> None:
    text = status_page.page([status_page.Page(Status("prod", error="<script>alert(1)</script>", next=["a & b"]))])
    assert "<script>" not in text and "a &amp; b" in text


def test_a_line_begins_where_its_time_does_and_ends_at_the_right_edge() -> None:
    line = Line("a", [(450.0, 5.0), (900.0, 10.0)])
    chart = charts.scaled(Chart("Drives", "", [line]), 900)
    first, last = re.findall(r"([\d.]+),([\d.]+)", line.path)
    assert (float(first[0]), float(last[0])) == (charts.WIDTH / 2, charts.WIDTH - 4)
    assert float(first[1]) > float(last[1]), "more is higher"
    assert (chart.top, line.last) == ("10", "10")


def test_what_is_no_number_is_left_out_and_no_answer_is_no_line() -> None:
    answer = {"data": {"result": [{"values": [[1, "NaN"], [2, "3"], [3, "+Inf"]]}]}}
    assert charts.points(answer) == [(2.0, 3.0)]
    assert charts.points({"data": {"result": []}}) == []
    assert charts.scaled(Chart("a", "", []), 900).top == ""
