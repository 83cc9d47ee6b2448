"""The command line. Importing it loads no framework and no numerical library, so that ``--help`` is instant."""

from __future__ import annotations

import contextlib
import importlib
import os
import shlex
import sys
import traceback
from typing import NoReturn

import click

from convfuzz import __version__

_COMMANDS = {
    "run": ("convfuzz.cli.run", "Fuzz backends against the reference; leaves a run directory with an HTML report."),
    "check": ("convfuzz.cli.check", "Run given cases and print the table of discrepancies and verdicts."),
    "judge": ("convfuzz.cli.judge", "Judge a solution, such as a kernel somebody wrote, by the model of its problem."),
    "reduce": ("convfuzz.cli.reduce", "Minimise a failing case: the simplest that fails in the same way."),
    "explain": ("convfuzz.cli.explain", "Show the arithmetic of one convolution: kernels, channels, shapes, split check."),
    "reveal": ("convfuzz.cli.reveal", "Measure a kernel's arithmetic from outside: order of sums, formats, invariance, what to declare."),
    "ledger": ("convfuzz.cli.ledger", "Keep the file of known findings: add one, list them, check whether each still fails."),
    "replay": ("convfuzz.cli.replay", "Run findings again: is each fixed, or still failing?"),
    "report": ("convfuzz.cli.report", "Render the report of one run directory or of several together."),
    "compare": ("convfuzz.cli.compare", "Say what changed from one run to another, such as between two versions."),
    "bisect": ("convfuzz.cli.bisect", "Say which release of a package brought a bug, or mended it."),
    "backends": ("convfuzz.cli.listings", "List the backends: versions, modes, what each supports, why one is missing."),
    "strategies": ("convfuzz.cli.listings", "List the named search spaces and what each covers."),
    "completion": ("convfuzz.cli.completion", "Print what makes your shell complete commands, backends, strategies and cases."),
}
_EPILOG = """\b
Begin with these:
  convfuzz run --time 60s                         the frameworks that are installed
  convfuzz run --backends my_kernel.py::my_conv   a kernel of your own
  convfuzz check CASE --backends torch,my_kernel.py::my_conv    one case, such as one of a report

\b
Exit status: 0 clean, 1 findings, 2 usage or configuration error, 130, 143 or 129 ended by Ctrl-C, SIGTERM or SIGHUP with everything saved.

\b
A case is one line: conv2d_n2_c8_o16_g2_i17x19_k3_s2x1_p1_b_f32@normal.42
  <op><dims>d  n batch  c in-channels  o out-channels  g groups  i input size  k kernel
  s stride  p padding (lo:hi, psame, pvalid)  d dilation  pm padding mode  b bias
  dtype f64 f32 f16 bf16  cl channels-last  nc non-contiguous  @regime.seed of the data,
  or @x12=1_w3=1: the elements of x, w, b, dy that are not zero
"""


class Command(click.Command):
    """A command that refuses an option which would silently replace another: the same with a second value, or one that excludes it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments."""
        if not ctx.resilient_parsing:
            _, _, given = self.make_parser(ctx).parse_args(args=list(args))
            earlier: dict[str | None, click.Option] = {}
            for option in given:
                if isinstance(option, click.Option) and not option.multiple:
                    _refuse_two(earlier.setdefault(option.name, option), option, given.count(option), ctx)
        try:
            return super().parse_args(ctx, list(args))  # which takes them out
        except click.UsageError as error:
            kernel = next((argument for argument in args if "::" in argument and argument in error.message), None)
            if kernel is None or not any(option.name == "backends" for option in self.params):
                raise
            raise click.UsageError(f"{error.message}. Backends are named by an option: --backends {shlex.quote(kernel)}", ctx) from None


def _refuse_two(first: click.Option, second: click.Option, times: int, ctx: click.Context) -> None:
    if first is not second:
        raise click.UsageError(f"{first.opts[0]} and {second.opts[0]} exclude each other; give one of them.", ctx)
    if times > 1 and second.is_flag and second.secondary_opts:
        raise click.UsageError(f"{second.opts[0]} and {second.secondary_opts[0]} exclude each other; give one of them, once.", ctx)
    if times > 1 and not second.is_flag:
        joined = f" with {second.metavar}, joined by a comma" if second.metavar == "A,B" else ""
        raise click.UsageError(f"{second.opts[0]} is given {times} times, and only one could hold; give it once{joined}.", ctx)


