"""The command line: `harness run|check|report|shrink|replay|soak|cluster|history|heal|list|bugs`.

Exit status (HISTORY.md): 0 valid, 1 invalid, 2 unknown or vacuous, 130 stopped by a second Ctrl-C, 254 what the caller
can correct (options, files, unknown names, no engine, taken port, nothing answers), 255 the harness or the cluster's
set-up failed. Bad input gets one line on stderr, never a traceback. Modules are imported by the command that needs
them, so that `--help` and small checks are quick.
"""

from __future__ import annotations

import errno
import io
import sys
from pathlib import Path
from typing import Annotated, Any

import click
import typer

from harness.process.exits import BROKEN, CORRECTABLE, STOPPED, let_go_of_stdout
from harness.process.signals import count_as_interrupts, raising_interrupts
from harness.scenario_options import Asked, by_hand, takes_scenario_options

app = typer.Typer(
    name="harness",
    help="Does your Kafka lose, duplicate, reorder or leak records when a node dies or the network splits?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
cluster_app = typer.Typer(
    help="Start, stop and look at a cluster by hand.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(cluster_app, name="cluster")
history_app = typer.Typer(help="Work with recorded histories.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(history_app, name="history")

Results = Annotated[Path, typer.Option("--results", help="Where runs are kept.", metavar="DIR")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the verdict as JSON, and nothing else, on stdout.")]
RESULTS = Path("results")


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        from harness.process.commit import commit

        sys.stdout.write(f"harness {version('kafka-harness')}, commit {commit() or 'unknown'}\n")
        raise typer.Exit


@app.callback()
def _options_of_all(
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_say_version)
    ] = False,
) -> None:
    pass


@app.command()
@takes_scenario_options
def run(
    ctx: typer.Context,
    *,
    name: Annotated[str | None, typer.Option(help="The run's name under results/.")] = None,
    results: Results = RESULTS,
    as_json: AsJson = False,
    open_report: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
    shrink_it: Annotated[bool, typer.Option("--shrink", help="Shrink a simulated run that failed.")] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first violation that can be told while it runs.")
    ] = False,
    **given: Any,
) -> None:
    """Drive a workload, break the cluster, and judge what happened."""
    from harness import launch

    def shrunk(folder: Path) -> int:
        from harness import replay

        return replay.shrink(folder, results, as_json=as_json)

    status = launch.run(
        Asked(ctx, given).scenario(),
        results,
        name=name,
        as_json=as_json,
        open_report=open_report,
        shrink=shrunk if shrink_it else None,
        fail_fast=fail_fast,
    )
    raise typer.Exit(status)


@app.command()
def shrink(
    folder: Annotated[Path, typer.Argument(help="The folder of a simulated run that is invalid.")] = RESULTS / "latest",
    anomaly: Annotated[str | None, typer.Option(help="The class to keep (default: the verdict's first).")] = None,
    budget: Annotated[float, typer.Option(help="CPU seconds to spend.", min=1)] = 60.0,
    results: Results = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Find the least run that fails like this one.

    Fewer faults, operations, clients, partitions, nodes, and less time.
    """
    from harness import replay

    raise typer.Exit(replay.shrink(folder, results, anomaly=anomaly, budget_s=budget, as_json=as_json))


@app.command(name="replay")
def replay_(
    folder: Annotated[Path, typer.Argument(help="The folder of a simulated run.")] = RESULTS / "latest",
    results: Results = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Run a simulated run again, operation by operation."""
    from harness import replay

    raise typer.Exit(replay.again(folder, results, as_json=as_json))


@app.command()
def check(
    history: Annotated[
        Path, typer.Argument(help="history.jsonl[.gz|.zst], .edn, .parquet, .arrow, .feather, or a run's folder.")
    ],
    workload: Annotated[str | None, typer.Option(help="kafka, list-append, or a model such as register.")] = None,
    isolation: Annotated[str | None, typer.Option(help="read_committed or read_uncommitted.")] = None,
    sub_via: Annotated[str | None, typer.Option(help="assign, subscribe, or both with a comma.")] = None,
    ww_deps: Annotated[bool | None, typer.Option("--ww-deps/--no-ww-deps", help="Use write-write edges.")] = None,
    consistency_model: Annotated[str | None, typer.Option(help="The model that must hold (list-append).")] = None,
    anomalies: Annotated[str | None, typer.Option(help="Judge only these classes, with commas.")] = None,
    fresh: Annotated[bool | None, typer.Option("--fresh/--no-fresh", help="Judge reads by real time.")] = None,
    budget: Annotated[int | None, typer.Option(help="Steps of a search before it is `unknown`.", min=1)] = None,
    jobs: Annotated[int, typer.Option(help="Processes that judge keys side by side.", min=1, max=256)] = 1,
    dask: Annotated[
        str | None, typer.Option(help="Judge keys on the Dask cluster of this scheduler.", metavar="ADDRESS")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A linearizability model of your own.", metavar="FILE.py:NAME")
    ] = None,
    report_to: Annotated[Path | None, typer.Option("--report", help="Write a report.", metavar="FILE.html")] = None,
    as_json: AsJson = False,
) -> None:
    """Judge a history again, or one from anywhere else."""
    from harness import review

    given: dict[str, Any] = {
        "workload": workload,
        "isolation": isolation,
        "sub_via": _parts(sub_via),
        "ww_deps": ww_deps,
        "consistency_model": consistency_model,
        "anomalies": _parts(anomalies),
        "fresh": fresh,
        "budget": budget,
    }
    flags = {flag: value for flag, value in given.items() if value is not None}
    raise typer.Exit(
        review.check(history, flags, jobs=jobs, dask=dask, as_json=as_json, model=model, report_to=report_to)
    )


def _parts(given: str | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(part.strip() for part in given.split(","))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A run's folder.")] = RESULTS / "latest",
    open_report: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Make a run's report.html again, with the checkers of today."""
    from harness import review

    raise typer.Exit(review.report(folder, open_report=open_report))


@app.command()
@takes_scenario_options
def soak(
    ctx: typer.Context,
    duration: Annotated[str, typer.Option(help="How long, e.g. 90s, 45m, 8h.")] = "1h",
    cluster: Annotated[str, typer.Option(help="With commas: in turn.")] = "embedded",
    workload: Annotated[str, typer.Option(help="With commas: in turn.")] = "txn,send-poll",
    nemesis: Annotated[list[str] | None, typer.Option(help="Repeatable: in turn (default: `all`).")] = None,
    kafka_version: Annotated[str, typer.Option(help="Of Apache Kafka (jvm, compose). With commas: in turn.")] = "4.1.1",
    image: Annotated[str | None, typer.Option(help="Docker image (compose). With commas: in turn.")] = None,
    seed: Annotated[int, typer.Option(help="Of the first run; each next one adds one.", min=0)] = 1,
    jobs: Annotated[
        int | None, typer.Option(help="Runs side by side (default: 1, with --dask the threads there).", min=1, max=256)
    ] = None,
    dask: Annotated[
        str | None, typer.Option(help="Make the runs on the Dask cluster of this scheduler.", metavar="ADDRESS")
    ] = None,
    keep: Annotated[int, typer.Option(help="Valid runs whose folders are kept, the newest.", min=0)] = 20,
    max_disk_gb: Annotated[float, typer.Option(help="Stop when the soak's folder is larger.", min=0.001)] = 20.0,
    results: Results = RESULTS,
    **given: Any,
) -> None:
    """Run seeded scenarios for hours, and keep every failure."""
    from harness.soak import command as soaking

    status = soaking.soak(
        Asked(ctx, given).scenario,
        duration=duration,
        clusters=_parts(cluster) or (),
        workloads=_parts(workload) or (),
        nemeses=nemesis or ["all"],
        versions=_parts(kafka_version) or (),
        images=_parts(image) or (),
        seed=seed,
        jobs=jobs,
        dask=dask,
        keep=keep,
        max_disk_gb=max_disk_gb,
        results=results,
    )
    raise typer.Exit(status)


@app.command()
def heal(
    folder: Annotated[Path | None, typer.Argument(help="A run's folder (default: every abandoned run).")] = None,
    results: Results = RESULTS,
) -> None:
    """Undo what a killed run left behind, and nothing else.

    Its faults are healed, its containers and processes removed.
    """
    from harness import launch

    raise typer.Exit(launch.heal(folder, results))


@app.command(name="list")
def list_() -> None:
    """List workloads, faults, checkers and clusters."""
    from harness import review

    raise typer.Exit(review.list_all())


@app.command()
def bugs(
    ctx: typer.Context,
    score: Annotated[
        bool, typer.Option("--score", help="Hunt each bug on the simulated cluster; print the table.")
    ] = False,
    seeds: Annotated[int, typer.Option(help="Runs to try for each bug.", min=1)] = 200,
    clean: Annotated[int, typer.Option(help="Runs without a bug, which must raise nothing.", min=0)] = 100,
    jobs: Annotated[int, typer.Option(help="Processes side by side.", min=1)] = 2,
    minutes: Annotated[float, typer.Option(help="Leave what is not done by then; 0: no limit.", min=0)] = 0.0,
    only: Annotated[str, typer.Option(help="List or hunt these, with commas; `none`: only clean runs.")] = "",
    workload: Annotated[str, typer.Option(help="One that is not in the mix (`share`): its bugs, its clean runs.")] = "",
    first_seed: Annotated[int, typer.Option(help="The first seed of each hunt.", min=0)] = 1,
    book: Annotated[
        Path | None, typer.Option(help="Keep every attempt in this file, and make none that is there already.")
    ] = None,
    write: Annotated[Path | None, typer.Option(help="Put the table between the marks of this document.")] = None,
    results: Results = RESULTS,
) -> None:
    """List the bugs that our own broker can have, or hunt them.

    `harness run --bug NAME` plants one; `--score` looks for each on simulated clusters, and tells how soon it shows.
    """
    from harness.hunt import command as hunt

    if not score:
        if of_a_hunt := sorted({*by_hand(ctx)} - {"only", "workload"}):
            raise click.UsageError(f"--{of_a_hunt[0].replace('_', '-')} needs --score", ctx)
        raise typer.Exit(hunt.show(only, workload))
    status = hunt.score(
        only=only,
        first_seed=first_seed,
        seeds=seeds,
        clean=clean,
        jobs=jobs,
        minutes=minutes,
        book=book,
        write=write,
        results=results,
        workload=workload,
    )
    raise typer.Exit(status)


ClusterName = Annotated[str, typer.Option("--cluster", help="The provider: see `harness list`.")]
ByName = Annotated[str, typer.Option("--name", help="Its name, to find it again.")]


@cluster_app.command(name="up")
def cluster_up(
    cluster: ClusterName = "embedded",
    name: ByName = "default",
    nodes: Annotated[int, typer.Option(min=1, max=20)] = 3,
    controllers: Annotated[int, typer.Option(min=0)] = 0,
    kafka_version: Annotated[str, typer.Option()] = "4.1.1",
    image: Annotated[str | None, typer.Option()] = None,
    broker_config: Annotated[list[str] | None, typer.Option(metavar="K=V")] = None,
    print_bootstrap: Annotated[bool, typer.Option("--print-bootstrap", help="As the last line.")] = False,
    results: Results = RESULTS,
) -> None:
    """Start a cluster and leave it running."""
    from harness import clusters, options

    status = clusters.up(
        cluster,
        name,
        results,
        nodes=nodes,
        controllers=controllers,
        version=kafka_version,
        image=image,
        broker_config=options.pairs("--broker-config", broker_config or []),
        print_bootstrap=print_bootstrap,
    )
    raise typer.Exit(status)


@cluster_app.command(name="down")
def cluster_down(cluster: ClusterName = "embedded", name: ByName = "default", results: Results = RESULTS) -> None:
    """Stop a cluster and remove all of it."""
    from harness import clusters

    raise typer.Exit(clusters.down(cluster, name, results))


@cluster_app.command(name="status")
def cluster_status(cluster: ClusterName = "embedded", name: ByName = "default", results: Results = RESULTS) -> None:
    """Show a cluster's nodes, leaders and controller."""
    from harness import clusters

    raise typer.Exit(clusters.status(cluster, name, results))


@history_app.command(name="convert")
def history_convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="What `harness check` reads.")],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="A name ending with .jsonl[.gz|.zst], .parquet, .arrow or .feather.")
    ],
    workload: Annotated[str, typer.Option(help="As of `harness check`: the tables of `kafka` make it fast.")] = "kafka",
    isolation: Annotated[str, typer.Option(help="The default of processes that don't say their own.")] = (
        "read_committed"
    ),
) -> None:
    """Write a history in another form: JSON lines, or columns that a check reads without parsing."""
    from harness import review

    raise typer.Exit(review.convert(source, target, {"workload": workload, "isolation": isolation}))


