"""`othello-edu …`: long work outside a notebook."""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from .checkpoints import CHECKPOINT, LOG
from .errors import OthelloEduError
from .files import LOCK
from .kernels import cores
from .parallel import PRECISIONS, joined_processes
from .presets import PRESETS, TARGETS
from .pretrained import export, starting_point
from .training import train


def _train(arguments: argparse.Namespace) -> None:
    model_config, config = PRESETS[arguments.preset]
    changes = {
        "n_games": arguments.games,
        "seed": arguments.seed,
        "precision": arguments.precision,
        "targets": arguments.targets,
        "decay": arguments.decay,
    }
    if arguments.dropout is not None:
        model_config = replace(model_config, dropout=arguments.dropout)
    start = None
    if arguments.start is not None:
        start = starting_point(arguments.start)
        seed = start.card["training"]["seed"]
        if arguments.seed not in (None, seed):
            raise OthelloEduError(
                f"{arguments.start} was trained with seed {seed}, and training goes on with it, so that "
                "the card can say which games were read"
            )
        changes |= {"seed": seed, "first_game": start.card["games_read"]}
    config = replace(config, **{name: value for name, value in changes.items() if value is not None})
    if arguments.threads is not None:
        torch.set_num_threads(_at_most_the_cores(arguments.threads))
    with joined_processes(arguments.device) as (processes, device):
        run = train(
            model_config,
            config,
            arguments.out,
            arguments.resume,
            device,
            start=start,
            compiled=arguments.compile,
            processes=processes,
        )
    if not processes.first:
        return
    last = run.log[-1]
    print(
        f"{run.games:,} games in {run.seconds / 60:.1f} min: loss {last['loss']:.4f}, excess loss "
        f"{last['excess_loss']:.4f} nats, top-1 legal {last['legal_rate']:.2%}, "
        f"mass on legal moves {last['legal_mass']:.2%}\nwritten: {arguments.out / CHECKPOINT}"
    )


def _at_most_the_cores(n_threads: int) -> int:
    """More threads than cores slow each other down, and very many end the process."""
    if n_threads > (n_cores := cores()):
        _complain(f"--threads {n_threads}: training with {n_cores}, one for each core that it may use here")
    return min(n_threads, n_cores)