class NearestGroup(click.Group):
    """A group that says which command was probably meant."""

    command_class = Command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first argument names."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from convfuzz.errors import closest  # noqa: PLC0415 - as in main()

            near = "" if args[0].startswith("-") else closest(args[0], self.list_commands(ctx))
            if any(f"--{args[0]}" in option.opts for option in self.get_params(ctx)):
                near = f"; it is an option: --{args[0]}"
            raise click.UsageError(f"{error.message.removesuffix('.')}{near}.", ctx) from None


class _LazyGroup(NearestGroup):
    """Imports a command's module when the command is called, not to list it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(_COMMANDS[cmd_name][0]), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="convfuzz")
def cli() -> None:
    """Find wrong convolutions: differential testing and fuzzing against a high-precision reference."""
    from convfuzz.system.interrupts import raise_when_ended  # noqa: PLC0415 - when the command's module is there, not for --help

    raise_when_ended()


def main() -> NoReturn:
    """Run the command line; whatever ends it, end with one line where something went wrong, and with a documented exit status."""
    from convfuzz.cli.streams import OutputLost, flush_output, open_streams  # noqa: PLC0415 - main() alone needs them

    open_streams()
    if "_CONVFUZZ_COMPLETE" in os.environ:
        from convfuzz.cli.shells import answer_shells  # noqa: PLC0415 - as above

        answer_shells()
    try:
        status = _status()
    except Exception:  # noqa: BLE001 - a mistake of ours, and not the findings that status 1 says
        from convfuzz.system.safe_text import lines  # noqa: PLC0415 - as above

        click.echo(f"{lines(traceback.format_exc())}convfuzz: this is a bug of convfuzz {__version__} itself; please report it", err=True)
        status = 2
    with contextlib.suppress(OutputLost):
        flush_output()
    sys.exit(status)


def _status() -> int:
    """Run the command that the arguments name and print what went wrong; return the exit status."""
    from convfuzz.cli.streams import OutputLost, flush_output  # noqa: PLC0415 - as above
    from convfuzz.errors import ConvfuzzError  # noqa: PLC0415
    from convfuzz.system.interrupts import end_with, interrupts_held, signal_of  # noqa: PLC0415
    from convfuzz.system.safe_text import readable  # noqa: PLC0415

    try:
        status = cli.main(standalone_mode=False)
        flush_output()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt) as error:  # click makes the first of the second
        cause = error if isinstance(error, KeyboardInterrupt) else error.__cause__
        ended_by = signal_of(cause if isinstance(cause, KeyboardInterrupt) else KeyboardInterrupt())
        end_with(128 + ended_by)  # all is saved: one more Ctrl-C, or a terminal that closes, is not to change the status
        with interrupts_held():
            click.echo(f"convfuzz: ended by {ended_by.name}", err=True)
        return 128 + ended_by
    except click.UsageError as error:
        is_help = isinstance(error, click.exceptions.NoArgsIsHelpError)  # its message is the help, usage and all
        (error if is_help else click.UsageError(readable(error.format_message()), error.ctx)).show()
        return error.exit_code
    except click.ClickException as error:
        click.ClickException(readable(error.format_message())).show()
        return error.exit_code
    except OutputLost as error:
        if error.is_closed:
            return 141  # as a program that SIGPIPE ends; nobody reads a line
        click.echo(f"convfuzz: {error}", err=True)
        return 2
    except (ConvfuzzError, OSError) as error:  # the second: a temporary folder that cannot be made, a disk that is full
        click.echo(f"convfuzz: {readable(_said(error))}", err=True)
        return 2
    return status if isinstance(status, int) else 0


def _said(error: Exception) -> str:
    """Return what an error says, with the file that an error of the system is about."""
    if not isinstance(error, OSError):
        return str(error)
    if error.filename is None:
        return "the current folder is not there any more" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
    return f"{error.filename}: {error.strerror}"