def main() -> None:
    """Run the command line; see the module's text for the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where a sign can't be shown, no verdict is lost for it
    count_as_interrupts()
    sys.exit(guarded(sys.argv[1:]))


def guarded(arguments: list[str]) -> int:
    """Run a command and return its exit status; bad input and failures become one line on stderr."""
    status = _guarded(arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # else Python says so at its exit, with a status of its own
        let_go_of_stdout()
    return status


def _guarded(arguments: list[str]) -> int:
    command = typer.main.get_command(app)
    try:
        with raising_interrupts(), command.make_context("harness", arguments) as context:
            return int(command.invoke(context) or 0)  # typer's own main would swallow Ctrl-C in silence
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _say("stopped", STOPPED)
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stderr.write(error.format_message() + "\n")
        return CORRECTABLE
    except click.ClickException as error:
        told = error.ctx if isinstance(error, click.UsageError) else None
        where = told.command_path if told is not None else "harness"
        return _say(f"{error.format_message()} (see `{where} --help`)", CORRECTABLE)
    except BrokenPipeError:
        let_go_of_stdout()
        return BROKEN
    except Exception as error:  # noqa: BLE001  the door to the shell: what went wrong is one line and a status
        return _failed(error)


OF_THE_MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EIO})
"""What the machine lacks is no bug of the harness: a full or read-only disk, no files, a terminal that has gone."""


def _failed(error: Exception) -> int:
    from harness.cluster.api import ClusterError, UsageError
    from harness.history import HistoryError
    from harness.process import crash
    from harness.store import StoreError

    match error:
        case UsageError() | HistoryError() | StoreError():
            return _say(str(error), CORRECTABLE)
        case ClusterError():
            return _say(str(error), BROKEN)
        case OSError(errno=number) if number in OF_THE_MACHINE:
            where = f": {error.filename}" if error.filename else ""
            return _say(f"{error.strerror}{where} (of the machine, not of Kafka: make room, or see --results)", BROKEN)
        case _:
            return _say(crash.describe(error), BROKEN)


def _say(line: str, status: int) -> int:
    sys.stderr.write(f"harness: {' '.join(line.split())}\n")
    return status
