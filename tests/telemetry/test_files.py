"""The alert rules and the Grafana dashboard: whether they name what there is, and work."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("prometheus_client", reason="needs the extra 'prometheus'")

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from jobqueue.final import EngineMetrics, Job, RejectJobError
from jobqueue.telemetry.prometheus import JobQueueCollector
from tests.support.queues import Store
from tests.support.waiting import eventually

FILES = files("jobqueue.telemetry") / "files"
ALERTS = (FILES / "alerts.yml").read_text()
DASHBOARD = json.loads((FILES / "grafana.json").read_text())
NAME = re.compile(r"\bjobqueue_[a-z_]+")
STATES = {"queued", "scheduled", "processing", "overrunning", "limited", "dead"}


def expressions() -> Iterator[str]:
    """Those of the dashboard, with its variables filled in."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "5m").replace("$queue", "mail|images")


@pytest.fixture
def exported(log_store: Store, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """The labels of each sample that a queue with a log has, or one on an engine, by its name."""

    def reject(payload: bytes) -> None:
        raise RejectJobError

    jq = log_store.open(reject)
    jq.enqueue(Job())
    eventually(lambda: jq.metrics().failed == 1)
    registry = CollectorRegistry()
    registry.register(JobQueueCollector(jq))
    families: list[Metric] = list(registry.collect())
    on_engine = replace(jq.metrics(), log=None, engine=EngineMetrics("postgres", True, 1, 2, 3))
    monkeypatch.setattr(jq, "metrics", lambda: on_engine)
    families += registry.collect()
    return {sample.name: set(sample.labels) for each in families for sample in each.samples}


def test_each_metric_and_label_that_they_name_is_there(exported: dict[str, set[str]]) -> None:
    rules = [line for line in ALERTS.splitlines() if not line.lstrip().startswith("#")]
    named = set(NAME.findall("\n".join([*rules, *expressions(), json.dumps(DASHBOARD)])))

    assert named <= {*exported, "jobqueue_log_up"}
    assert {"jobqueue_log_up", "jobqueue_jobs", "jobqueue_jobs_failed_total"} <= named
    text = "\n".join([*rules, *expressions()])
    for name, matchers in re.findall(r"(jobqueue_\w+)\{([^}]*)\}", text):
        labels = dict(re.findall(r'(\w+)=~?"([^"]*)"', matchers))
        assert set(labels) <= exported[name], name
        assert set(labels.get("state", "queued").split("|")) <= STATES
    for labels in re.findall(r"\b(?:by|without) \(([^)]*)\)", text):
        assert set(labels.split(", ")) <= {"queue", "handler", "priority", "state", "le"}
    for name in re.findall(r"\$labels\.(\w+)", ALERTS):
        assert name in {"queue", "handler", "priority", "instance"}


def test_the_dashboard_shows_each_metric(exported: dict[str, set[str]]) -> None:
    named = set(NAME.findall(json.dumps(DASHBOARD)))

    def base(name: str) -> str:
        return re.sub("_(bucket|sum|count)$", "", name)

    assert {base(name) for name in exported} == {base(name) for name in named}


def test_the_panels_lie_side_by_side() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for place in [
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        ]:
            assert place not in taken, (panel["title"], taken[place])
            taken[place] = panel["title"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian's package is called prometheus)")
    return found


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


def test_prometheus_takes_the_rules(promtool: str) -> None:
    done = run(promtool, "check", "rules", "--lint-fatal", FILES / "alerts.yml")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_prometheus_takes_the_dashboards_expressions(promtool: str, tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": expr} for n, expr in enumerate(expressions())]
    (tmp_path / "rules.json").write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))

    done = run(promtool, "check", "rules", tmp_path / "rules.json")
    assert done.returncode == 0, done.stdout + done.stderr


WELL = {
    'jobqueue_log_up{queue="q"}': "1+0x40",
    'jobqueue_engine_connected{queue="q"}': "1+0x40",
    'jobqueue_workers{queue="q"}': "4+0x40",
    'jobqueue_oldest_wait_seconds{queue="q",priority="low"}': "2+0x40",
    'jobqueue_jobs{queue="q",priority="low",state="overrunning"}': "1+0x40",
    'jobqueue_jobs{queue="q",priority="low",state="queued"}': "999+0x40",
    'jobqueue_jobs{queue="q",priority="low",state="dead"}': "7+0x40",
    'jobqueue_jobs_failed_total{queue="q",priority="low",handler="h"}': "3+0x40",
    'jobqueue_jobs_retried_total{queue="q",priority="low",handler="h"}': "0+4x40",
    'jobqueue_jobs_completed_total{queue="q",priority="low",handler="h"}': "0+10x40",
}
ILL: dict[str, list[dict[str, str]]] = {
    "JobqueueStopped": [
        {'jobqueue_log_up{queue="q"}': "1+0x10 0+0x30"},
        {'jobqueue_engine_connected{queue="q"}': "1+0x10 0+0x30"},
        {
            'jobqueue_workers{queue="q"}': "4+0x10 0+0x30",
            'jobqueue_jobs{queue="q",priority="low",state="overrunning"}': "0+0x40",
        },
    ],
    "JobqueueJobsAreLate": [
        {'jobqueue_oldest_wait_seconds{queue="q",priority="low"}': "0+60x40"},
    ],
    "JobqueueHandlersHang": [
        {'jobqueue_jobs{queue="q",priority="low",state="overrunning"}': "1+0x10 2+0x30"},
    ],
    "JobqueueGivesUp": [
        {'jobqueue_jobs_failed_total{queue="q",priority="low",handler="h"}': "3+0x20 4+0x20"},
        {'jobqueue_jobs{queue="q",priority="low",state="dead"}': "7+0x20 8+0x20"},
    ],
    "JobqueueAttemptsFail": [
        {'jobqueue_jobs_retried_total{queue="q",priority="low",handler="h"}': "0+6x40"},
    ],
    "JobqueueProducersWait": [
        {'jobqueue_jobs{queue="q",priority="low",state="queued"}': "1000+0x40"},
    ],
    "JobqueueIsGone": [dict.fromkeys(WELL, "1+0x10 stale")],
}


def test_each_rule_is_tried() -> None:
    assert re.findall(r"alert: (\w+)", ALERTS) == list(ILL)


@pytest.mark.parametrize(
    ("alert", "ill"),
    [("none", {}), *((name, each) for name, all_of in ILL.items() for each in all_of)],
)
def test_an_alert_comes_when_something_is_wrong_and_no_other(
    promtool: str, tmp_path: Path, alert: str, ill: dict[str, str]
) -> None:
    series = [{"series": name, "values": values} for name, values in (WELL | ill).items()]
    asked = [f'count(ALERTS{{alertstate="firing", alertname="{name}"}})' for name in ILL]
    tests: list[dict[str, Any]] = [
        {
            "expr": expr,
            "eval_time": "30m",
            "exp_samples": [{"labels": "{}", "value": 1}] if f'"{alert}"' in expr else [],
        }
        for expr in asked
    ]
    test = {
        "rule_files": [str(FILES / "alerts.yml")],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": tests}],
    }
    (tmp_path / "test.json").write_text(json.dumps(test))

    done = run(promtool, "test", "rules", tmp_path / "test.json")
    assert done.returncode == 0, done.stdout + done.stderr