def _complain(message: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # of the processes that torchrun started, one speaks
        print(f"othello-edu: {message}", file=sys.stderr)


def _export(arguments: argparse.Namespace) -> None:
    card = export(
        arguments.run_folder,
        arguments.out,
        arguments.command,
        arguments.commit,
        arguments.device,
        unfinished=arguments.unfinished,
    )
    measured = card["measured"]
    print(
        f"after rounding to float16: excess loss {measured['excess_loss']:.4f} nats, "
        f"top-1 legal {measured['legal_rate']:.2%}\nwritten: {arguments.out}"
    )


def _import(arguments: argparse.Namespace) -> None:
    from .importing import import_autoencoder, import_network

    if arguments.source.is_dir():
        if arguments.model is None:
            raise OthelloEduError(
                f"{arguments.source} is a folder, as of an autoencoder: --model must say of which network. "
                "To import a network, give its file"
            )
        origin = import_autoencoder(arguments.source, arguments.model, arguments.out)
        measured = origin["measured"]
        print(
            f"{origin['kind']} of stage {origin['stage']}: {measured['l0']:.1f} features active, explained "
            f"variance {measured['explained_variance']:.3f}"
        )
        print(f"written: {arguments.out} (othello_edu.interop.read_saelens reads it)")
        return
    origin = import_network(arguments.source, arguments.out, arguments.heads, arguments.untrained)
    model, measured = origin["model"], origin["measured"]
    print(
        f"{model['n_layer']} blocks x {model['d_model']}, {model['n_head']} heads, read by the names of "
        f"{origin['names']}; after rounding to float16: excess loss {measured['excess_loss']:.4f} nats, "
        f"top-1 legal {measured['legal_rate']:.2%}"
    )
    if origin["cut_positions"]:
        print(f"cut off: {origin['cut_positions']} positions of its window that no game reaches")
    print(f"written: {arguments.out}\nnext: othello-edu reproduce --model {arguments.out} --out …")


def _reproduce(arguments: argparse.Namespace) -> None:
    from .reproduction import SIZES, reproduce  # here: `train` should not wait for it

    results = reproduce(
        arguments.model,
        arguments.protocol,
        arguments.out,
        SIZES[arguments.size],
        arguments.device,
    )
    for claim in results["claims"]:
        print(f"{claim['source']:12} {claim['verdict']:15} {claim['says']}")
    if arguments.size == "quick":
        print("--size quick: these verdicts rest on far too little data, and mean nothing")
    print(f"written: {arguments.out / 'results.json'}")
    try:
        from .reproduction.figures import draw_all
    except ModuleNotFoundError as error:  # a machine that only trains has no matplotlib
        print(f"no figures: {error}; where it is installed, the same command draws them in a moment")
        return
    figures = draw_all(results, arguments.out / "figures")
    print(f"written: {len(figures)} figures in {arguments.out / 'figures'}")


def _folder(text: str) -> Path:
    if not text.strip():  # an unset variable in a script, mostly
        raise argparse.ArgumentTypeError("the name of the folder is empty; the current one is called .")
    return Path(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="othello-edu", description="Long work outside a notebook.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    presets = "\n".join(
        f"  {name}: {model.board_size}x{model.board_size} board, {model.n_layer} blocks x {model.d_model}, "
        f"{training.n_games:,} games"
        for name, (model, training) in PRESETS.items()
    )
    command = commands.add_parser(
        "train",
        help="train a GPT on fresh random games",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train a GPT on random Othello games that are generated on the fly and never repeated.",
        epilog=(
            f"presets:\n{presets}\n\n"
            f"DIR receives {CHECKPOINT} (weights, optimisers, step) and {LOG} (one JSON\n"
            "object an evaluation), each written atomically. Ctrl-C finishes the step in hand, saves\n"
            "and stops; the same command with --resume goes on and ends in the same weights as an\n"
            "unbroken run with the same number of threads. Before the learning rate begins to fall,\n"
            "--games may change. While it runs, a file in DIR says who writes there, and a second run with\n"
            f"the same DIR is refused ({LOCK}: delete it after a crash of another machine).\n\n"
            "Several processes, on several GPUs or machines, train one network together:\n"
            "  torchrun --nproc-per-node 8 -m othello_edu.cli train …\n\n"
            "There torchrun reports, and the exit status is its own. Otherwise:\n"
            "exit status: 0 when all games are read, 2 for bad input or files, 130 after Ctrl-C."
        ),
    )
    command.add_argument(
        "--preset", choices=PRESETS, default="small", help="network and schedule (default: %(default)s)"
    )
    command.add_argument("--games", type=int, metavar="N", help="games to read (default: the preset's)")
    command.add_argument(
        "--seed", type=int, metavar="S", help="seed of the weights and of the games (default: 0)"
    )
    command.add_argument(
        "--out", type=_folder, required=True, metavar="DIR", help="folder for checkpoint and log"
    )
    command.add_argument(
        "--start",
        metavar="MODEL",
        help="begin with the weights of a shipped model or of a folder that `export` wrote, of the preset's "
        "shape, and read N games more (default: random weights)",
    )
    command.add_argument(
        "--precision",
        choices=("auto", *PRECISIONS),
        help="of matrix products; auto: what this machine multiplies faster, or with --resume what the "
        "checkpoint has (default)",
    )
    command.add_argument(
        "--targets",
        choices=TARGETS,
        help="what the network is told about the next move: the one that was drawn (default), or all legal "
        "moves with equal weight",
    )
    command.add_argument(
        "--decay",
        type=float,
        metavar="SHARE",
        help="of the games, at the end, during which the learning rates fall (default: the preset's)",
    )
    command.add_argument(
        "--dropout",
        type=float,
        metavar="RATE",
        help="share of activations that is left out in training (default: the preset's, none)",
    )
    command.add_argument("--compile", action="store_true", help="through torch.compile (needs a C compiler)")
    command.add_argument("--resume", action="store_true", help="go on from the checkpoint in DIR")
    command.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="default: %(default)s"
    )
    command.add_argument(
        "--threads",
        type=_positive,
        metavar="N",
        help="processor threads, at most one a core (default: torch's choice)",
    )
    command.set_defaults(run=_train)

    command = commands.add_parser(
        "export", help="round a trained model to float16, measure it, write it with its card"
    )
    command.add_argument("run_folder", type=_folder, metavar="DIR", help="folder that `train` wrote")
    command.add_argument(
        "--out",
        type=_folder,
        required=True,
        metavar="DIR",
        help="folder for weights, configuration, card and log",
    )
    command.add_argument("--command", required=True, help="the command that trained it, for the card")
    command.add_argument("--commit", required=True, help="the commit it was trained at, for the card")
    command.add_argument("--device", required=True, help="what it was trained on, for the card")
    command.add_argument(
        "--unfinished",
        action="store_true",
        help="also a run that has not read all its games; the card says so",
    )
    command.set_defaults(run=_export)

    command = commands.add_parser(
        "import",
        help="take a network or an autoencoder of another project",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Take a network or an autoencoder of another project.",
        epilog=(
            "SOURCE is the file of a network in the names of minGPT (the OthelloGPT of Li et al.) or of\n"
            "TransformerLens (Nanda's copy of it), or the folder of an autoencoder that the library\n"
            "dictionary_learning wrote (Karvonen et al.): ae.pt and config.json. Tensors are read, and\n"
            "nothing else is unpickled. Vocabulary, window and order of squares are checked."
        ),
    )
    command.add_argument("source", type=_folder, metavar="SOURCE", help="a file, or a folder")
    command.add_argument("--out", type=_folder, required=True, metavar="DIR", help="folder for what is read")
    command.add_argument(
        "--heads",
        type=_positive,
        default=8,
        metavar="N",
        help="of each block; minGPT's files do not tell (default: %(default)s)",
    )
    command.add_argument(
        "--model", metavar="NAME", help="of an autoencoder: the imported or shipped network it belongs to"
    )
    command.add_argument(
        "--untrained", action="store_true", help="also a network that does not play Othello, as a control"
    )
    command.set_defaults(run=_import)

    command = commands.add_parser(
        "reproduce",
        help="every figure and table of Du et al. (2025), with controls and verdicts",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Du et al. (2025), How GPT Learns Layer by Layer, reproduced on one network.",
        epilog=(
            "protocols:\n"
            "  published: as the paper's public code does it, quirks included\n"
            "  corrected: the same questions with the quirks mended, and with controls\n\n"
            "DIR receives results.json and figures/; tables/ (every feature's AUROC), parts/ (one file a\n"
            "finished part, so that the same command goes on after Ctrl-C) and work/ (trained probes and\n"
            "SAEs). The last three may be deleted afterwards."
        ),
    )
    command.add_argument(
        "--model",
        required=True,
        metavar="NAME",
        help="a shipped model, or a folder that `export` or `import` wrote",
    )
    command.add_argument("--protocol", choices=("published", "corrected"), default="corrected")
    command.add_argument("--out", type=_folder, required=True, metavar="DIR", help="folder for the results")
    command.add_argument(
        "--size",
        choices=("full", "short", "quick"),
        default="full",
        help="short: a quarter of the work, for one of several networks; quick: whether it runs at all",
    )
    command.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="default: %(default)s"
    )
    command.set_defaults(run=_reproduce)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Entry point of `othello-edu`.

    Args:
        argv: what follows the program's name; None for what this process was given.

    Returns:
        The exit status. 0, 2 for bad input or a file that cannot be read or written, 130 after Ctrl-C.
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (OthelloEduError, OSError) as error:
        print(f"othello-edu: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        _complain(str(interrupt) or "stopped")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
