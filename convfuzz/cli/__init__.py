"""The command line. Importing it loads no framework and no numerical library, so that ``--help`` is instant."""

from __future__ import annotations

import importlib
import signal
import sys
from typing import NoReturn

import click

from convfuzz import __version__

_COMMANDS = {
    "run": ("convfuzz.cli.run", "Fuzz backends against the reference; leaves a run directory with an HTML report."),
    "check": ("convfuzz.cli.check", "Run given cases and print the table of discrepancies and verdicts."),
    "reduce": ("convfuzz.cli.reduce", "Minimise a failing case: the simplest that fails in the same way."),
    "explain": ("convfuzz.cli.explain", "Show the arithmetic of one convolution: kernels, channels, shapes, split check."),
    "ledger": ("convfuzz.cli.ledger", "Keep the file of known findings: add one, list them, check whether each still fails."),
    "replay": ("convfuzz.cli.replay", "Run findings again: is each fixed, or still failing?"),
    "report": ("convfuzz.cli.report", "Render the report of one run directory or of several together."),
    "compare": ("convfuzz.cli.compare", "Say what changed from one run to another, such as between two versions."),
    "bisect": ("convfuzz.cli.bisect", "Say which release of a package brought a bug, or mended it."),
    "backends": ("convfuzz.cli.listings", "List the backends: versions, modes, what each supports, why one is missing."),
    "strategies": ("convfuzz.cli.listings", "List the named search spaces and what each covers."),
}
_EPILOG = """\b
Exit status: 0 clean, 1 findings, 2 usage or configuration error, 130 interrupted with everything saved.

\b
A case is one line: conv2d_n2_c8_o16_g2_i17x19_k3_s2x1_p1_b_f32@normal.42
  <op><dims>d  n batch  c in-channels  o out-channels  g groups  i input size  k kernel
  s stride  p padding (lo:hi, psame, pvalid)  d dilation  pm padding mode  b bias
  dtype f64 f32 f16 bf16  cl channels-last  nc non-contiguous  @regime.seed of the data,
  or @x12=1_w3=1: the elements of x, w, b, dy that are not zero
"""


class _LazyGroup(click.Group):
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


def main() -> NoReturn:
    """Run the command line; turn convfuzz's own errors into one line and exit status 2."""
    from convfuzz.errors import ConvfuzzError  # noqa: PLC0415
    from convfuzz.system.safe_text import lines  # noqa: PLC0415 - small modules, but main() alone needs them

    try:
        status = cli.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (click.Abort, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is saved: one more Ctrl-C is not to change the status
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ConvfuzzError as error:
        click.echo(f"convfuzz: {lines(str(error), indent=2)}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    sys.exit(status if isinstance(status, int) else 0)
